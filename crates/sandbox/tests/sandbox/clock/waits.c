/* Each call that waits, and what it moves: CLOCK_REALTIME and CLOCK_MONOTONIC, in nanoseconds. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define MS 1000000L
static long at(clockid_t c) { struct timespec t; clock_gettime(c, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
static struct timespec in(clockid_t c, long ns) { long t = at(c) + ns; struct timespec s = {t / 1000000000L, t % 1000000000L}; return s; }
static long r, m;
static void begin(void) { r = at(CLOCK_REALTIME); m = at(CLOCK_MONOTONIC); }
static void end(const char *what) { long a = at(CLOCK_REALTIME) - r, b = at(CLOCK_MONOTONIC) - m; printf("%s %ld %ld\n", what, a, b); fflush(stdout); begin(); }
static void nothing(int s) { (void)s; }
static void *thread(void *ms) { usleep((long)ms * 1000); return 0; }
static void *reader(void *ms) { usleep((long)ms * 1000); end("thread"); return 0; }
int main(void) {
    struct timespec t, left; struct timeval v; int p[2], e; sigset_t none; char b;
    pipe(p); sigemptyset(&none); begin(); end("nothing");
    t = (struct timespec){0, 20 * MS}; nanosleep(&t, 0); end("nanosleep");
    t = in(CLOCK_MONOTONIC, 30 * MS); clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0); end("until monotonic");
    t = in(CLOCK_REALTIME, 30 * MS); clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, 0); end("until realtime");
    poll(0, 0, 15); end("poll nothing");
    struct pollfd f = {p[0], POLLIN, 0}; poll(&f, 1, 16); end("poll");
    t = (struct timespec){0, 17 * MS}; ppoll(&f, 1, &t, &none); end("ppoll");
    fd_set s; FD_ZERO(&s); FD_SET(p[0], &s); v = (struct timeval){0, 18000}; select(p[0] + 1, &s, 0, 0, &v); end("select");
    FD_SET(p[0], &s); t = (struct timespec){0, 19 * MS}; pselect(p[0] + 1, &s, 0, 0, &t, &none); end("pselect");
    struct epoll_event ev = {EPOLLIN}; e = epoll_create1(0); epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev); epoll_wait(e, &ev, 1, 21); end("epoll_wait");
    sigset_t usr; sigemptyset(&usr); sigaddset(&usr, SIGUSR1); t = (struct timespec){0, 22 * MS}; sigtimedwait(&usr, 0, &t); end("sigtimedwait");
    sem_t sem; sem_init(&sem, 0, 0); t = in(CLOCK_REALTIME, 23 * MS); sem_timedwait(&sem, &t); end("sem_timedwait");
    pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER; pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&mu); t = in(CLOCK_REALTIME, 24 * MS); int w = pthread_cond_timedwait(&c, &mu, &t); printf("%s ", w == ETIMEDOUT ? "late" : "?"); end("cond");
    w = pthread_cond_timedwait(&c, &mu, &t); printf("%s ", w == ETIMEDOUT ? "late" : "?"); end("cond again");
    pthread_condattr_t ca; pthread_condattr_init(&ca); pthread_condattr_setclock(&ca, CLOCK_MONOTONIC); pthread_cond_t d; pthread_cond_init(&d, &ca);
    t = in(CLOCK_MONOTONIC, 26 * MS); pthread_cond_timedwait(&d, &mu, &t); end("cond monotonic");
    t = in(CLOCK_REALTIME, 27 * MS); pthread_mutex_timedlock(&mu, &t); end("timedlock");

    int q = semget(IPC_PRIVATE, 1, 0600); struct sembuf sb = {0, -1, 0}; t = (struct timespec){0, 28 * MS}; semtimedop(q, &sb, 1, &t); end("semtimedop"); semctl(q, 0, IPC_RMID);
    static const struct timespec half = {1793491200, 900 * MS}; clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &half, 0); printf("%ld ", at(CLOCK_REALTIME)); end("constant");
    struct sigaction sa = {.sa_handler = nothing}; sigaction(SIGALRM, &sa, 0); struct itimerval it = {{0, 0}, {0, 20000}}; setitimer(ITIMER_REAL, &it, 0);
    t = (struct timespec){0, 100 * MS}; w = nanosleep(&t, &left); printf("%s ", w ? "interrupted" : "?"); end("interrupted"); nanosleep(&left, 0); end("the rest");
    setitimer(ITIMER_REAL, &it, 0); w = poll(&f, 1, 100); printf("%s ", w < 0 ? "interrupted" : "?"); end("interrupted poll");
    write(p[1], "x", 1); poll(&f, 1, 100); end("poll at once"); read(p[0], &b, 1);
    pthread_t th; pthread_create(&th, 0, thread, (void *)50L); pthread_join(th, 0); end("thread's");
    pthread_create(&th, 0, reader, (void *)150L); pthread_join(th, 0); end("after");
    system("sleep 0.1"); end("sleep 0.1");
    system("sleep 0.1 & sleep 0.1 & wait"); end("two at once");
    system("sleep 5 & kill $!"); end("killed");
    if (!fork()) { usleep(30000); end("child"); _exit(0); } wait(0); end("parent");
    timer_t ti; struct sigevent se = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM}; timer_create(CLOCK_MONOTONIC, &se, &ti);
    struct itimerspec is = {{0, 0}, in(CLOCK_MONOTONIC, 30 * MS)}; timer_settime(ti, TIMER_ABSTIME, &is, 0); pause(); printf("timer\n");
    int tf = timerfd_create(CLOCK_REALTIME, 0); long n = 0; is.it_value = in(CLOCK_REALTIME, 30 * MS); timerfd_settime(tf, TFD_TIMER_ABSTIME, &is, 0); read(tf, &n, 8); printf("timerfd %ld\n", n);
    return 0;
}
