/* fuzz_track.c - what risefall-track reads of peers and of its command line: results in their bounds, however it is cut. */
#include "../internal.h"
#include "../track_parse.c"

static void words(const char *text)
{
    uint64_t number;
    rt_address address;
    rt_url url;
    if (rt_parse_duration(text, &number))
        RF_ASSERT(number <= UINT64_C(9100000000000000000));
    if (rt_parse_address(text, strlen(text), 80, &address))
        RF_ASSERT(address.port > 0 && (address.family == AF_INET || address.family == AF_INET6));
    if (rt_parse_url(text, &url))
        RF_ASSERT(url.host_len > 0 && strlen(url.path) <= RT_PACKET_MAX / 2);
    if (rt_parse_codes(text))
        for (uint16_t code = 100; code < 1000; code = (uint16_t)(code + 100))
            (void)rt_code_expected(text, code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2 || len > 2048)
        return 0;
    const char *bytes = (const char *)data + 1;
    const size_t size = len - 1, cut = data[0] % size;
    char text[2048];
    memcpy(text, bytes, size);
    text[size] = '\0';
    words(text);

    const int code = rt_status_line(bytes, size), early = rt_status_line(bytes, cut);
    RF_ASSERT(code >= -1 && code <= 999 && (code <= 0 || code >= 100));
    RF_ASSERT(early == 0 || early == code); /* what a part of it said, all of it says */

    rt_info whole = {.len = 0}, parts = {.len = 0};
    rt_info_feed(&whole, bytes, size);
    rt_info_end(&whole);
    rt_info_feed(&parts, bytes, cut);
    rt_info_feed(&parts, bytes + cut, size - cut);
    rt_info_end(&parts);
    RF_ASSERT(whole.haproxy == parts.haproxy && whole.told == parts.told && whole.stopping == parts.stopping);

    rt_text why = {.len = 0};
    const int answer = rt_parse_answer(bytes, size, &why);
    RF_ASSERT((answer == RT_GOOD || answer == RT_BAD || answer == RT_UNKNOWN) && why.len < sizeof why.text);
    return 0;
}
