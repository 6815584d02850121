/* fuzz_agent.c - any line of an agent gives one result with text in its bounds. */
#include "../internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 1)
        return 0;
    const struct agent_facts facts = {.last_status = RF_INI,
                                      .initial_weight = data[0],
                                      .static_weights = (data[0] & 1) != 0,
                                      .weight_word = (data[0] & 2) != 0};
    rf_result result = {0};
    const int done = agent_line(data + 1, (uint32_t)(len - 1), (data[0] & 4) != 0, &facts, &result);
    if (done == AGENT_DONE) {
        RF_ASSERT(result.text_len <= RF_TEXT_MAX && result.text[result.text_len] == 0);
        RF_ASSERT(result.verdict <= RF_CONDPASS && result.weight_kind <= RF_WEIGHT_ABSOLUTE);
        RF_ASSERT(result.weight_kind == RF_WEIGHT_NONE || (result.weight >= 0 && result.weight <= 25600));
    }
    return 0;
}
