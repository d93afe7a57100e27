#include "greet.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    char text[256];
    int status = 0;
    for (int i = argc > 1 ? 1 : 0; i < argc; i++) {
        if (greeting(text, sizeof text, argc > 1 ? argv[i] : "") < 0) {
            fprintf(stderr, "greet: the name is too long: %.40s..\n", argv[i]);
            status = 1;
        } else {
            puts(text);
        }
    }
    return status;
}
