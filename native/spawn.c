/* spawn.c - starts and ends processes.
 *
 * The child shares our memory until it has executed its program (CLONE_VFORK): nothing is copied, whatever our size. It
 * runs on a stack of its own and touches nothing else of ours; every signal is blocked meanwhile, so that no handler of
 * ours runs in it. A pidfd names it without a race. Its group is killed before its leader is reaped: until then the
 * number of the group cannot belong to anybody else.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
/* The child runs on memory of ours that sanitizers believe to be our stack: they stay out of it. */
#define IN_CHILD __attribute__((no_sanitize_address))
enum { CANNOT_EXECUTE = 255, FIRST_OTHER_FD = 3, FDS_MAX = 1 << 20, STACK_LEN = 32768 };

IN_CHILD static void close_others(void)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, (unsigned)FIRST_OTHER_FD, ~0u, 0u) == 0)
        return;
#endif
    struct rlimit limit;
    const rlim_t last = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FDS_MAX ? limit.rlim_cur : FDS_MAX;
    for (rlim_t fd = FIRST_OTHER_FD; fd < last; fd++)
        (void)close((int)fd);
}

IN_CHILD static bool take_stdio(uint32_t flags)
{
    const int null = open("/dev/null", O_RDWR);
    if (null < 0)
        return false;
    const int last = flags & RF_SPAWN_NULL_STDIO ? 2 : 0;
    for (int fd = 0; fd <= last; fd++) {
        if (null != fd && dup2(null, fd) < 0)
            return false;
    }
    return true; /* null itself goes with the others, unless it is one of these */
}

/* Whom it runs as. The bare system calls: those of the C library would change every thread of the process, and take
 * ours for the child's. */
IN_CHILD static bool take_identity(const rf_spawn_order *order)
{
    if ((order->flags & RF_SPAWN_GROUPS) && syscall(SYS_setgroups, (size_t)order->groups_len, order->groups) < 0)
        return false;
    if (order->gid != UINT32_MAX && syscall(SYS_setgid, order->gid) < 0)
        return false;
    return order->uid == UINT32_MAX || syscall(SYS_setuid, order->uid) == 0;
}

/* Does not return: what became of the errno is told in memory that is shared. */
IN_CHILD static void cannot(const rf_spawn_order *order)
{
    if (order->error_out != NULL)
        *order->error_out = errno;
    _exit(CANNOT_EXECUTE);
}

/* In the child, on memory that is ours: only calls that a signal handler may make. */
IN_CHILD static int become(void *argument)
{
    const rf_spawn_order *order = argument;
    struct sigaction usual = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, &usual, NULL);
    if ((order->flags & RF_SPAWN_NEW_GROUP) && setpgid(0, 0) < 0)
        cannot(order);
    if (!take_stdio(order->flags))
        cannot(order);
    close_others();
    if (!take_identity(order))
        cannot(order);
    if (order->flags & RF_SPAWN_UMASK)
        (void)umask(order->umask);
    if (order->flags & RF_SPAWN_DIE_WITH_US) /* a change of identity would have undone it */
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)execve(order->path, (char *const *)order->argv, (char *const *)order->envp);
    cannot(order);
    return CANNOT_EXECUTE;
}

int32_t rf_spawn(const rf_spawn_order *order, int32_t *pid_out, int32_t *pidfd_out)
{
    _Alignas(16) uint8_t stack[STACK_LEN];
    sigset_t all, before;
    int pidfd = -1;
    sigfillset(&all);
    if (order->error_out != NULL)
        *order->error_out = 0;
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int pid = clone(become, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
                          (void *)(uintptr_t)order, &pidfd);
    const int error = errno;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return rf_refuse(RF_ERRNO, error, "clone");
    *pid_out = pid;
    *pidfd_out = pidfd;
    return RF_OK;
}

int32_t rf_spawn_reap(int32_t pidfd, int32_t pid, int32_t *status_out)
{
    siginfo_t info = {0};
    if (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
        *status_out = -SIGKILL; /* somebody else has reaped it: how it ended is not known */
        return errno == EINTR ? RF_FULL : RF_OK;
    }
    if (info.si_pid == 0)
        return RF_FULL;
    rf_spawn_signal_group(pid, SIGKILL);
    *status_out = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    (void)waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG);
    return RF_OK;
}

void rf_spawn_signal_group(int32_t pid, int32_t signal)
{
    if (pid > 1)
        (void)kill(-pid, signal);
}
