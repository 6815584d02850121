/* process.c - what an external-check starts: path, arguments and environment in one block that checks share. */
#include <string.h>

#include "internal.h"

enum { WORDS_MAX = 4096, TEXT_MAX = 1 << 20 };

static size_t text_of(const char *const *words, uint32_t len)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < len; i++)
        sum += strlen(words[i]) + 1;
    return sum;
}

static char *copy(char *at, const char *word)
{
    const size_t len = strlen(word) + 1;
    memcpy(at, word, len);
    return at + len;
}

rf_process *rf_process_new(const char *path, const char *const *argv, uint32_t argv_len, const char *const *envp,
                           uint32_t envp_len)
{
    if (argv_len == 0 || argv_len > WORDS_MAX || envp_len > WORDS_MAX || path[0] == 0) {
        rf_refuse(RF_BAD, 0, "a process has a path, 1..%d arguments and at most %d variables", WORDS_MAX, WORDS_MAX);
        return NULL;
    }
    const size_t text = strlen(path) + 1 + text_of(argv, argv_len) + text_of(envp, envp_len);
    const size_t pointers = ((size_t)argv_len + envp_len + 2) * sizeof(char *);
    if (text > TEXT_MAX) {
        rf_refuse(RF_BAD, 0, "arguments and environment are longer than %d bytes", TEXT_MAX);
        return NULL;
    }
    rf_process *process = calloc(1, sizeof *process + pointers + text);
    if (process == NULL) {
        rf_refuse(RF_NOMEM, 0, "out of memory");
        return NULL;
    }
    process->holders = 1;
    process->argv = (char **)(process + 1);
    process->envp = process->argv + argv_len + 1;
    process->path = (char *)(process->envp + envp_len + 1);
    char *at = copy(process->path, path);
    for (uint32_t i = 0; i < argv_len; i++) {
        process->argv[i] = at;
        at = copy(at, argv[i]);
    }
    for (uint32_t i = 0; i < envp_len; i++) {
        process->envp[i] = at;
        at = copy(at, envp[i]);
    }
    return process;
}

void rf_process_hold(rf_process *process)
{
    if (process != NULL)
        __atomic_add_fetch(&process->holders, 1, __ATOMIC_RELAXED);
}

void rf_process_drop(rf_process *process)
{
    if (process != NULL && __atomic_sub_fetch(&process->holders, 1, __ATOMIC_ACQ_REL) == 0)
        free(process);
}
