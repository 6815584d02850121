/* presets.c - replies that no pattern can describe: MySQL packets, LDAP's bind response, SPOP's AGENT-HELLO (spec 3.10.5 to
 * 3.10.7). Each looks at all that has come so far and says: wait, sound, or bad with HAProxy's status and words. */
#include <string.h>

#include "internal.h"

static int bad(struct preset_reply *out, int32_t status, int32_t code, const void *text, uint32_t len)
{
    *out = (struct preset_reply){.status = status, .code = code, .text = text, .len = len};
    return PRESET_BAD;
}

static int bad_text(struct preset_reply *out, int32_t status, int32_t code, const char *text)
{
    return bad(out, status, code, text, (uint32_t)strlen(text));
}

static int incomplete(struct preset_reply *out, bool last_read)
{
    return last_read ? bad(out, RF_L7RSP, 0, NULL, 0) : PRESET_WAIT;
}

/* --- MySQL: packets of a 3-byte length (low byte first), a sequence number and a payload ---------------------- */

static uint32_t packet_len(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16;
}

int preset_mysql(const uint8_t *in, uint32_t len, bool last_read, uint32_t packet, bool last_rule, struct preset_reply *out)
{
    enum { HEAD = 4, ERROR_MARK = 0xff };
    uint32_t at = 0;
    for (uint32_t i = 0; i < packet; i++) {
        if (len - at < HEAD)
            return incomplete(out, last_read);
        const uint32_t whole = HEAD + packet_len(in + at);
        if (whole > len - at)
            return incomplete(out, last_read);
        at += whole;
    }
    if (len - at < HEAD || packet_len(in + at) > len - at - HEAD)
        return incomplete(out, last_read);
    const uint8_t *payload = in + at + HEAD;
    const uint32_t own = packet_len(in + at);
    if (own > 0 && payload[0] == ERROR_MARK) { /* HAProxy's text goes on into what has come behind the packet; ours does not */
        const int32_t code = own > 2 ? payload[1] | payload[2] << 8 : 0;
        return bad(out, RF_L7STS, code, payload + 3, own > 3 ? own - 3 : 0);
    }
    if (last_rule) { /* the server's version stands behind the protocol version in the first packet, up to a NUL */
        enum { VERSION = HEAD + 1 };
        const uint32_t end = HEAD + packet_len(in);
        *out = (struct preset_reply){.text = (const char *)in + VERSION, .len = end > VERSION ? end - VERSION : 0};
    }
    return PRESET_OK;
}

/* --- LDAP: BER ------------------------------------------------------------------------------------------------ */

static int not_ldap(struct preset_reply *out)
{
    return bad_text(out, RF_L7RSP, 0, "Not LDAPv3 protocol");
}

/* The fields may lie behind the end that the message claims: what has not come yet is waited for. */
static int cut_ldap(struct preset_reply *out, bool last_read)
{
    return last_read ? not_ldap(out) : PRESET_WAIT;
}

int preset_ldap(const uint8_t *in, uint32_t len, bool last_read, struct preset_reply *out)
{
    static const uint8_t BIND_RESPONSE[] = {0x02, 0x01, 0x01, 0x61}; /* message 1, bindResponse */
    static const uint8_t RESULT[] = {0x0a, 0x01};                   /* an enumeration of one byte */
    if (len < 2)
        return incomplete(out, last_read);
    uint32_t message = in[1];
    uint32_t at = 2;
    if (message & 0x80) {
        const uint32_t bytes = message & 0x7f;
        if (bytes != 1 && bytes != 2 && bytes != 4)
            return not_ldap(out);
        if (len < at + bytes)
            return incomplete(out, last_read);
        message = 0;
        for (uint32_t i = 0; i < bytes; i++)
            message = message << 8 | in[at + i];
        at += bytes;
    }
    if (message > len - at)
        return incomplete(out, last_read);
    if (len - at < sizeof BIND_RESPONSE + 1)
        return cut_ldap(out, last_read);
    if (memcmp(in + at, BIND_RESPONSE, sizeof BIND_RESPONSE) != 0)
        return not_ldap(out);
    at += sizeof BIND_RESPONSE;
    at += 1u + (in[at] & 0x80 ? in[at] & 0x7f : 0u);
    if (at > len || len - at < sizeof RESULT + 1)
        return cut_ldap(out, last_read);
    if (memcmp(in + at, RESULT, sizeof RESULT) != 0)
        return not_ldap(out);
    const int32_t code = in[at + sizeof RESULT];
    if (code != 0)
        return bad_text(out, RF_L7STS, code, "See RFC: http://tools.ietf.org/html/rfc4511#section-4.1.9");
    *out = (struct preset_reply){.text = "Success", .len = 7};
    return PRESET_OK;
}

/* --- SPOP ------------------------------------------------------------------------------------------------------- */

struct reader {
    const uint8_t *at, *end;
    bool today; /* as 3 reads a frame, else as 2.6 does */
};

/* A variable-length integer: a byte below 240 is the value, else 4, then 7 bits from each byte that follows. */
static bool read_varint(struct reader *reader, uint64_t *out)
{
    if (reader->at == reader->end)
        return false;
    uint64_t value = *reader->at++;
    if (value >= 240) {
        uint32_t shift = 4;
        uint8_t byte;
        do {
            if (reader->at == reader->end || shift > 60)
                return false;
            byte = *reader->at++;
            value += (uint64_t)byte << shift;
            shift += 7;
        } while (byte >= 128);
    }
    *out = value;
    return true;
}

static bool read_string(struct reader *reader, const uint8_t **text, uint64_t *len)
{
    if (!read_varint(reader, len) || *len > (uint64_t)(reader->end - reader->at))
        return false;
    *text = reader->at;
    reader->at += *len;
    return true;
}

enum { SPOP_NULL, SPOP_BOOL, SPOP_INT32, SPOP_UINT32, SPOP_INT64, SPOP_UINT64, SPOP_IPV4, SPOP_IPV6, SPOP_STRING, SPOP_BINARY };

static bool skip_bytes(struct reader *reader, uint32_t len)
{
    if ((uint64_t)(reader->end - reader->at) < len)
        return false;
    reader->at += len;
    return true;
}

static bool skip_value(struct reader *reader, uint8_t type)
{
    uint64_t number;
    const uint8_t *text;
    switch (type & 0x0f) {
    case SPOP_NULL:
    case SPOP_BOOL:
        return true;
    case SPOP_INT32:
    case SPOP_UINT32:
    case SPOP_INT64:
    case SPOP_UINT64:
        return read_varint(reader, &number);
    case SPOP_IPV4:
        return skip_bytes(reader, 4);
    case SPOP_IPV6:
        return skip_bytes(reader, 16);
    case SPOP_STRING:
    case SPOP_BINARY:
        return read_string(reader, &text, &number);
    default: /* HAProxy takes an unknown type for one without a value */
        return true;
    }
}

static bool is_word(const uint8_t *text, uint64_t len, const char *word)
{
    return len == strlen(word) && memcmp(text, word, len) == 0;
}

/* "2.0", with blanks before and behind it. */
static bool is_version_2(const uint8_t *text, uint64_t len)
{
    while (len > 0 && *text == ' ')
        text++, len--;
    while (len > 0 && text[len - 1] == ' ')
        len--;
    return is_word(text, len, "2.0");
}

enum { GOT_VERSION = 1, GOT_SIZE = 2, GOT_CAPABILITIES = 4 };

static const char INVALID[] = "invalid frame received";

/* 2.6 takes every longer name that begins so for the same one. */
static bool is_name(const struct reader *reader, const uint8_t *name, uint64_t len, const char *word)
{
    return is_word(name, !reader->today && len > strlen(word) ? strlen(word) : len, word);
}

/* The name of an item and the type behind it. */
static bool read_name(struct reader *reader, const uint8_t **name, uint64_t *len, uint8_t *type)
{
    if (!read_string(reader, name, len) || reader->at == reader->end || (!reader->today && *len == 0))
        return false;
    *type = *reader->at++;
    return true;
}

/* One item of the list. NULL, or what is wrong with it. */
static const char *read_item(struct reader *reader, uint32_t frame_max, uint32_t *got)
{
    enum { FRAME_MIN = 256 };
    const uint8_t *name, *text;
    uint64_t name_len, len;
    uint8_t type;
    if (!read_name(reader, &name, &name_len, &type))
        return INVALID;
    if (is_name(reader, name, name_len, "version")) {
        if ((type & 0x0f) != SPOP_STRING || !read_string(reader, &text, &len))
            return INVALID;
        if (!is_version_2(text, len))
            return "unsupported version";
        *got |= GOT_VERSION;
    } else if (is_name(reader, name, name_len, "max-frame-size")) {
        if ((type & 0x0f) < SPOP_INT32 || (type & 0x0f) > SPOP_UINT64 || !read_varint(reader, &len))
            return INVALID;
        if (len < FRAME_MIN || len > frame_max)
            return "max-frame-size too big or too small";
        *got |= GOT_SIZE;
    } else {
        const bool capabilities = is_name(reader, name, name_len, "capabilities");
        if (capabilities)
            *got |= GOT_CAPABILITIES;
        if (!skip_value(reader, type) || (capabilities && !reader->today && (type & 0x0f) != SPOP_STRING))
            return INVALID;
    }
    return NULL;
}

/* A text of 2.6's longest at most; value: from its length to its end. */
static bool is_message(const uint8_t *value, const uint8_t *end, uint8_t type)
{
    enum { MESSAGE_MAX = 255 };
    struct reader reader = {value, end, false};
    uint64_t len;
    return (type & 0x0f) == SPOP_STRING && read_varint(&reader, &len) && len <= MESSAGE_MAX;
}

/* AGENT-DISCONNECT: the agent's status code in HAProxy's words. */
static const char *disconnected(struct reader *reader)
{
    static const char *const REASONS[] = {
        "normal", "I/O error", "a timeout occurred", "frame is too big", "invalid frame received", "version value not found",
        "max-frame-size value not found", "capabilities value not found", "unsupported version",
        "max-frame-size too big or too small", "payload fragmentation is not supported", "invalid interlaced frames",
        "frame-id not found", "resource allocation error"};
    enum { REASONS_LEN = sizeof REASONS / sizeof REASONS[0], FRAGMENTED = 10 };
    uint64_t code = 0;
    while (reader->at < reader->end) {
        const uint8_t *name;
        uint64_t name_len;
        uint8_t type;
        if (!read_name(reader, &name, &name_len, &type))
            return INVALID;
        const uint8_t *value = reader->at;
        const bool number = (type & 0x0f) >= SPOP_INT32 && (type & 0x0f) <= SPOP_UINT64;
        if (is_name(reader, name, name_len, "status-code") ? !number || !read_varint(reader, &code) : !skip_value(reader, type))
            return INVALID;
        if (!reader->today && is_name(reader, name, name_len, "message") && !is_message(value, reader->at, type))
            return INVALID;
    }
    if (!reader->today && code == FRAGMENTED)
        return "fragmentation not supported";
    if (code < REASONS_LEN)
        return REASONS[code];
    return reader->today ? "unknown error" : "an unknown error occurred";
}

int preset_spop(const uint8_t *in, uint32_t len, bool last_read, uint32_t frame_max, bool today,
                struct preset_reply *out)
{
    enum { LENGTH = 4, HEAD = 7, AGENT_HELLO = 101, AGENT_DISCONNECT = 102, FLAG_FIN = 1 };
    static const uint8_t FLAGS_AND_IDS[] = {0, 0, 0, FLAG_FIN, 0, 0};
    enum { FLAGS = LENGTH + 1, FLAGS_END = FLAGS + 4, IDS_LEN = 2 };
    if (len < LENGTH)
        return last_read ? bad_text(out, RF_L7RSP, 0, INVALID) : PRESET_WAIT;
    const uint32_t frame = (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
    if (!last_read && frame > len - LENGTH)
        return PRESET_WAIT;
    if (frame > len - LENGTH || frame < HEAD || (in[LENGTH] != AGENT_HELLO && in[LENGTH] != AGENT_DISCONNECT))
        return bad_text(out, RF_L7RSP, 0, INVALID);
    if (!today && !(in[FLAGS_END - 1] & FLAG_FIN)) /* 2.6 looks at no other flag */
        return bad_text(out, RF_L7RSP, 0, "fragmentation not supported");
    if (today ? memcmp(in + FLAGS, FLAGS_AND_IDS, sizeof FLAGS_AND_IDS) != 0
              : memcmp(in + FLAGS_END, FLAGS_AND_IDS + sizeof FLAGS_AND_IDS - IDS_LEN, IDS_LEN) != 0)
        return bad_text(out, RF_L7RSP, 0, INVALID);
    struct reader reader = {in + LENGTH + HEAD, in + LENGTH + frame, today};
    uint32_t got = 0;
    if (in[LENGTH] == AGENT_DISCONNECT)
        return bad_text(out, RF_L7RSP, 0, disconnected(&reader));
    while (reader.at < reader.end) {
        const char *wrong = read_item(&reader, frame_max, &got);
        if (wrong != NULL)
            return bad_text(out, RF_L7RSP, 0, wrong);
    }
    if (!(got & GOT_VERSION))
        return bad_text(out, RF_L7RSP, 0, "version value not found");
    if (!(got & GOT_SIZE))
        return bad_text(out, RF_L7RSP, 0, "max-frame-size value not found");
    if (today && !(got & GOT_CAPABILITIES))
        return bad_text(out, RF_L7RSP, 0, "capabilities value not found");
    *out = (struct preset_reply){.text = "SPOA server is ok", .len = 17};
    return PRESET_OK;
}
