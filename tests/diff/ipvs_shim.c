/* Answers keepalived's IPVS calls where the kernel has no IPVS: every one succeeds and does nothing, so that its healthcheck process
 * runs. For LD_PRELOAD. Its netlink way fails by itself, and then it takes these. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum { IP_VS_BASE = 1024 + 64 + 64, IP_VS_END = IP_VS_BASE + 64 };

static int is_ipvs(int level, int name)
{
    return level == IPPROTO_IP && name >= IP_VS_BASE && name < IP_VS_END;
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    int (*real)(int, int, int, void *, socklen_t *) = dlsym(RTLD_NEXT, "getsockopt");
    if (!is_ipvs(level, name))
        return real(fd, level, name, value, length);
    memset(value, 0, *length);
    return 0;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    int (*real)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
    return is_ipvs(level, name) ? 0 : real(fd, level, name, value, length);
}
