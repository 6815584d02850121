/* sample_check.c - operations of formats, checked once when a program is made, so that no evaluation ever has to. */
#include "sample.h"

static bool span_fits(const rf_program *program, rf_span span)
{
    return span.at <= program->blob_len && span.len <= program->blob_len - span.at;
}

static const char *check_fetch(const rf_op *op)
{
    if (op->code == RF_FETCH_PAYLOAD && (op->number < 0 || op->number > INT32_MAX || op->number2 < 0 || op->number2 > INT32_MAX))
        return "a payload at no place";
    if (op->code == RF_FETCH_PAYLOAD_LV &&
        (op->number < 0 || (op->number & UINT32_MAX) > INT32_MAX || op->number >> 32 > RF_LV_BACK || op->number2 < 0 ||
         (op->number2 & UINT32_MAX) > INT32_MAX || (op->number2 & UINT32_MAX) == 0))
        return "a payload with a length at no place";
    if (op->code == RF_FETCH_DATE && (op->number2 < RF_UNIT_S || op->number2 > RF_UNIT_US))
        return "a date in no unit";
    if (op->code == RF_FETCH_RAND && (op->number < 0 || op->number > UINT32_MAX))
        return "a random number of no range";
    if (op->code == RF_FETCH_FACT && (op->number < 0 || op->number > UINT16_MAX))
        return "a fact of no number";
    if (op->code == RF_FETCH_IPV4 && (op->number < 0 || op->number > UINT32_MAX))
        return "an address of no size";
    if (op->code == RF_FETCH_IPV6 && op->text.len != 16)
        return "an address of no size";
    if (op->code == RF_FETCH_END && (op->number < RF_END_SRC || op->number > RF_END_DST_PORT))
        return "an end of no connection";
    if (op->code == RF_FETCH_TLS && (op->number < RF_TLS_ALPN || op->number > RF_TLS_LAST))
        return "nothing that TLS knows";
    if (op->code == RF_FETCH_VAR && (op->number < 0 || op->number > UINT32_MAX))
        return "a variable of no number";
    return NULL;
}

static bool names_variable(const rf_op *op)
{
    return op->code == RF_CONV_STRCMP || op->code == RF_CONV_SAME || op->code == RF_CONV_SET_VAR || op->code == RF_CONV_UNSET_VAR ||
           (op->number2 == 1 && ((op->code >= RF_CONV_ADD && op->code <= RF_CONV_XOR) || op->code == RF_CONV_CONCAT ||
                                op->code == RF_CONV_ADD_ITEM));
}

static const char *check_conv(const rf_program *program, const rf_op *op)
{
    if (names_variable(op) && (op->number < 0 || op->number > UINT32_MAX))
        return "a variable of no number";
    if ((op->code == RF_CONV_DIGEST || op->code == RF_CONV_HMAC) &&
        (op->number < RF_DIGEST_MD5 || op->number > RF_DIGEST_SHA512 || op->number2 > UINT32_MAX))
        return "a digest of no kind";
    if (op->code == RF_CONV_HTTP_DATE && (op->number2 < RF_UNIT_S || op->number2 > RF_UNIT_US))
        return "a date in no unit";
    if ((op->code == RF_CONV_BE2DEC || op->code == RF_CONV_BE2HEX) && (op->number < 1 || op->number > INT32_MAX))
        return "pieces of no size";
    if (op->code == RF_CONV_IPMASK && (op->number < 0 || op->number > UINT32_MAX || (op->text.len != 0 && op->text.len != 16)))
        return "a mask of no size";
    if (op->code == RF_CONV_LOOK_UP && (op->number < 0 || op->number > UINT16_MAX))
        return "a fact of no number";
    if (op->code == RF_CONV_PROTOBUF && (op->number < RF_PB_RAW || op->number > RF_PB_DOUBLE || op->text.len < 4 || op->text.len % 4 != 0))
        return "a field of no number";
    if (op->code == RF_CONV_MAP)
        return map_check(program, op);
    if (op->code == RF_CONV_FIX_TAG && (op->number < 1 || op->number > UINT32_MAX))
        return "a tag of no number";
    if (op->code == RF_CONV_MQTT_FIELD && !mqtt_knows(op))
        return "a field of no packet";
    if (op->code == RF_CONV_JWT_VERIFY && (op->number > UINT32_MAX || op->number2 > UINT32_MAX))
        return "a variable of no number";
    if (op->code == RF_CONV_AES_GCM && op->number != 128 && op->number != 192 && op->number != 256)
        return "a key of no size";
    if (op->code == RF_CONV_FORWARDED && (op->number < RF_FORWARDED_FIRST || op->number > RF_FORWARDED_LAST))
        return "no part of a forwarded header";
    if (op->code == RF_CONV_JSON && (op->number < RF_JSON_ASCII || op->number > RF_JSON_UTF8PS))
        return "json of no encoding";
    return NULL;
}

const char *sample_check(const rf_program *program, const rf_op *op)
{
    if (!span_fits(program, op->text) || !span_fits(program, op->other))
        return "an operation's text lies outside the blob";
    if (op->code <= RF_OP_LAST)
        return NULL;
    if (op->code >= RF_FETCH_TEXT && op->code <= RF_FETCH_LAST)
        return check_fetch(op);
    if (op->code >= RF_CONV_ADD && op->code <= RF_CONV_LAST)
        return check_conv(program, op);
    return "unknown operation of a format";
}

bool sample_reads_facts(const rf_op *op)
{
    return (op->code >= RF_OP_FACT && op->code <= RF_OP_TOTAL) || op->code == RF_FETCH_FACT || op->code == RF_CONV_LOOK_UP;
}

bool sample_reads_ends(const rf_op *op)
{
    return op->code == RF_FETCH_END;
}

bool sample_reads_body(const rf_op *op)
{
    return op->code == RF_FETCH_BODY || op->code == RF_FETCH_BODY_LEN;
}

static int32_t compile_one(rf_program *program, rf_span pattern, bool caseless)
{
    char why[200];
    struct regex *regex = regex_new(program_at(program, pattern), pattern.len, caseless, why, sizeof why);
    if (regex == NULL)
        return rf_refuse(RF_BAD, 0, "%s", why);
    program->regexes[program->regexes_len++] = regex;
    return RF_OK;
}

/* How many regexes an operation has. */
static uint32_t patterns_of(const rf_program *program, const rf_op *op)
{
    return op->code == RF_CONV_REGSUB ? 1 : op->code == RF_CONV_MAP ? map_regexes(program, op) : 0;
}

/* Those of one operation stand side by side. */
static int32_t compile(rf_program *program, rf_op *op)
{
    const uint32_t patterns = patterns_of(program, op);
    int32_t result = RF_OK;
    op->regex = (int32_t)program->regexes_len + 1;
    for (uint32_t i = 0; i < patterns && result == RF_OK; i++) {
        const bool caseless = op->code == RF_CONV_REGSUB && (op->number & RF_REGSUB_CASELESS) != 0;
        result = compile_one(program, op->code == RF_CONV_MAP ? map_pattern(program, op, i) : op->text, caseless);
    }
    return result;
}

/* Checks every operation and compiles the regexes of converters. Whatever comes of it, samples_free() undoes it. */
int32_t samples_prepare(rf_program *program)
{
    uint32_t regexes = 0;
    for (uint32_t i = 0; i < program->ops_len; i++) {
        const char *why = sample_check(program, &program->ops[i]);
        if (why != NULL)
            return rf_refuse(RF_BAD, 0, "%s", why);
        program->ops[i].regex = 0;
        regexes += patterns_of(program, &program->ops[i]);
    }
    if (regexes == 0)
        return RF_OK;
    program->regexes = calloc(regexes, sizeof(struct regex *));
    if (program->regexes == NULL)
        return rf_refuse(RF_NOMEM, 0, "out of memory");
    int32_t result = RF_OK;
    for (uint32_t i = 0; i < program->ops_len && result == RF_OK; i++) {
        if (patterns_of(program, &program->ops[i]) > 0)
            result = compile(program, &program->ops[i]);
    }
    return result;
}

void samples_free(rf_program *program)
{
    for (uint32_t i = 0; i < program->regexes_len; i++)
        regex_free(program->regexes[i]);
    free(program->regexes);
    program->regexes = NULL;
    program->regexes_len = 0;
}
