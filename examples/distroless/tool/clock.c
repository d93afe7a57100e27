/* Prints the time in the zones that are named: the image holds the tables of tzdata, and no shell. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
    static char *usual[] = {"UTC", "Europe/Berlin", "Asia/Tokyo", NULL};
    time_t now = time(NULL);
    for (char **zone = argc > 1 ? argv + 1 : usual; *zone; zone++) {
        char text[64];
        setenv("TZ", *zone, 1);
        tzset();
        strftime(text, sizeof text, "%F %T %z", localtime(&now));
        printf("%-20s %s\n", *zone, text);
    }
    return 0;
}
