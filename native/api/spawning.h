/* api/spawning.h - processes (spawn.c). Part of risefall.h. */
#ifndef RF_API_SPAWNING_H
#define RF_API_SPAWNING_H

#include "base.h"

/* cffi: begin */
enum {
    RF_SPAWN_NEW_GROUP = 1, /* leads a process group of its own, of which all end with it */
    RF_SPAWN_NULL_STDIO = 2, /* 0 to 2 are /dev/null; else 0 alone is, 1 and 2 stay what they are */
    RF_SPAWN_GROUPS = 4, /* its supplementary groups are <groups>, none if groups_len is 0 */
    RF_SPAWN_UMASK = 8,
    RF_SPAWN_DIE_WITH_US = 16 /* SIGTERM when the thread that started it ends */
};
typedef struct {
    const char *path;               /* for execve: no search */
    const char *const *argv, *const *envp; /* ended by NULL */
    uint32_t uid, gid;              /* UINT32_MAX: as they are */
    uint32_t flags;                 /* RF_SPAWN_ */
    const uint32_t *groups;
    uint32_t groups_len, umask;
    int32_t *error_out;             /* NULL, or gets the errno of what kept the program from being executed, else 0 */
} rf_spawn_order;
/* Starts a process with every descriptor from 3 on closed, signals at their defaults, none blocked. A path that cannot be
 * executed is a process that exits with 255 at once, as in HAProxy. RF_ERRNO: it could not be started. */
int32_t rf_spawn(const rf_spawn_order *order, int32_t *pid_out, int32_t *pidfd_out);
/* RF_OK: it has ended, all that was left of its group is killed, and it is reaped; status: exit code, or -signal.
 * RF_FULL: it still runs. */
int32_t rf_spawn_reap(int32_t pidfd, int32_t pid, int32_t *status_out);
void rf_spawn_signal_group(int32_t pid, int32_t signal);
/* cffi: end */

#endif
