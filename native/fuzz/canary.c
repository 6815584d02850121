/* canary.c - must crash: proves that the harness sees a crash. */
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t table[4];
    volatile uint8_t sink = 0;
    if (len > 1 && data[0] > 8)
        sink = table[data[0]];
    return sink & 0;
}
