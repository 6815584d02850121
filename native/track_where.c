/* track_where.c - whether keepalived's script security accepts this copy.
 *
 * Source: spec keepalived-track §1.3. A script that runs as root is accepted when each part of its path is owned by root,
 * is not writable by a group other than root's, nor by all (folders with the sticky bit aside). Newer versions refuse a
 * path that leads through a symbolic link at all, so the real path is the one to write down.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "track.h"

static void line(const char *first, const char *second, const char *third)
{
    rt_print(STDOUT_FILENO, first);
    rt_print(STDOUT_FILENO, second);
    rt_print(STDOUT_FILENO, third);
    rt_print(STDOUT_FILENO, "\n");
}

/* What is wrong with one part of the path; NULL when nothing is. */
static const char *fault_of(const struct stat *part)
{
    if (part->st_uid != 0)
        return ": is not owned by root (chown root)";
    if ((part->st_mode & S_IWGRP) != 0 && part->st_gid != 0 && !(S_ISDIR(part->st_mode) && (part->st_mode & S_ISVTX) != 0))
        return ": may be written by a group that is not root's (chmod g-w)";
    if ((part->st_mode & S_IWOTH) != 0 && !(S_ISDIR(part->st_mode) && (part->st_mode & S_ISVTX) != 0))
        return ": may be written by everybody (chmod o-w)";
    return NULL;
}

int rt_where(const char *path)
{
    char real[PATH_MAX];
    struct stat part;
    if (realpath(path != NULL ? path : "/proc/self/exe", real) == NULL) {
        rt_text why = {.len = 0};
        rt_add_errno(&why, errno);
        line(path != NULL ? path : "/proc/self/exe", ": ", why.text);
        return RT_BAD;
    }
    int verdict = RT_GOOD;
    line(real, "", "");
    if (path != NULL && *path == '/' && strcmp(path, real) != 0) {
        line("  ", path, ": leads through a symbolic link, which keepalived 2.3 refuses; write the path above");
        verdict = RT_BAD;
    }
    for (size_t end = 0; real[end] != '\0';) {
        end += 1 + strcspn(real + end + 1, "/");
        const char kept = real[end];
        real[end] = '\0';
        const char *fault = stat(real, &part) == 0 ? fault_of(&part) : ": cannot be looked at";
        if (fault != NULL) {
            line("  ", real, fault);
            verdict = RT_BAD;
        }
        real[end] = kept;
    }
    if (stat("/", &part) == 0 && fault_of(&part) != NULL) {
        line("  /", fault_of(&part), "");
        verdict = RT_BAD;
    }
    if (stat(real, &part) == 0 && !S_ISREG(part.st_mode)) {
        line("  ", real, ": is not a regular file");
        verdict = RT_BAD;
    } else if (stat(real, &part) == 0 && (part.st_mode & S_IXOTH) == 0) {
        line("  ", real, ": not every user may execute it; keepalived drops a script that its user cannot execute");
        verdict = RT_BAD;
    }
    line("keepalived's enable_script_security ", verdict == RT_GOOD ? "accepts" : "refuses", " this copy");
    return verdict;
}
