/* agent.c - the line of an agent-check (spec 4.2, 4.3).
 *
 * The line ends at the first LF, CR or NUL; a NUL makes it incomplete, as does an end of stream without either.
 * Words are separated by blanks, tabs and commas; '#' at the start of a word begins the description. The last word
 * of each category wins; the first unknown word and the first bad value are told.
 */
#include <limits.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

enum { LINE_MAX_BYTES = 1 << 16, WEIGHT_MAX = 256, RELATIVE_MAX = 25600 };

struct word {
    const char *at;
    size_t len;
};
struct line {
    struct word health, admin, weight, maxconn, unknown;
    struct word rest; /* description */
};

static bool is(struct word word, const char *text)
{
    return word.len == strlen(text) && strncasecmp(word.at, text, word.len) == 0;
}

static bool begins(struct word word, const char *text)
{
    return word.len >= strlen(text) && strncasecmp(word.at, text, strlen(text)) == 0;
}

static void sort_word(struct line *line, struct word word, bool weight_word)
{
    if (is(word, "up") || is(word, "down") || is(word, "stopped") || is(word, "fail"))
        line->health = word;
    else if (is(word, "ready") || is(word, "drain") || is(word, "maint"))
        line->admin = word;
    else if (word.at[0] >= '0' && word.at[0] <= '9' && memchr(word.at, '%', word.len) != NULL)
        line->weight = word;
    else if (weight_word && begins(word, "weight:"))
        line->weight = (struct word){word.at + strlen("weight:"), word.len - strlen("weight:")};
    else if (begins(word, "maxconn:"))
        line->maxconn = word;
    else if (line->unknown.at == NULL)
        line->unknown = word;
}

static struct line split(const char *text, size_t len, bool weight_word)
{
    struct line line = {0};
    size_t i = 0;
    while (i < len) {
        if (text[i] == ' ' || text[i] == '\t' || text[i] == ',') {
            i++;
            continue;
        }
        if (text[i] == '#') {
            i++;
            while (i < len && (text[i] == ' ' || text[i] == '\t'))
                i++;
            line.rest = (struct word){text + i, len - i};
            break;
        }
        const size_t start = i++;
        while (i < len && text[i] != ' ' && text[i] != '\t' && text[i] != ',')
            i++;
        sort_word(&line, (struct word){text + start, i - start}, weight_word);
    }
    return line;
}

/* strtol's reading of a word: false where there is no number at all; *rest is what follows it. */
static bool number(struct word word, long *value, struct word *rest)
{
    char digits[24];
    const size_t len = word.len < sizeof digits - 1 ? word.len : sizeof digits - 1;
    memcpy(digits, word.at, len);
    digits[len] = 0;
    char *end = NULL;
    *value = strtol(digits, &end, 10);
    size_t used = (size_t)(end - digits);
    while (used == sizeof digits - 1 && used < word.len && word.at[used] >= '0' && word.at[used] <= '9') {
        *value = LONG_MAX; /* more digits than any number has */
        word.at++;
        word.len--;
    }
    *rest = (struct word){word.at + used, word.len - used};
    return used > 0;
}

/* Returns the warning, or NULL when the word is good (or absent). */
static const char *take_weight(struct word word, const struct agent_facts *facts, rf_result *out)
{
    long value = 0;
    struct word rest;
    if (word.at == NULL)
        return NULL;
    if (word.len == 0)
        return "Require <weight> or <weight%>.\n";
    if (!number(word, &value, &rest))
        return "Empty weight string empty or preceded by garbage";
    const bool relative = rest.len == 1 && rest.at[0] == '%';
    int64_t weight = value;
    if (relative) {
        if (value < 0)
            return "Relative weight must be positive.\n";
        value = value > RELATIVE_MAX ? RELATIVE_MAX : value;
        weight = (int64_t)facts->initial_weight * value / 100;
    } else if (value < 0 || value > WEIGHT_MAX) {
        return "Absolute weight can only be between 0 and 256 inclusive.\n";
    } else if (rest.len > 0) {
        return "Trailing garbage in weight string";
    }
    if (facts->static_weights && weight != 0 && weight != facts->initial_weight)
        return "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n";
    out->weight_kind = relative ? RF_WEIGHT_RELATIVE : RF_WEIGHT_ABSOLUTE;
    out->weight = (int32_t)value;
    return NULL;
}

static const char *take_maxconn(struct word word, rf_result *out)
{
    long value = 0;
    struct word rest;
    if (word.at == NULL)
        return NULL;
    word.at += strlen("maxconn:");
    word.len -= strlen("maxconn:");
    if (word.len == 0)
        return "Require <maxconn>.\n";
    if (!number(word, &value, &rest))
        return "maxconn string empty or preceded by garbage";
    if (rest.len > 0)
        return "Trailing garbage in maxconn string";
    out->has_maxconn = 1;
    out->maxconn = value < INT32_MIN ? INT32_MIN : value > INT32_MAX ? INT32_MAX : (int32_t)value;
    return NULL;
}

static void tell(const struct line *line, const char *warning, rf_result *out)
{
    if (line->health.at == NULL) {
        result_set(out, RF_CHECKED, NULL, 0);
        if (line->unknown.at != NULL) {
            result_appendf(out, "agent reports an error : ");
            result_append(out, line->unknown.at, line->unknown.len);
        } else if (warning != NULL) {
            result_appendf(out, "agent warns : %s", warning);
        }
        return;
    }
    const bool up = is(line->health, "up");
    struct word text = line->rest;
    if (text.len == 0 || up) {
        if (line->unknown.at != NULL)
            text = line->unknown;
        else if (warning != NULL)
            text = (struct word){warning, strlen(warning)};
    }
    result_set(out, up ? RF_L7OK : RF_L7STS, NULL, 0);
    result_appendf(out, "via agent : ");
    result_append(out, line->health.at, line->health.len);
    if (text.len > 0) {
        result_append(out, " (", 2);
        result_append(out, text.at, text.len);
        result_append(out, ")", 1);
    }
}

int agent_line(const uint8_t *buf, uint32_t len, bool last_read, const struct agent_facts *facts, rf_result *out)
{
    uint32_t end = 0;
    const uint32_t bound = len < LINE_MAX_BYTES ? len : LINE_MAX_BYTES;
    while (end < bound && buf[end] != '\n' && buf[end] != '\r' && buf[end] != 0)
        end++;
    if (end == bound || buf[end] == 0) {
        if (!last_read)
            return AGENT_NEED_MORE;
        if (facts->last_status < RF_CHECKED) {
            /* No verdict yet that could count again: HAProxy waits until its deadline, here it is told at once. */
            result_set(out, RF_L7TOUT, NULL, 0);
            return AGENT_DONE;
        }
        /* The verdict of the run before counts again. */
        static const char INCOMPLETE[] = "Ignoring incomplete line from agent";
        result_set(out, facts->last_status, INCOMPLETE, sizeof INCOMPLETE - 1);
        out->code = facts->last_code;
        return AGENT_DONE;
    }
    const struct line line = split((const char *)buf, end, facts->weight_word);
    const char *warning = take_weight(line.weight, facts, out);
    const char *second = take_maxconn(line.maxconn, out);
    if (line.admin.at != NULL)
        out->admin = is(line.admin, "ready") ? RF_ADMIN_READY : is(line.admin, "drain") ? RF_ADMIN_DRAIN : RF_ADMIN_MAINT;
    tell(&line, warning != NULL ? warning : second, out);
    return AGENT_DONE;
}
