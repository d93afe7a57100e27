/* Many threads wait until times of their own, and look at the clock before and after. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <errno.h>
#include <poll.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER; static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static int bad;
static void *work(void *a) {
    long id = (long)a; unsigned s = id; struct timespec last = {0, 0};
    for (int i = 0; i < 150; i++) {
        struct timespec t; clock_gettime(0, &t); if (t.tv_sec < last.tv_sec || (t.tv_sec == last.tv_sec && t.tv_nsec < last.tv_nsec)) bad++; last = t;
        long canary[4] = {1, 2, 3, 4}; struct timespec d = t; long ns = 500000 + rand_r(&s) % 6000000; d.tv_nsec += ns; if (d.tv_nsec >= 1000000000) { d.tv_nsec -= 1000000000; d.tv_sec++; }
        pthread_mutex_lock(&m); int r = pthread_cond_timedwait(&c, &m, &d); pthread_mutex_unlock(&m);
        if (r && r != ETIMEDOUT) bad++;
        if (i % 7 == 0) pthread_cond_broadcast(&c);
        if (canary[0] + canary[3] != 5) bad++;
        if (i % 50 == 0) { pid_t p = vfork(); if (!p) { execl("/bin/true", "true", (char *)0); _exit(1); } int st; waitpid(p, &st, 0); if (st) bad++; }
        if (i % 60 == 1) { pid_t p = fork(); if (!p) { struct timespec z = {0, 3000000}; nanosleep(&z, 0); _exit(0); } waitpid(p, 0, 0); }
        poll(0, 0, 1);
    }
    return 0;
}
static void *ex(void *a) { execl("/proc/self/exe", "st", "again", (char *)0); return 0; }
int main(int n, char **v) {
    pthread_t t[16]; for (long i = 0; i < 16; i++) pthread_create(&t[i], 0, work, (void *)i);
    for (int i = 0; i < 16; i++) pthread_join(t[i], 0);
    printf("bad %d\n", bad); fflush(stdout);
    if (n == 1) { pthread_create(&t[0], 0, ex, 0); pause(); }
    return bad != 0;
}
