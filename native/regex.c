/* regex.c - PCRE2, as Debian's HAProxy uses it, with a bound on the work of one match. */
#include <string.h>

#include "internal.h"

#ifdef RF_HAVE_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Far above what a sane pattern needs on one buffer, and still only some milliseconds. */
enum { MATCH_LIMIT = 1000000, DEPTH_LIMIT = 10000, HEAP_LIMIT_KIB = 1024 };

struct regex {
    pcre2_code *code;
    pcre2_match_context *context;
};

void regex_free(struct regex *regex)
{
    if (regex == NULL)
        return;
    pcre2_match_context_free(regex->context);
    pcre2_code_free(regex->code);
    free(regex);
}

struct regex *regex_new(const uint8_t *pattern, uint32_t len, bool caseless, char *why, size_t why_len)
{
    struct regex *regex = calloc(1, sizeof *regex);
    if (regex == NULL) {
        snprintf(why, why_len, "out of memory");
        return NULL;
    }
    int error = 0;
    PCRE2_SIZE offset = 0;
    regex->code = pcre2_compile(pattern, len, caseless ? PCRE2_CASELESS : 0, &error, &offset, NULL);
    if (regex->code == NULL) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(error, text, sizeof text);
        snprintf(why, why_len, "regex '%.*s' is invalid (error=%s, erroffset=%zu)", (int)len, (const char *)pattern,
                 (const char *)text, (size_t)offset);
        regex_free(regex);
        return NULL;
    }
    (void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* without JIT it is slower, not wrong */
    regex->context = pcre2_match_context_create(NULL);
    if (regex->context == NULL) {
        snprintf(why, why_len, "out of memory");
        regex_free(regex);
        return NULL;
    }
    pcre2_set_match_limit(regex->context, MATCH_LIMIT);
    pcre2_set_depth_limit(regex->context, DEPTH_LIMIT);
    pcre2_set_heap_limit(regex->context, HEAP_LIMIT_KIB);
    return regex;
}

int regex_match(const struct regex *regex, const uint8_t *text, size_t len)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL); /* of its own: workers share programs */
    if (data == NULL)
        return -1;
    const int found = pcre2_match(regex->code, text, len, 0, 0, data, regex->context);
    pcre2_match_data_free(data);
    if (found >= 0)
        return 1;
    return found == PCRE2_ERROR_NOMATCH ? 0 : -1;
}

int regex_find(const struct regex *regex, const uint8_t *text, size_t len, bool inside, struct regex_span groups[REGEX_GROUPS_MAX])
{
    pcre2_match_data *data = pcre2_match_data_create(REGEX_GROUPS_MAX, NULL);
    if (data == NULL)
        return -1;
    int found = pcre2_match(regex->code, text, len, 0, inside ? PCRE2_NOTBOL : 0, data, regex->context);
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(data);
    if (found == 0)
        found = REGEX_GROUPS_MAX; /* there are more groups than that */
    for (int i = 0; i < found; i++) {
        const bool set = ends[2 * i] != PCRE2_UNSET && ends[2 * i] <= ends[2 * i + 1];
        groups[i] = (struct regex_span){set ? (uint32_t)ends[2 * i] : 0, set ? (uint32_t)(ends[2 * i + 1] - ends[2 * i]) : 0};
    }
    pcre2_match_data_free(data);
    if (found > 0)
        return found;
    return found == PCRE2_ERROR_NOMATCH ? 0 : -1;
}

#else

void regex_free(struct regex *regex)
{
    (void)regex;
}

struct regex *regex_new(const uint8_t *pattern, uint32_t len, bool caseless, char *why, size_t why_len)
{
    (void)pattern, (void)len, (void)caseless;
    snprintf(why, why_len, "this build has no PCRE2: install libpcre2-dev and build again");
    return NULL;
}

int regex_match(const struct regex *regex, const uint8_t *text, size_t len)
{
    (void)regex, (void)text, (void)len;
    return -1;
}

int regex_find(const struct regex *regex, const uint8_t *text, size_t len, bool inside, struct regex_span groups[REGEX_GROUPS_MAX])
{
    (void)regex, (void)text, (void)len, (void)inside, (void)groups;
    return -1;
}
#endif
