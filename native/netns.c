/* netns.c - one socket in another network namespace, for drivers that make their own sockets; the engine's: net.c. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"

/* A socket belongs to the namespace that its thread is in when it is made, and only then. */
int32_t rf_socket_within(int32_t netns, int32_t family)
{
    const int domain = family == RF_INET ? AF_INET : AF_INET6;
    const int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return -errno;
    int fd = -1, error = 0;
    if (setns(netns, CLONE_NEWNET) < 0) {
        error = errno;
    } else {
        fd = socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        error = errno;
        RF_ASSERT(setns(own, CLONE_NEWNET) == 0); /* all that this thread does later would go astray */
    }
    close(own);
    return fd >= 0 ? fd : -error;
}
