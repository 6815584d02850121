/* probe.c - one run of a check program: rules in order, as HAProxy's one rule machine runs them (spec 3.2 to 3.5).
 *
 * Sans-IO. Whoever moves the bytes asks what the probe wants and tells it what happened and when; the probe alone
 * turns that into a status. Deadlines (spec 2.3) are its own: the connect phase has inter, or the smaller of inter and
 * `timeout connect` where `timeout check` is set too; what follows has `timeout check` from the connection on, or the
 * rest of the same inter.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

void probe_init(rf_probe *probe, uint8_t *in, uint32_t in_max, uint8_t *room)
{
    memset(probe, 0, offsetof(rf_probe, http));
    probe->in = in;
    probe->in_max = in_max;
    probe->room = room;
}

void probe_bind(rf_probe *probe, const rf_program *program, const struct aim *aim, const struct facts *facts)
{
    probe->program = program;
    probe->aim = aim;
    probe->facts = facts;
}

static const struct compiled *rule_at(const rf_probe *probe)
{
    return &probe->program->rules[probe->rule < probe->program->rules_len ? probe->rule : probe->program->rules_len - 1];
}

static void finish(rf_probe *probe, uint64_t now_ns)
{
    const uint64_t spent = now_ns > probe->started_ns ? now_ns - probe->started_ns : 0;
    const uint64_t ms = spent / RF_NS_PER_MS;
    probe->result.done_ns = now_ns;
    probe->result.duration_us = spent / 1000;
    probe->result.duration_ms = ms > INT32_MAX ? INT32_MAX : (int32_t)ms;
    probe->state = PROBE_DONE;
    probe->deadline_ns = RF_NEVER;
}

/* The last rule of the list was passed: what that means depends on its kind (spec 3.3). */
static void succeed(rf_probe *probe, uint64_t now_ns)
{
    const rf_rule *last = &probe->program->rules[probe->program->rules_len - 1].rule;
    const bool tcp_check = (probe->program->flags & RF_PROG_TCPCHECK) != 0;
    static const char WORD[] = "(tcp-check)";
    if (last->kind == RF_RULE_EXPECT) {
        if (probe->result.code == 404 && (probe->program->flags & RF_PROG_DISABLE404) && !probe->stopped) {
            result_set(&probe->result, RF_L7OKC, NULL, 0);
        } else {
            const bool own = last->on_success.len > 0;
            result_set(&probe->result, last->ok_status ? last->ok_status : RF_L7OK,
                       own ? (const char *)program_at(probe->program, last->on_success) : WORD,
                       own ? last->on_success.len : tcp_check ? sizeof WORD - 1 : 0);
        }
    } else if (last->kind == RF_RULE_CONNECT) {
        const bool implicit = (last->flags & RF_RULE_IMPLICIT) != 0;
        result_set(&probe->result, RF_L4OK, WORD, implicit ? 0 : sizeof WORD - 1);
    } else {
        result_set(&probe->result, RF_L7OK, WORD, sizeof WORD - 1);
    }
    finish(probe, now_ns);
}

static uint32_t put_number(uint8_t *out, int32_t value)
{
    char digits[16];
    const int len = snprintf(digits, sizeof digits, "%d", (int)value);
    memcpy(out, digits, (size_t)len);
    return (uint32_t)len;
}

static void put_together(rf_probe *probe, const rf_rule *rule)
{
    const rf_segment *segment = &probe->program->segments[rule->segment];
    if (rule->segments == 1 && segment->kind == RF_SEG_LITERAL) {
        probe->out = program_at(probe->program, segment->text);
        probe->out_len = segment->text.len;
        return;
    }
    uint32_t len = 0;
    for (uint32_t i = 0; i < rule->segments; i++, segment++) {
        uint8_t *at = probe->room + len;
        const struct facts *facts = probe->facts;
        if (segment->kind == RF_SEG_LITERAL) {
            memcpy(at, program_at(probe->program, segment->text), segment->text.len);
            len += segment->text.len;
        } else if (facts == NULL) {
            continue;
        } else if (segment->kind == RF_SEG_STATE) {
            memcpy(at, facts->state_text, facts->state_text_len);
            len += facts->state_text_len;
        } else if (segment->kind == RF_SEG_SITE) {
            memcpy(at, facts->site, facts->site_len);
            len += facts->site_len;
        } else {
            len += put_number(at, segment->kind == RF_SEG_WEIGHT ? facts->weight : probe->total_weight);
        }
    }
    probe->out = probe->room;
    probe->out_len = len;
}

static void want_connection(rf_probe *probe, uint64_t now_ns)
{
    const struct aim *aim = probe->aim;
    int32_t limit_ms = aim->inter_ms;
    if (aim->check_ms > 0 && aim->connect_ms > 0 && aim->connect_ms < limit_ms)
        limit_ms = aim->connect_ms;
    probe->deadline_ns = probe->connect_deadline_ns = now_ns + (uint64_t)limit_ms * RF_NS_PER_MS;
    /* A connection that is not the last ends in the ordinary way; the last one as its rule says. */
    probe->close = probe->connection > 0 ? RF_CLOSE_FIN : RF_CLOSE_NONE;
    probe->connection++;
    probe->state = PROBE_CONNECT;
    probe->closed_by_peer = 0;
}

static bool sends_head(const rf_probe *probe)
{
    return probe->out_len >= 5 && memcmp(probe->out, "HEAD ", 5) == 0;
}

/* Goes on from the present rule until something has to happen outside. */
static void go_on(rf_probe *probe, uint64_t now_ns, bool last_read)
{
    for (uint32_t turns = 0; turns <= probe->program->rules_len; turns++) { /* each turn passes a rule or returns */
        if (probe->rule >= probe->program->rules_len) {
            succeed(probe, now_ns);
            return;
        }
        const struct compiled *at = rule_at(probe);
        if (at->rule.kind == RF_RULE_CONNECT) {
            want_connection(probe, now_ns);
            return;
        }
        if (at->rule.kind == RF_RULE_SEND) {
            put_together(probe, &at->rule);
            probe->in_len = 0;
            probe->out_done = 0;
            http_reset(&probe->http, sends_head(probe), probe->in_max);
            if (probe->out_len > 0) {
                probe->state = PROBE_SEND;
                return;
            }
            probe->chain = ++probe->rule;
            continue;
        }
        const int eval = expect_eval(probe, at, last_read || probe->closed_by_peer);
        if (eval == EXPECT_STOP) {
            finish(probe, now_ns);
            return;
        }
        if (eval == EXPECT_WAIT) {
            /* Later bytes may falsify a negated rule that passed provisionally: begin again at the first of them. */
            probe->rule = probe->chain;
            probe->state = PROBE_RECV;
            return;
        }
        probe->rule++;
        if (!(at->rule.flags & RF_RULE_NEGATE) && probe->chain == probe->rule - 1)
            probe->chain = probe->rule;
    }
    RF_ASSERT(!"a probe that goes on for ever");
}

rf_probe *rf_probe_new(rf_program *program, const rf_check *check, const char *site, uint32_t site_len)
{
    RF_ASSERT(program != NULL && check->inter_ms > 0 && site_len < 512);
    /* One allocation holds all that a slot lends to a probe in an engine. */
    const size_t facts_len = sizeof(struct facts) + site_len;
    const size_t facts_room = (facts_len + 15) & ~(size_t)15;
    uint8_t *memory = calloc(1, sizeof(rf_probe) + sizeof(struct aim) + facts_room + program->bufsize + program->out_max);
    if (memory == NULL)
        return NULL;
    rf_probe *probe = (rf_probe *)memory;
    struct aim *aim = (struct aim *)(memory + sizeof *probe);
    struct facts *facts = (struct facts *)((uint8_t *)aim + sizeof *aim);
    uint8_t *in = (uint8_t *)facts + facts_room;
    *aim = (struct aim){.inter_ms = check->inter_ms,
                        .connect_ms = check->connect_ms,
                        .check_ms = check->check_ms,
                        .initial_weight = check->initial_weight,
                        .port = check->to.port,
                        .family = check->to.family,
                        .late_check_timeout = check->late_check_timeout,
                        .static_weights = check->static_weights};
    facts->weight = check->weight;
    facts->site_len = (uint16_t)site_len;
    if (site_len > 0)
        memcpy(facts->site, site, site_len);
    probe_init(probe, in, program->bufsize, in + program->bufsize);
    probe_bind(probe, program, aim, facts);
    probe->last_status = RF_INI;
    rf_program_hold(program);
    return probe;
}

void rf_probe_free(rf_probe *probe)
{
    if (probe == NULL)
        return;
    rf_program_drop((rf_program *)probe->program);
    free(probe);
}

void rf_probe_facts(rf_probe *probe, int32_t last_status, int32_t last_code, const char *state_text, int32_t weight,
                    int32_t total_weight, int32_t stopped)
{
    struct facts *facts = (struct facts *)probe->facts; /* its own: see rf_probe_new */
    probe->last_status = last_status;
    probe->last_code = last_code;
    probe->total_weight = total_weight;
    probe->stopped = stopped != 0;
    facts->weight = weight;
    const size_t len = strnlen(state_text, RF_STATE_TEXT_MAX);
    memcpy(facts->state_text, state_text, len);
    facts->state_text_len = (uint8_t)len;
}

void rf_probe_start(rf_probe *probe, uint64_t now_ns)
{
    probe->rule = probe->chain = 0;
    probe->in_len = probe->out_len = probe->out_done = 0;
    probe->connection = 0;
    probe->close = RF_CLOSE_NONE;
    probe->closed_by_peer = 0;
    probe->started_ns = now_ns;
    memset(&probe->result, 0, offsetof(rf_result, text));
    probe->result.text[0] = 0;
    go_on(probe, now_ns, false);
}

/* Whether the handshake's last ACK may be withheld: data or an RST takes its place at once. A peer that is to speak
 * first would hear of the connection only after its own 40 to 200 ms; one that is closed with FIN is to be seen whole. */
static bool ack_may_wait(const rf_probe *probe, bool linger)
{
    if (probe->rule + 1 >= probe->program->rules_len)
        return !linger;
    return probe->program->rules[probe->rule + 1].rule.kind == RF_RULE_SEND;
}

void rf_probe_want(rf_probe *probe, rf_want *out)
{
    *out = (rf_want){.deadline_ns = probe->deadline_ns, .connection = probe->connection};
    switch (probe->state) {
    case PROBE_CONNECT: {
        const rf_rule *rule = &rule_at(probe)->rule;
        const bool linger = (rule->flags & RF_RULE_LINGER) != 0;
        out->kind = RF_WANT_CONNECT;
        out->close = probe->close;
        out->port = rule->port ? rule->port : probe->aim->port;
        out->how = (ack_may_wait(probe, linger) ? RF_HOW_QUIET_ACK : 0) | (linger ? RF_HOW_FRESH_SOCKET : 0);
        return;
    }
    case PROBE_SEND:
        out->kind = RF_WANT_SEND;
        out->out = probe->out + probe->out_done;
        out->out_len = probe->out_len - probe->out_done;
        return;
    case PROBE_RECV:
        out->kind = RF_WANT_RECV;
        out->in = probe->in + probe->in_len;
        out->in_max = probe->in_max - probe->in_len;
        return;
    default: {
        RF_ASSERT(probe->state == PROBE_DONE);
        out->kind = RF_WANT_DONE;
        out->close = RF_CLOSE_RST;
        for (uint32_t i = probe->rule < probe->program->rules_len ? probe->rule + 1 : probe->rule; i-- > 0;) {
            const rf_rule *rule = &probe->program->rules[i].rule;
            if (rule->kind == RF_RULE_CONNECT) { /* of the connection that is open now */
                out->close = rule->flags & RF_RULE_LINGER ? RF_CLOSE_FIN : RF_CLOSE_RST;
                return;
            }
        }
    }
    }
}

void rf_probe_connected(rf_probe *probe, uint64_t now_ns)
{
    RF_ASSERT(probe->state == PROBE_CONNECT);
    const struct aim *aim = probe->aim;
    if (aim->check_ms > 0) {
        const uint64_t deadline = now_ns + (uint64_t)aim->check_ms * RF_NS_PER_MS;
        const bool late = aim->late_check_timeout && aim->family != RF_UNIX && aim->family != RF_ABSTRACT;
        probe->deadline_ns = late && deadline < probe->connect_deadline_ns ? probe->connect_deadline_ns : deadline;
    }
    probe->in_len = 0;
    http_reset(&probe->http, false, probe->in_max);
    probe->chain = ++probe->rule;
    go_on(probe, now_ns, false);
}

void rf_probe_sent(rf_probe *probe, uint32_t len, uint64_t now_ns)
{
    RF_ASSERT(probe->state == PROBE_SEND && len <= probe->out_len - probe->out_done);
    probe->out_done += len;
    if (probe->out_done < probe->out_len)
        return;
    probe->chain = ++probe->rule;
    go_on(probe, now_ns, false);
}

void rf_probe_received(rf_probe *probe, uint32_t len, uint64_t now_ns)
{
    RF_ASSERT(probe->state == PROBE_RECV && len <= probe->in_max - probe->in_len);
    probe->in_len += len;
    if (len == 0)
        probe->closed_by_peer = 1;
    go_on(probe, now_ns, len == 0);
}

static void tell_errno(rf_probe *probe, int32_t where, int32_t error)
{
    char buf[96];
    if (error == 0)
        return;
    const struct errno_meaning *meaning = rf_errno_meaning(error);
    const char *text = rf_errno_text(error, buf, sizeof buf);
    if (where != RF_AT_STREAM)
        result_appendf(&probe->result, "%s (%s)", meaning->layer ? meaning->layer : "General socket error", text);
    else if (meaning->name != NULL && (probe->program->flags & RF_PROG_OS_ERRNO_TEXT))
        result_appendf(&probe->result, "%s returned by OS (%s)", meaning->name, text);
    else
        result_appendf(&probe->result, "%s", text);
}

void rf_probe_failed(rf_probe *probe, int32_t where, int32_t error, uint64_t now_ns)
{
    RF_ASSERT(probe->state != PROBE_DONE && probe->state != PROBE_IDLE);
    const bool self = where != RF_AT_STREAM && rf_errno_meaning(error)->blame == RF_BLAME_SELF;
    /* An RST that comes with the last bytes is an end of stream; HAProxy lets the rules decide on what is there. */
    const bool has_data = (probe->program->flags & RF_PROG_HTTP) ? probe->http.head_done : probe->in_len > 0;
    if (probe->state == PROBE_RECV && has_data) {
        probe->closed_by_peer = 1;
        go_on(probe, now_ns, true);
        if (probe->state == PROBE_DONE)
            return;
    }
    probe->result.self_blame = self;
    probe->result.error = error;
    const bool connecting = probe->state == PROBE_CONNECT;
    result_set(&probe->result, self || where == RF_AT_SOCKET || !connecting ? RF_SOCKERR : RF_L4CON, NULL, 0);
    tell_errno(probe, where, error);
    expect_suffix(probe, rule_at(probe));
    finish(probe, now_ns);
}

void rf_probe_time(rf_probe *probe, uint64_t now_ns)
{
    if (probe->state == PROBE_DONE || probe->state == PROBE_IDLE || now_ns < probe->deadline_ns)
        return;
    const struct compiled *at = rule_at(probe);
    int32_t status = RF_L7TOUT;
    if (probe->state == PROBE_CONNECT)
        status = RF_L4TOUT;
    else if (at->rule.kind == RF_RULE_EXPECT && at->rule.tout_status)
        status = at->rule.tout_status;
    result_set(&probe->result, status, NULL, 0);
    expect_suffix(probe, at);
    finish(probe, now_ns);
}

void rf_probe_result(const rf_probe *probe, rf_result *out)
{
    RF_ASSERT(probe->state == PROBE_DONE);
    *out = probe->result;
}
