// Ways of being a process that perl does not know: vfork, exec from a thread, no core dumps, a program that cannot
// be read, threads that change ids, system calls under a storm of signals.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void show(const char *what, const char *path) {
  struct stat s;
  if (lstat(path, &s)) printf("%s %s\n", what, strerror(errno));
  else printf("%s %u:%u\n", what, s.st_uid, s.st_gid);
}

static void make(const char *path) { close(open(path, O_CREAT | O_WRONLY, 0644)); }

static void become(unsigned id) {
  syscall(SYS_setresgid, id, id, id);
  syscall(SYS_setresuid, id, id, id);
}

static void *exec_it(void *program) {
  char *argv[] = {program, "who", "/w/thread", 0};
  execv(program, argv);
  return 0;
}

static void *make_it(void *path) {
  make(path);
  return 0;
}

static void in_thread(void *(*run)(void *), void *with) {
  pthread_t thread;
  pthread_create(&thread, 0, run, with);
  pthread_join(thread, 0);
}

static void nothing(int signal) { (void)signal; }

int main(int argc, char **argv) {
  setvbuf(stdout, 0, _IONBF, 0);
  if (argc == 3) {
    printf("%s is %u:%u\n", argv[2], getuid(), getgid());
    make(argv[2]);
    show(argv[2], argv[2]);
    return 0;
  }
  umask(0);
  mkdir("/w", 0777);
  pid_t child = vfork();
  if (!child) {
    become(5);
    char *who[] = {argv[0], "who", "/w/vfork", 0};
    execv(argv[0], who);
    _exit(1);
  }
  waitpid(child, 0, 0);
  printf("the parent is %u\n", getuid());

  if (!fork()) {
    become(6);
    in_thread(exec_it, argv[0]);
    return 1;
  }
  wait(0);

  if (!fork()) {
    if (setgid(7) || setuid(7)) return 1; // every thread's, by the C library
    in_thread(make_it, "/w/other-thread");
    show("/w/other-thread", "/w/other-thread");
    return 0;
  }
  wait(0);

  if (!fork()) {
    prctl(PR_SET_DUMPABLE, 0);
    make("/w/secret");
    if (chown("/w/secret", 8, 9)) printf("chown %s\n", strerror(errno));
    show("/w/secret", "/w/secret");
    become(8);
    make("/w/secret-too");
    show("/w/secret-too", "/w/secret-too");
    return 0;
  }
  wait(0);

  char *unreadable[] = {"/unreadable", "who", "/w/unreadable", 0};
  if (!fork()) {
    become(10);
    execv(unreadable[0], unreadable);
    return 1;
  }
  wait(0);

  struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &action, 0);
  struct itimerval often = {{0, 200}, {0, 200}};
  setitimer(ITIMER_REAL, &often, 0);
  int wrong = 0;
  for (int i = 0; i < 2000; i++) {
    struct stat s;
    wrong += chown("/w/secret", i, i + 1) || stat("/w/secret", &s) || s.st_uid != (unsigned)i;
  }
  printf("%d wrong\n", wrong);
  return 0;
}
