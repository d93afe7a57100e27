#include "greet.h"

#include <assert.h>
#include <string.h>

int main(void)
{
    char text[20];
    assert(greeting(text, sizeof text, "Ada") == 11 && strcmp(text, "Hello, Ada!") == 0);
    assert(greeting(text, sizeof text, "") == 13 && strcmp(text, "Hello, world!") == 0);
    assert(greeting(text, sizeof text, "somebody with a long name") == -1);
    return 0;
}
