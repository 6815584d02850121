/* Answers keepalived's IPVS calls where the kernel has no IPVS: every one succeeds and does nothing, so that its healthcheck process
 * runs. For LD_PRELOAD. Its netlink way, the only one for IPv6, goes through libnl: IPVS has a number, what is sent to it is swallowed,
 * and each is acknowledged. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum { IP_VS_BASE = 1024 + 64 + 64, IP_VS_END = IP_VS_BASE + 64, FAMILY = 0x7e57 };
enum { FINISHED = 1, ACKNOWLEDGED = 4, CALLBACKS = 16 }; /* of libnl's enum nl_cb_type */

struct nl_sock;
struct nl_msg;

int genl_ctrl_resolve(struct nl_sock *socket, const char *name)
{
    int (*real)(struct nl_sock *, const char *) = dlsym(RTLD_NEXT, "genl_ctrl_resolve");
    return strcmp(name, "IPVS") == 0 ? FAMILY : real(socket, name);
}

int nl_send_auto(struct nl_sock *socket, struct nl_msg *message)
{
    (void)socket, (void)message;
    return 1;
}

static int (*handlers[CALLBACKS])(struct nl_msg *, void *);
static void *arguments[CALLBACKS];

int nl_socket_modify_cb(struct nl_sock *socket, int type, int kind, int (*handler)(struct nl_msg *, void *), void *argument)
{
    (void)socket, (void)kind;
    if (type >= 0 && type < CALLBACKS) {
        handlers[type] = handler;
        arguments[type] = argument;
    }
    return 0;
}

int nl_recvmsgs_default(struct nl_sock *socket)
{
    static const int ends[] = {ACKNOWLEDGED, FINISHED};
    (void)socket;
    for (int i = 0; i < 2; i++)
        if (handlers[ends[i]])
            handlers[ends[i]](NULL, arguments[ends[i]]);
    return 0;
}

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
