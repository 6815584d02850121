/* params.c - converters that HAProxy has since 2.6: param, and those of the Forwarded header (RFC 7239, sections 4 to 6). */
#include <string.h>

#include "sample.h"

struct text {
    const uint8_t *at;
    uint32_t len;
};
/* One node of a Forwarded header; port.len 0: none. */
struct node {
    struct text name, port;
    bool address;
};
enum { FIELDS = 4, PORT_DIGITS_MAX = 5, PORT_MAX = 65535 };
static const char *const NAMES[FIELDS] = {"proto", "host", "by", "for"}; /* as RF_FORWARDED_PROTO and on */
struct header {
    struct text fields[FIELDS];
    uint32_t seen;
};

static bool give(struct value *value, struct text text)
{
    *value = (struct value){.kind = VALUE_TEXT, .bytes = text.at, .len = text.len};
    return true;
}

/* Behind `NAME=`, up to the delimiter; a name alone has an empty value. */
bool parameter(struct sample_run *run, const rf_op *op, struct value *value)
{
    if (!cast_text(run, value))
        return false;
    const struct text name = {program_at(run->program, op->text), op->text.len};
    const struct text joint = {program_at(run->program, op->other), op->other.len};
    uint32_t from = 0;
    while (from <= value->len) { /* each turn goes on behind a delimiter */
        uint32_t end = from;
        while (end < value->len &&
               !(joint.len > 0 && joint.len <= value->len - end && memcmp(value->bytes + end, joint.at, joint.len) == 0))
            end++;
        const bool begins = end - from >= name.len && memcmp(value->bytes + from, name.at, name.len) == 0;
        if (begins && (end - from == name.len || value->bytes[from + name.len] == '=')) {
            const uint32_t skip = end - from == name.len ? name.len : name.len + 1;
            return give(value, (struct text){value->bytes + from + skip, end - from - skip});
        }
        from = end + (joint.len > 0 ? joint.len : 1); /* an empty delimiter is nowhere: all is one parameter */
    }
    return false;
}

/* --- RFC 7239 ------------------------------------------------------------------------------------------------------ */

static bool is_token(uint8_t c)
{
    return c > ' ' && c < 0x7f && memchr("()<>@,;:\\\"/[]?={}", c, 17) == NULL;
}

/* `_` and letters, digits, `.`, `_`, `-`. */
static bool is_obfuscated(struct text text)
{
    if (text.len < 2 || text.at[0] != '_')
        return false;
    for (uint32_t i = 1; i < text.len; i++) {
        const uint8_t c = text.at[i];
        if (!((c | 0x20) >= 'a' && (c | 0x20) <= 'z') && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}

static bool port_number(struct text text, uint32_t *out)
{
    uint32_t number = 0;
    if (text.len == 0 || text.len > PORT_DIGITS_MAX)
        return false;
    for (uint32_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        number = number * 10 + (uint32_t)(text.at[i] - '0');
    }
    *out = number;
    return number <= PORT_MAX;
}

static bool read_node(struct text text, struct node *out)
{
    uint32_t v4, port;
    uint8_t v6[16];
    *out = (struct node){0};
    const uint8_t *bracket = text.len > 0 && text.at[0] == '[' ? memchr(text.at, ']', text.len) : NULL;
    const uint32_t behind = bracket != NULL ? (uint32_t)(bracket - text.at) + 1 : 0;
    const uint8_t *colon = text.len > behind ? memchr(text.at + behind, ':', text.len - behind) : NULL;
    const uint32_t end = colon != NULL ? (uint32_t)(colon - text.at) : text.len;
    out->name = bracket != NULL ? (struct text){text.at + 1, behind - 2} : (struct text){text.at, end};
    if (colon != NULL) {
        out->port = (struct text){colon + 1, text.len - end - 1};
        if (!is_obfuscated(out->port) && !port_number(out->port, &port))
            return false;
    }
    if (bracket != NULL) {
        out->address = true;
        return end == behind && read_ipv6(out->name.at, out->name.len, v6);
    }
    out->address = read_ipv4(out->name.at, out->name.len, &v4) == out->name.len && out->name.len > 0;
    return out->address || is_obfuscated(out->name) || (out->name.len == 7 && memcmp(out->name.at, "unknown", 7) == 0);
}

static bool is_host(struct text text)
{
    for (uint32_t i = 0; i < text.len; i++) {
        if (text.at[i] <= ' ' || text.at[i] >= 0x7f || memchr("\"\\/<>?#@,;", text.at[i], 10) != NULL)
            return false;
    }
    return text.len > 0;
}

static bool field_is_sound(uint32_t which, struct text text)
{
    struct node node;
    if (which == RF_FORWARDED_PROTO - RF_FORWARDED_FIRST)
        return (text.len == 4 && memcmp(text.at, "http", 4) == 0) || (text.len == 5 && memcmp(text.at, "https", 5) == 0);
    if (which == RF_FORWARDED_HOST - RF_FORWARDED_FIRST)
        return is_host(text);
    return read_node(text, &node);
}

static int32_t field_named(struct text name)
{
    for (int32_t i = 0; i < FIELDS; i++) {
        uint32_t at = 0;
        while (at < name.len && NAMES[i][at] != 0 && (name.at[at] | 0x20) == (uint8_t)NAMES[i][at])
            at++;
        if (at == name.len && NAMES[i][at] == 0)
            return i;
    }
    return -1;
}

/* `NAME=value` or `NAME="value"`; false: it is none, was there before, or says what cannot be. */
static bool read_pair(struct text *from, struct header *out)
{
    uint32_t at = 0;
    while (at < from->len && is_token(from->at[at]))
        at++;
    const int32_t which = field_named((struct text){from->at, at});
    if (which < 0 || at >= from->len || from->at[at] != '=' || (out->seen >> which & 1))
        return false;
    const bool quoted = ++at < from->len && from->at[at] == '"';
    const uint32_t begin = quoted ? ++at : at;
    while (at < from->len && (quoted ? from->at[at] != '"' : is_token(from->at[at])))
        at++;
    const struct text text = {from->at + begin, at - begin};
    if ((quoted && at == from->len) || !field_is_sound((uint32_t)which, text))
        return false;
    at += quoted;
    out->fields[which] = text;
    out->seen |= 1u << which;
    *from = (struct text){from->at + at, from->len - at};
    return true;
}

/* One element: pairs between `;`, with blanks around. */
static bool read_header(struct text from, struct header *out)
{
    *out = (struct header){0};
    while (read_pair(&from, out)) { /* each takes a byte at least */
        if (from.len == 0)
            return true;
        if (from.at[0] != ';')
            return false;
        do {
            from.at++;
            from.len--;
        } while (from.len > 0 && from.at[0] == ' ');
    }
    return false;
}

static bool node_name(struct sample_run *run, const struct node *node, struct value *value)
{
    give(value, node->name);
    return !node->address || cast_address(run, value);
}

static bool node_port(const struct node *node, struct value *value)
{
    uint32_t port;
    if (node->port.len == 0)
        return false;
    if (!port_number(node->port, &port))
        return give(value, node->port);
    *value = (struct value){.kind = VALUE_INT, .number = port};
    return true;
}

bool forwarded(struct sample_run *run, const rf_op *op, struct value *value)
{
    struct header header;
    struct node node;
    if (!cast_text(run, value))
        return false;
    const struct text text = {value->bytes, value->len};
    if (op->number == RF_FORWARDED_NODE_NAME || op->number == RF_FORWARDED_NODE_PORT) {
        if (!read_node(text, &node))
            return false;
        return op->number == RF_FORWARDED_NODE_NAME ? node_name(run, &node, value) : node_port(&node, value);
    }
    const bool sound = read_header(text, &header);
    if (op->number == RF_FORWARDED_VALID) {
        *value = (struct value){.kind = VALUE_BOOL, .number = sound};
        return true;
    }
    const uint32_t which = (uint32_t)(op->number - RF_FORWARDED_FIRST);
    return sound && (header.seen >> which & 1) && give(value, header.fields[which]);
}
