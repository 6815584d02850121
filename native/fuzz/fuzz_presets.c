/* fuzz_presets.c - any reply of MySQL, LDAP or SPOP: a decision once taken does not change as more comes, and its text lies in
 * the reply or is a constant. Byte 0 chooses the protocol. */
#include <string.h>

#include "../internal.h"

static int run(uint32_t kind, const uint8_t *in, uint32_t len, bool last_read, struct preset_reply *out)
{
    enum { FRAME_MAX = 16380 };
    *out = (struct preset_reply){0};
    switch (kind) {
    case 0:
    case 1:
        return preset_mysql(in, len, last_read, kind, true, out);
    case 2:
        return preset_ldap(in, len, last_read, out);
    default:
        return preset_spop(in, len, last_read, FRAME_MAX, kind == 4, out);
    }
}

static void in_bounds(const struct preset_reply *reply)
{
    volatile char sink = 0;
    for (uint32_t i = 0; i < reply->len; i++) /* ASan sees what lies outside */
        sink = reply->text[i];
    (void)sink;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    enum { KINDS = 5, LEN_MAX = 1024 };
    if (len < 2 || len > LEN_MAX)
        return 0;
    const uint32_t kind = data[0] % KINDS;
    const uint32_t whole = (uint32_t)len - 1;
    struct preset_reply first, last;
    int decided = PRESET_WAIT;
    for (uint32_t part = 1; part <= whole && decided == PRESET_WAIT; part++) {
        uint8_t *copy = malloc(part); /* of exactly that length, so that a look behind its end is seen */
        RF_ASSERT(copy != NULL);
        memcpy(copy, data + 1, part);
        decided = run(kind, copy, part, false, &first);
        in_bounds(&first);
        free(copy);
    }
    const int at_end = run(kind, data + 1, whole, true, &last);
    in_bounds(&last);
    RF_ASSERT(at_end != PRESET_WAIT);
    if (decided != PRESET_WAIT)
        RF_ASSERT(at_end == decided && first.status == last.status && first.code == last.code);
    return 0;
}
