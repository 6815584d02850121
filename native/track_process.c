/* track_process.c - whether a process of a name runs.
 *
 * killall -0 says yes to a zombie, and no to what another user runs; both are wrong here. /proc/PID/comm is several times
 * cheaper than stat or status, so only the processes whose name matches are looked at further. It is cut at 15 bytes: a
 * longer name is compared with the command line.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "track.h"

enum { COMM_MAX = 15 };

struct entry { /* linux_dirent64 */
    uint64_t inode;
    int64_t offset;
    uint16_t len;
    uint8_t type;
    char name[];
};

static ssize_t read_file(int proc, const char *pid, const char *file, char *into, size_t max)
{
    char path[40];
    const size_t pid_len = strlen(pid), file_len = strlen(file);
    if (pid_len + 1 + file_len >= sizeof path)
        return -1;
    memcpy(path, pid, pid_len);
    path[pid_len] = '/';
    memcpy(path + pid_len + 1, file, file_len + 1);
    const int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    const ssize_t got = read(fd, into, max);
    close(fd);
    return got;
}

/* Whether a word of a command line, its folder aside, is <name>. */
static bool is_word(const char *word, size_t len, const char *name, size_t name_len)
{
    return len >= name_len && memcmp(word + len - name_len, name, name_len) == 0 &&
           (len == name_len || word[len - name_len - 1] == '/');
}

static bool long_name(int proc, const char *pid, const char *name, size_t name_len)
{
    char line[1024];
    const ssize_t got = read_file(proc, pid, "cmdline", line, sizeof line);
    size_t at = 0;
    for (int word = 0; word < 2 && got > 0 && at < (size_t)got; word++) { /* the second: a script and its interpreter */
        const size_t len = strnlen(line + at, (size_t)got - at);
        if (is_word(line + at, len, name, name_len))
            return true;
        at += len + 1;
    }
    return false;
}

/* The letter of its state, or 0 when it is gone. */
static char state_of(int proc, const char *pid)
{
    char line[512];
    const ssize_t got = read_file(proc, pid, "stat", line, sizeof line);
    for (ssize_t at = got - 1; at > 0; at--)
        if (line[at] == ')') /* the last one: a name may hold any */
            return at + 2 < got ? line[at + 2] : '\0';
    return '\0';
}

int rt_process(rt_run *run, const char *name)
{
    char entries[32768] __attribute__((aligned(8)));
    const size_t name_len = strlen(name), comm_len = name_len < COMM_MAX ? name_len : COMM_MAX;
    const int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const uint64_t self = (uint64_t)getpid();
    bool zombie = false;
    long got = -1;
    while (proc >= 0 && (got = syscall(SYS_getdents64, proc, entries, sizeof entries)) > 0) {
        for (long at = 0; at < got;) {
            const struct entry *one = (const void *)(entries + at);
            at += one->len;
            char comm[COMM_MAX + 2];
            uint64_t pid;
            if (!rt_parse_number(one->name, UINT32_MAX, &pid) || pid == self)
                continue;
            const ssize_t len = read_file(proc, one->name, "comm", comm, sizeof comm);
            if (len != (ssize_t)comm_len + 1 || memcmp(comm, name, comm_len) != 0)
                continue;
            if (name_len > COMM_MAX && !long_name(proc, one->name, name, name_len))
                continue;
            const char state = state_of(proc, one->name);
            if (state != '\0' && state != 'Z' && state != 'X')
                return RT_GOOD;
            zombie = zombie || state == 'Z';
        }
        if (rt_now_ns() >= run->deadline_ns) {
            rt_add(run->why, "the processes could not be read in time");
            return RT_BAD;
        }
    }
    if (got < 0) {
        rt_add(run->why, "/proc: ");
        rt_add_errno(run->why, errno);
    } else {
        rt_add(run->why, zombie ? "only a zombie is left" : "no such process");
    }
    return RT_BAD;
}
