/* cut.c - `field` and `word`: pieces of a text between delimiters, from either end. */
#include <string.h>

#include "sample.h"

struct cut {
    const uint8_t *set;
    uint32_t set_len;
    bool words;     /* several delimiters in a row are one */
    int64_t number; /* from 1 */
    int64_t count;  /* 0 or less: all */
};

/* From the front: piece <number> and count - 1 more. false: there are fewer. A word that begins at the very end is found,
 * and empty: so does HAProxy. */
static bool cut_forward(const struct cut *cut, const uint8_t *at, uint32_t len, uint32_t *from, uint32_t *to)
{
    int64_t piece = 1;
    uint32_t i = 0;
    *from = 0;
    while (true) {
        while (cut->words && i < len && is_in(at[i], cut->set, cut->set_len))
            i++;
        if (piece == cut->number)
            *from = i;
        while (i < len && !is_in(at[i], cut->set, cut->set_len))
            i++;
        *to = i;
        if (piece >= cut->number && cut->count > 0 && piece - cut->number + 1 >= cut->count)
            return true;
        if (i == len)
            return piece >= cut->number;
        i++;
        piece++;
    }
}

static bool cut_backward(const struct cut *cut, const uint8_t *at, uint32_t len, uint32_t *from, uint32_t *to)
{
    int64_t piece = 1;
    uint32_t i = len; /* behind the piece */
    *to = len;
    while (true) {
        while (cut->words && i > 0 && is_in(at[i - 1], cut->set, cut->set_len))
            i--;
        if (piece == cut->number)
            *to = i;
        while (i > 0 && !is_in(at[i - 1], cut->set, cut->set_len))
            i--;
        *from = i;
        if (piece >= cut->number && cut->count > 0 && piece - cut->number + 1 >= cut->count)
            return true;
        if (i == 0)
            return piece >= cut->number;
        i--;
        piece++;
    }
}

bool cut_out(struct sample_run *run, const rf_op *op, struct value *value)
{
    if (!cast_text(run, value))
        return false;
    struct cut cut = {.set = program_at(run->program, op->text),
                      .set_len = op->text.len,
                      .words = op->code == RF_CONV_WORD,
                      .number = op->number,
                      .count = op->number2};
    uint32_t from = 0, to = 0;
    bool found;
    if (op->number > 0)
        found = cut_forward(&cut, value->bytes, value->len, &from, &to);
    else {
        cut.number = op->number == INT64_MIN ? INT64_MAX : -op->number;
        found = cut_backward(&cut, value->bytes, value->len, &from, &to);
    }
    if (!found || to < from) {
        value->len = 0;
        return cut.words;
    }
    value->bytes += from;
    value->len = to - from;
    return true;
}
