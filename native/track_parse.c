/* track_parse.c - words of the command line and bytes of peers, read without trusting either. No system calls. */
#include <arpa/inet.h>
#include <string.h>

#include "track.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

void rt_add_bytes(rt_text *to, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len && to->len + 1 < sizeof to->text; i++) {
        const unsigned char c = (unsigned char)bytes[i];
        to->text[to->len++] = c < ' ' || c == 127 ? '?' : bytes[i];
    }
    to->text[to->len] = '\0';
}

void rt_add(rt_text *to, const char *text)
{
    rt_add_bytes(to, text, strlen(text));
}

void rt_add_number(rt_text *to, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    rt_add_bytes(to, digits + at, sizeof digits - at);
}

void rt_add_errno(rt_text *to, int error)
{
#ifdef __GLIBC__
    const char *text = strerrordesc_np(error); /* strerror() would link in the whole of gettext */
#else
    const char *text = strerror(error);
#endif
    rt_add(to, text != NULL ? text : "unknown error");
}

static bool parse_digits(const char *text, size_t len, uint64_t max, uint64_t *out)
{
    uint64_t number = 0;
    if (len == 0 || len > 18)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(text[i]))
            return false;
        number = number * 10 + (uint64_t)(text[i] - '0');
    }
    *out = number;
    return number <= max;
}

bool rt_parse_number(const char *text, uint64_t max, uint64_t *out)
{
    return parse_digits(text, strlen(text), max, out);
}

bool rt_parse_duration(const char *text, uint64_t *out_ns)
{
    static const struct {
        const char *unit;
        uint64_t ns;
    } units[] = {{"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"m", UINT64_C(60000000000)},
                 {"h", UINT64_C(3600000000000)}, {"d", UINT64_C(86400000000000)}};
    size_t whole = 0, after = 0;
    while (is_digit(text[whole]))
        whole++;
    const char *unit = text + whole;
    if (*unit == '.') {
        while (is_digit(unit[1 + after]))
            after++;
        if (after == 0 || after > 6)
            return false;
        unit += 1 + after;
    }
    uint64_t number, part = 0, scale = 1;
    if (!parse_digits(text, whole, 100000, &number))
        return false;
    if (after > 0 && !parse_digits(text + whole + 1, after, 999999, &part))
        return false;
    for (size_t i = 0; i < after; i++)
        scale *= 10;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(unit, units[i].unit) == 0) {
            *out_ns = number * units[i].ns + (units[i].ns >= scale ? units[i].ns / scale * part : 0);
            return number <= UINT64_C(9000000000000000000) / units[i].ns;
        }
    return false;
}

bool rt_parse_address(const char *text, size_t len, uint16_t port, rt_address *out)
{
    char host[INET6_ADDRSTRLEN + 1];
    const char *end = text + len, *host_end = end, *port_at = NULL;
    const bool bracket = len > 0 && *text == '[';
    memset(out, 0, sizeof *out);
    if (bracket) {
        text++;
        host_end = memchr(text, ']', (size_t)(end - text));
        if (host_end == NULL || (host_end + 1 < end && host_end[1] != ':'))
            return false;
        port_at = host_end + 1 < end ? host_end + 2 : NULL;
    } else {
        const char *colon = memchr(text, ':', len);
        if (colon != NULL) {
            host_end = colon;
            port_at = colon + 1;
        }
    }
    const size_t host_len = (size_t)(host_end - text);
    if (host_len == 0 || host_len >= sizeof host)
        return false;
    memcpy(host, text, host_len);
    host[host_len] = '\0';
    out->family = bracket ? AF_INET6 : AF_INET;
    if (inet_pton(out->family, host, out->address) != 1)
        return false;
    uint64_t number = port;
    if (port_at != NULL && !parse_digits(port_at, (size_t)(end - port_at), UINT16_MAX, &number))
        return false;
    out->port = (uint16_t)number;
    return number > 0;
}

bool rt_parse_url(const char *text, rt_url *out)
{
    static const char scheme[] = "http://";
    if (strncmp(text, scheme, sizeof scheme - 1) != 0)
        return false;
    out->host = text + sizeof scheme - 1;
    out->host_len = strcspn(out->host, "/?#");
    out->path = out->host + out->host_len;
    if (*out->path != '\0' && *out->path != '/')
        return false;
    for (const char *at = out->path; *at != '\0'; at++)
        if ((unsigned char)*at <= ' ' || (unsigned char)*at >= 127 || *at == '#')
            return false;
    return strlen(out->path) <= RT_PACKET_MAX / 2 && rt_parse_address(out->host, out->host_len, 80, &out->to);
}

/* One item of a list of codes; the end of it, or NULL. */
static const char *next_codes(const char *text, uint16_t *first, uint16_t *last)
{
    uint64_t low, high;
    const size_t len = strcspn(text, ",");
    const char *dash = memchr(text, '-', len);
    const size_t low_len = dash != NULL ? (size_t)(dash - text) : len;
    if (low_len != 3 || !parse_digits(text, low_len, 999, &low) || low < 100)
        return NULL;
    high = low;
    if (dash != NULL && (len != 7 || !parse_digits(dash + 1, 3, 999, &high) || high < low))
        return NULL;
    *first = (uint16_t)low;
    *last = (uint16_t)high;
    return text + len;
}

bool rt_parse_codes(const char *text)
{
    uint16_t first, last;
    while ((text = next_codes(text, &first, &last)) != NULL) {
        if (*text == '\0')
            return true;
        text++;
    }
    return false;
}

bool rt_code_expected(const char *codes, uint16_t code)
{
    uint16_t first, last;
    while ((codes = next_codes(codes, &first, &last)) != NULL) {
        if (code >= first && code <= last)
            return true;
        if (*codes == '\0')
            return false;
        codes++;
    }
    return false;
}

int rt_status_line(const char *bytes, size_t len)
{
    static const char shape[] = "HTTP/d.d ddd"; /* d: a digit; then a space or the end of the line */
    for (size_t i = 0; i < sizeof shape - 1; i++) {
        if (i >= len)
            return 0;
        if (shape[i] == 'd' ? !is_digit(bytes[i]) : bytes[i] != shape[i])
            return -1;
    }
    if (len < sizeof shape)
        return 0;
    const char after = bytes[sizeof shape - 1];
    if ((after != ' ' && after != '\r' && after != '\n') || bytes[9] == '0')
        return -1;
    return (bytes[9] - '0') * 100 + (bytes[10] - '0') * 10 + (bytes[11] - '0');
}

static void info_line(rt_info *info)
{
    static const char name[] = "Name: HAProxy", stopping[] = "Stopping: ";
    if (info->len > 0 && info->line[info->len - 1] == '\r')
        info->len--;
    if (!info->cut && info->len == sizeof name - 1 && memcmp(info->line, name, info->len) == 0)
        info->haproxy = true;
    if (!info->cut && info->len > sizeof stopping - 1 && memcmp(info->line, stopping, sizeof stopping - 1) == 0) {
        info->told = true;
        info->stopping = info->line[sizeof stopping - 1] != '0' || info->len != sizeof stopping;
    }
    info->len = 0;
    info->cut = false;
}

void rt_info_feed(rt_info *info, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n')
            info_line(info);
        else if (info->len < sizeof info->line)
            info->line[info->len++] = bytes[i];
        else
            info->cut = true;
    }
}

void rt_info_end(rt_info *info)
{
    if (info->len > 0)
        info_line(info);
}

int rt_parse_answer(const char *bytes, size_t len, rt_text *why)
{
    if (len >= 2 && bytes[1] == ' ') {
        rt_add_bytes(why, bytes + 2, len - 2);
        switch (bytes[0]) {
        case '0':
            return RT_GOOD;
        case '1':
            return RT_BAD;
        case '?':
            return RT_UNKNOWN;
        default:
            why->len = 0;
        }
    }
    rt_add(why, "the daemon's answer cannot be understood");
    return RT_UNKNOWN;
}
