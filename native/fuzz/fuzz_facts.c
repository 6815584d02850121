/* fuzz_facts.c - any question to the table of facts gets one answer that fits into a packet; saved facts of any kind are taken
 * or refused, and what was taken is saved and taken again. */
#include <string.h>

#include "../facts.h"
#include "../internal.h"

static void restored(const char *bytes, uint32_t len)
{
    static char out[65536];
    rf_facts *first = rf_facts_open(UINT64_MAX), *second = rf_facts_open(UINT64_MAX);
    RF_ASSERT(first != NULL && second != NULL);
    const int32_t taken = rf_facts_restore(first, bytes, len);
    RF_ASSERT(taken == RF_BAD || (taken >= 0 && (uint32_t)taken <= len));
    uint32_t bucket = 0, said;
    while ((said = rf_facts_save(first, &bucket, out, sizeof out)) > 0)
        RF_ASSERT(said <= sizeof out && rf_facts_restore(second, out, said) > 0);
    rf_facts_close(first);
    rf_facts_close(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static rf_facts *facts;
    char out[RF_FACT_PACKET_MAX];
    if (facts == NULL) {
        facts = rf_facts_open(UINT64_MAX);
        (void)rf_facts_put(facts, RF_FACT_SERVER, "b/s", 3, RF_FACT_GOOD, 0, "UP", 2);
        (void)rf_facts_put(facts, RF_FACT_BACKEND, "b", 1, RF_FACT_GOOD, 2, "2 of 3 servers up", 17);
        rf_facts_ready(facts, RF_FACT_SERVER, 1);
    }
    const uint32_t said = rf_facts_ask(facts, (const char *)data, (uint32_t)len, out);
    RF_ASSERT(said >= 2 && said <= sizeof out && (out[0] == '0' || out[0] == '1' || out[0] == '?') && out[1] == ' ');
    restored((const char *)data, (uint32_t)len);
    return 0;
}
