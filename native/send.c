/* send.c - what a rule says, and what its expressions find in what was heard (spec 3.4, 3.6 to 3.8). */
#include <string.h>

#include "sample.h"

static struct sample_run run_of(rf_probe *probe)
{
    if (probe->program->reads_body && probe->http.head_done) /* as much of it as has come: a fault in it is no matter here */
        (void)http_feed(&probe->http, probe->in, &probe->in_len, true);
    return (struct sample_run){
        .program = probe->program,
        .in = probe->in,
        .in_len = probe->in_len,
        .http = (probe->program->flags & RF_PROG_HTTP) && probe->http.head_done ? &probe->http : NULL,
        .layers = &probe->layers,
        .facts = probe->facts,
        .variables = &probe->variables,
        .scratch = probe->scratch,
        .scratch_len = 4 * probe->in_max,
        .now_ns = probe->now_ns,
        .realtime_offset_ns = probe->realtime_offset_ns,
        .random = probe->random,
        .count = probe->count,
        .total_weight = probe->total_weight,
    };
}

uint32_t format_text(rf_probe *probe, rf_format format, uint8_t *out, uint32_t out_max)
{
    struct sample_run run = run_of(probe);
    return sample_write(&run, probe->program->ops + format.at, format.len, out, out_max);
}

bool format_number(rf_probe *probe, rf_format format, int64_t *out)
{
    struct sample_run run = run_of(probe);
    const struct value value = sample_value(&run, probe->program->ops + format.at, format.len);
    return sample_number(&value, out);
}

void rule_set_variable(rf_probe *probe, const rf_rule *rule)
{
    if (rule->flags & RF_RULE_TEXT) {
        const uint32_t len = format_text(probe, rule->format, probe->room, probe->in_max);
        const struct value text = {
            .kind = VALUE_TEXT, .bytes = probe->room, .len = len < probe->in_max ? len : probe->in_max};
        if (variables_may_set(&probe->variables, rule->variable, rule->conditions, &text))
            variables_set(&probe->variables, rule->variable, &text);
        return;
    }
    struct sample_run run = run_of(probe);
    const struct value value = sample_value(&run, probe->program->ops + rule->format.at, rule->format.len);
    if (value.kind != VALUE_NONE && /* an undefined sample leaves the variable as it is */
        variables_may_set(&probe->variables, rule->variable, rule->conditions, &value))
        variables_set(&probe->variables, rule->variable, &value);
}

static int nibble(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int32_t unhex(uint8_t *text, uint32_t len)
{
    if (len % 2 != 0)
        return -1;
    for (uint32_t i = 0; i < len; i += 2) {
        const int high = nibble(text[i]), low = nibble(text[i + 1]);
        if (high < 0 || low < 0)
            return -1;
        text[i / 2] = (uint8_t)(high << 4 | low);
    }
    return (int32_t)(len / 2);
}

/* The operations up to the next one that only a SEND knows. */
static uint32_t plain_run(const rf_op *ops, uint32_t len)
{
    uint32_t n = 0;
    while (n < len && (ops[n].code < RF_OP_HEADER || ops[n].code > RF_OP_LAST))
        n++;
    return n;
}

/* Room that is left only for the writers, which say how much they would have liked. */
struct request {
    uint8_t *at;
    uint32_t len, max;
    uint32_t header;    /* where the header or URI under way begins */
    uint32_t authority; /* where what replaces the URI's authority begins; 0: nothing does */
    uint32_t said;      /* RF_SAID_ */
    bool impossible;    /* nothing that HAProxy would send */
};

static void put(struct request *request, const void *bytes, uint32_t len)
{
    if (request->len < request->max)
        memcpy(request->at + request->len, bytes, len < request->max - request->len ? len : request->max - request->len);
    request->len += len;
}

/* What depends on the length of the body, which is the last of the format. */
static void put_length(rf_probe *probe, struct request *request, const rf_op *op, rf_format whole)
{
    const uint32_t body_len = (uint32_t)op->number;
    const rf_format body = {whole.at + whole.len - body_len, body_len};
    const uint32_t len = format_text(probe, body, probe->room, 0);
    if (op->code == RF_OP_NO_BODY) {
        if (len == 0)
            put(request, program_at(probe->program, op->text), op->text.len);
        return;
    }
    if (len == 0 && op->number2 == 0)
        return;
    char text[40];
    const int n = snprintf(text, sizeof text, "content-length: %u\r\n", (unsigned)len);
    put(request, text, (uint32_t)n);
}

static void end_header(struct request *request, const rf_op *op)
{
    const rf_op *begin = op;
    while (begin->code != RF_OP_HEADER)
        begin--;
    const uint32_t value = request->header + begin->text.len + 2;
    if (op->code == RF_OP_CONNECTION_END && request->len <= request->max) /* of one that was cut nothing is sent */
        request->len = value + rf_connection_value(request->at + value, request->len - value, &request->said);
    if (request->len == value)
        request->len = request->header; /* a header without a value is not said */
    else
        put(request, "\r\n", 2);
}

static void reverse(uint8_t *from, uint8_t *end)
{
    for (; from + 1 < end; from++) {
        const uint8_t swapped = *--end;
        *end = *from;
        *from = swapped;
    }
}

/* What stands behind the URI moves to where its authority is. */
static void end_uri(struct request *request)
{
    uint8_t *uri = request->at + request->header;
    rf_span old;
    if (request->len > request->max)
        return;
    if (request->authority != 0) {
        const uint32_t uri_len = request->authority - request->header, new_len = request->len - request->authority;
        const bool any = rf_uri_authority(uri, uri_len, &old) != 0;
        request->impossible = any && old.len == 0; /* as HAProxy finds where a Host header is given, be it empty */
        request->len = request->authority;
        if (any && new_len > 0) {
            uint8_t *from = uri + old.at, *middle = uri + uri_len, *end = middle + new_len;
            reverse(from, middle);
            reverse(middle, end);
            reverse(from, end);
            memmove(from + new_len, from + new_len + old.len, uri_len - old.at - old.len);
            request->len = request->authority + new_len - old.len;
        }
    }
    request->authority = 0;
    if (request->len == request->header)
        put(request, "/", 1);
}

static void put_special(rf_probe *probe, struct request *request, const rf_op *op, rf_format whole)
{
    switch (op->code) {
    case RF_OP_LENGTH:
    case RF_OP_NO_BODY:
        put_length(probe, request, op, whole);
        break;
    case RF_OP_HEADER:
        request->header = request->len;
        put(request, program_at(probe->program, op->text), op->text.len);
        put(request, ": ", 2);
        break;
    case RF_OP_URI:
        request->header = request->len;
        break;
    case RF_OP_AUTHORITY:
        request->authority = request->len;
        break;
    case RF_OP_URI_END:
        end_uri(request);
        break;
    case RF_OP_CONNECTION: {
        const char *line = rf_connection_line(request->said | (uint32_t)op->number, (int32_t)op->number2);
        put(request, line, (uint32_t)strlen(line));
        break;
    }
    default:
        end_header(request, op);
    }
}

static bool cannot_send(rf_probe *probe, const rf_rule *rule, const char *why)
{
    result_set(&probe->result, RF_L7RSP, NULL, 0);
    result_appendf(&probe->result, "tcp-check send : %s at step %d", why, rule->step);
    return false;
}

bool send_build(rf_probe *probe, const rf_rule *rule)
{
    const rf_program *program = probe->program;
    const rf_op *ops = program->ops + rule->format.at;
    if (rule->format.len == 1 && ops->code == RF_OP_TEXT && !(rule->flags & RF_RULE_HEX)) {
        probe->out = program_at(program, ops->text);
        probe->out_len = ops->text.len;
        return true;
    }
    struct request request = {.at = probe->room, .max = probe->in_max - 1}; /* HAProxy keeps a byte for a NUL */
    for (uint32_t i = 0; i < rule->format.len;) {
        const uint32_t n = plain_run(ops + i, rule->format.len - i);
        if (n == 0) {
            put_special(probe, &request, ops + i, rule->format);
            i++;
            continue;
        }
        const uint32_t left = request.len < request.max ? request.max - request.len : 0;
        request.len += format_text(probe, (rf_format){rule->format.at + i, n}, request.at + request.max - left, left);
        i += n;
    }
    const bool http = (program->flags & RF_PROG_HTTP) != 0;
    if ((request.len > request.max && http) || request.impossible)
        return cannot_send(probe, rule, "failed to build HTTP request");
    if (request.len > request.max)
        request.len = request.max; /* HAProxy says as much as fits its buffer */
    if (rule->flags & RF_RULE_HEX) {
        const int32_t len = unhex(request.at, request.len);
        if (len < 0)
            return cannot_send(probe, rule, "failed to build log-format string");
        request.len = (uint32_t)len;
    }
    probe->out = probe->room;
    probe->out_len = request.len;
    return true;
}
