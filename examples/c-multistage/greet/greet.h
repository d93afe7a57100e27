#ifndef GREET_H
#define GREET_H

#include <stddef.h>

/* Writes a greeting for `name` into `out` of `size` bytes; returns its length, or -1 if it does not fit. */
int greeting(char *out, size_t size, const char *name);

#endif
