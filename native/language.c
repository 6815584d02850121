/* language.c - which of some languages an Accept-Language header likes best (HAProxy 2.6, sample_conv_q_preferred: as it reads). */
#include <string.h>

#include "sample.h"

enum { BEST = 1000 }; /* q=1, in thousandths */

struct reader {
    const uint8_t *at, *end;
};

static bool blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next character that is no blank; NUL at the end. */
static uint8_t next(struct reader *in)
{
    while (in->at < in->end && blank(*in->at))
        in->at++;
    return in->at < in->end ? *in->at : 0;
}

static uint8_t taken(struct reader *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static bool digit(const struct reader *in)
{
    return in->at < in->end && *in->at >= '0' && *in->at <= '9';
}

/* HAProxy steps over the character behind the first digit, whatever it is. */
static int quality(struct reader *in)
{
    int q = BEST;
    if (!digit(in))
        return q;
    q = (taken(in) - '0') * BEST;
    if (taken(in) == '.') {
        for (int scale = BEST / 10; scale > 0 && digit(in); scale /= 10)
            q += (taken(in) - '0') * scale;
    }
    return q < BEST ? q : BEST;
}

/* A range `en-gb` of the header fits the language `en-gb`, and `en`. */
static bool fits(const uint8_t *range, size_t range_len, const uint8_t *tag, size_t tag_len)
{
    return range_len >= tag_len && memcmp(range, tag, tag_len) == 0 && (range_len == tag_len || range[tag_len] == '-');
}

/* What follows a language that is on offer: the value of its q, or -1 where something else stands there. */
static int weight(struct reader *in)
{
    const uint8_t c = next(in);
    if (c == 0 || c == ',')
        return BEST;
    if (c != ';')
        return -1;
    in->at++;
    if (next(in) != 'q')
        return BEST;
    in->at++;
    if (next(in) != '=')
        return BEST;
    in->at++;
    return next(in) == 0 ? BEST : quality(in);
}

bool language(struct sample_run *run, const rf_op *op, struct value *value)
{
    if (!cast_text(run, value))
        return false;
    const uint8_t *offered = program_at(run->program, op->text);
    const uint8_t *offered_end = offered + op->text.len;
    struct reader in = {.at = value->bytes, .end = value->bytes + value->len};
    struct value best = {.kind = VALUE_TEXT};
    int best_q = 0;
    while (next(&in) != 0 && best_q < BEST) {
        const uint8_t *range = in.at;
        while (in.at < in.end && *in.at != ';' && *in.at != ',' && !blank(*in.at))
            in.at++;
        const size_t len = (size_t)(in.at - range);
        const uint8_t *tag = offered, *tag_end = NULL;
        while (len > 0 && tag < offered_end) {
            tag_end = memchr(tag, ';', (size_t)(offered_end - tag));
            if (tag_end == NULL || fits(range, len, tag, (size_t)(tag_end - tag)))
                break;
            tag = tag_end + 1;
        }
        const int q = len > 0 && tag < offered_end && tag_end != NULL ? weight(&in) : -1;
        if (q > best_q) {
            best.bytes = tag;
            best.len = (uint32_t)(tag_end - tag);
            best_q = q;
        }
        while (in.at < in.end && *in.at != ',')
            in.at++;
        in.at += in.at < in.end;
    }
    if (best.len == 0) {
        best.bytes = program_at(run->program, op->other);
        best.len = op->other.len;
    }
    *value = best;
    return best.len > 0;
}
