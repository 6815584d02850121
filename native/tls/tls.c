/* tls.c - TLS over memory BIOs: bytes in, bytes out, no socket, no clock but OpenSSL's own for certificates.
 *
 * Sessions are kept by whoever owns the server, serialised: OpenSSL gives a new one through a callback (TLS 1.3 sends it
 * after the handshake, with the first reply). It takes a session for broken when its connection is freed without a
 * shutdown, so both directions are marked shut before that. Names are checked as HAProxy does (spec 2.8): `verifyhost`,
 * else the name that was asked for by SNI, against the certificate's names and its subject.
 */
#include "tls.h"

#include "secrets.h"

#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum { SESSION_MAX = 8192, HOST_MAX = 256 };

struct rf_tls_context {
    int32_t holders; /* atomic */
    SSL_CTX *ctx;
    uint32_t flags;
    char verify_host[HOST_MAX]; /* empty: the name asked for by SNI */
};

struct tls {
    rf_tls_context *context;
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    bool ended, failed;
    const char *why;
    uint32_t session_len;
    uint8_t *session;
};

static const char HANDSHAKE_FAILURE[] = "SSL handshake failure";

/* --- contexts ---------------------------------------------------------------------------------------------------- */

static int verify_name(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *tls = ssl != NULL ? SSL_get_app_data(ssl) : NULL;
    if (!ok || tls == NULL || X509_STORE_CTX_get_error_depth(store) != 0)
        return ok;
    const bool own = tls->context->verify_host[0] != 0;
    const char *name = own ? tls->context->verify_host : SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name == NULL)
        return ok;
    X509 *cert = X509_STORE_CTX_get_current_cert(store);
    if (cert != NULL && X509_check_host(cert, name, 0, X509_CHECK_FLAG_ALWAYS_CHECK_SUBJECT, NULL) == 1)
        return ok;
    tls->why = own ? "Server presented an SSL certificate different from the configured one"
                   : "Server presented an SSL certificate different from the expected one";
    return 0;
}

/* Where the contents of a DER element begin and end; false where it is none, or longer than there are bytes. */
static bool der_contents(const uint8_t *der, size_t len, size_t *begin, size_t *end)
{
    if (len < 2 || (der[0] & 0x1f) == 0x1f)
        return false;
    size_t at = 2, count = der[1];
    if (count & 0x80) {
        const size_t digits = count & 0x7f;
        if (digits == 0 || digits > 3 || len < 2 + digits)
            return false;
        for (count = 0; at < 2 + digits; at++)
            count = count << 8 | der[at];
    }
    *begin = at;
    *end = at + count;
    return *end <= len;
}

enum { DER_PEER = 0xa3, DER_HEAD = 4 };

/* Takes the server's certificate out of a serialised session. Nobody looks at it once the session is resumed, it is most of
 * the bytes, and to read its key again costs more than all else of a resumption. Returns the new length; a session that is
 * built otherwise than we think stays as it is. */
static size_t without_certificate(uint8_t *der, size_t len)
{
    size_t begin, end;
    if (!der_contents(der, len, &begin, &end) || begin > DER_HEAD)
        return len;
    for (size_t at = begin; at < end;) {
        size_t inner_begin, inner_end;
        if (!der_contents(der + at, end - at, &inner_begin, &inner_end))
            return len;
        if (der[at] != DER_PEER) {
            at += inner_end;
            continue;
        }
        memmove(der + at, der + at + inner_end, end - at - inner_end);
        const size_t rest = end - begin - inner_end;
        const size_t head = rest < 0x80 ? 2 : rest < 0x100 ? 3 : 4; /* never longer than it was */
        memmove(der + head, der + begin, rest);
        der[1] = (uint8_t)(head == 2 ? rest : 0x80 + head - 2);
        for (size_t digit = 0; digit < head - 2; digit++)
            der[2 + digit] = (uint8_t)(rest >> 8 * (head - 3 - digit));
        return head + rest;
    }
    return len;
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls *tls = SSL_get_app_data(ssl);
    const int len = i2d_SSL_SESSION(session, NULL);
    if (tls == NULL || len <= 0 || len > SESSION_MAX)
        return 0;
    uint8_t *bytes = realloc(tls->session, (size_t)len);
    if (bytes == NULL)
        return 0;
    tls->session = bytes;
    (void)i2d_SSL_SESSION(session, &bytes);
    tls->session_len = (uint32_t)without_certificate(tls->session, (size_t)len);
    return 0; /* OpenSSL keeps its own reference */
}

static bool set_versions(SSL_CTX *ctx, const rf_tls_settings *settings)
{
    return (settings->version_min == 0 || SSL_CTX_set_min_proto_version(ctx, settings->version_min) == 1) &&
           (settings->version_max == 0 || SSL_CTX_set_max_proto_version(ctx, settings->version_max) == 1);
}

static bool load_ca(SSL_CTX *ctx, const char *path)
{
    if (strcmp(path, "@system-ca") == 0)
        return SSL_CTX_set_default_verify_paths(ctx) == 1;
    return SSL_CTX_load_verify_file(ctx, path) == 1;
}

static bool load_crl(SSL_CTX *ctx, const char *path)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    return lookup != NULL && X509_load_crl_file(lookup, path, X509_FILETYPE_PEM) > 0 &&
           X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1;
}

/* The key stands in the file of the certificate, or beside it in FILE.key. */
static bool load_certificate(SSL_CTX *ctx, const char *path)
{
    char key[PATH_MAX];
    if (SSL_CTX_use_certificate_chain_file(ctx, path) != 1)
        return false;
    if (SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM) != 1) {
        if ((size_t)snprintf(key, sizeof key, "%s.key", path) >= sizeof key ||
            SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
            return false;
    }
    return SSL_CTX_check_private_key(ctx) == 1;
}

/* What of the settings OpenSSL refuses, in words; NULL: nothing. */
static const char *apply(SSL_CTX *ctx, const rf_tls_settings *settings, const char **file)
{
    if (!set_versions(ctx, settings))
        return "a TLS version that this OpenSSL does not have";
    if (settings->ciphers != NULL && SSL_CTX_set_cipher_list(ctx, settings->ciphers) != 1)
        return "ciphers: no cipher of the list is known";
    if (settings->ciphersuites != NULL && SSL_CTX_set_ciphersuites(ctx, settings->ciphersuites) != 1)
        return "ciphersuites: no suite of the list is known";
    if (settings->curves != NULL && SSL_CTX_set1_curves_list(ctx, settings->curves) != 1)
        return "curves: an unknown name";
    if (settings->sigalgs != NULL && SSL_CTX_set1_sigalgs_list(ctx, settings->sigalgs) != 1)
        return "sigalgs: an unknown name";
    if (settings->client_sigalgs != NULL && SSL_CTX_set1_client_sigalgs_list(ctx, settings->client_sigalgs) != 1)
        return "client-sigalgs: an unknown name";
    *file = settings->ca_file;
    if (settings->ca_file != NULL && !load_ca(ctx, settings->ca_file))
        return "ca-file cannot be loaded";
    *file = settings->crl_file;
    if (settings->crl_file != NULL && !load_crl(ctx, settings->crl_file))
        return "crl-file cannot be loaded";
    *file = settings->crt;
    if (settings->crt != NULL && !load_certificate(ctx, settings->crt))
        return "crt: certificate and key cannot be loaded";
    *file = NULL;
    return NULL;
}

static void tell_why(char *why, size_t why_max, const char *what, const char *file)
{
    char reason[128] = "";
    const unsigned long error = ERR_peek_last_error();
    if (error != 0)
        ERR_error_string_n(error, reason, sizeof reason);
    snprintf(why, why_max, "%s%s%s%s%s", what, file != NULL ? ": " : "", file != NULL ? file : "", reason[0] ? ": " : "",
             reason);
    ERR_clear_error();
}

static void set_behaviour(rf_tls_context *context, const rf_tls_settings *settings)
{
    SSL_CTX *ctx = context->ctx;
    SSL_CTX_set_options(ctx, SSL_OP_ALL | SSL_OP_NO_COMPRESSION |
                                 (settings->flags & RF_TLS_NO_TICKETS ? SSL_OP_NO_TICKET : 0));
#ifdef SSL_OP_IGNORE_UNEXPECTED_EOF
    SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
#endif
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(ctx, settings->verify == RF_TLS_VERIFY_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                       settings->verify == RF_TLS_VERIFY_NONE ? NULL : verify_name);
    if (settings->flags & RF_TLS_NO_REUSE) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        return;
    }
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, keep_session);
}

rf_tls_context *rf_tls_context_new(const rf_tls_settings *settings, char *why, size_t why_max)
{
    rf_tls_context *context = calloc(1, sizeof *context);
    ERR_clear_error();
    if (context == NULL || (context->ctx = SSL_CTX_new(TLS_client_method())) == NULL) {
        tell_why(why, why_max, "no TLS context", NULL);
        free(context);
        return NULL;
    }
    context->holders = 1;
    context->flags = settings->flags;
    if (settings->verify_host != NULL)
        snprintf(context->verify_host, sizeof context->verify_host, "%s", settings->verify_host);
    set_behaviour(context, settings);
    const char *file = NULL;
    const char *wrong = apply(context->ctx, settings, &file);
    if (wrong != NULL) {
        tell_why(why, why_max, wrong, file);
        rf_tls_context_drop(context);
        return NULL;
    }
    return context;
}

static void context_hold(rf_tls_context *context)
{
    __atomic_add_fetch(&context->holders, 1, __ATOMIC_RELAXED);
}

void rf_tls_context_drop(rf_tls_context *context)
{
    if (context == NULL || __atomic_sub_fetch(&context->holders, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    SSL_CTX_free(context->ctx);
    free(context);
}

/* --- one connection --------------------------------------------------------------------------------------------------- */

static void tls_end(struct tls *tls)
{
    if (tls == NULL)
        return;
    if (tls->ssl != NULL) {
        SSL_set_app_data(tls->ssl, NULL);
        SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(tls->ssl);
    }
    ERR_clear_error();
    free(tls->session);
    rf_tls_context_drop(tls->context);
    free(tls);
}

static void resume(struct tls *tls, const uint8_t *session, uint32_t session_len)
{
    if (session == NULL || (tls->context->flags & RF_TLS_NO_REUSE))
        return;
    SSL_SESSION *kept = d2i_SSL_SESSION(NULL, &session, (long)session_len);
    if (kept == NULL)
        return;
    (void)SSL_set_session(tls->ssl, kept);
    SSL_SESSION_free(kept);
}

static struct tls *tls_open(rf_tls_context *context, const char *sni, const uint8_t *alpn, uint32_t alpn_len,
                            const uint8_t *session, uint32_t session_len)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        return NULL;
    context_hold(context);
    tls->context = context;
    tls->ssl = SSL_new(context->ctx);
    tls->in = BIO_new(BIO_s_mem());
    tls->out = BIO_new(BIO_s_mem());
    if (tls->ssl == NULL || tls->in == NULL || tls->out == NULL) {
        BIO_free(tls->in);
        BIO_free(tls->out);
        tls_end(tls);
        return NULL;
    }
    BIO_set_mem_eof_return(tls->in, -1); /* empty means more later, not the end */
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_app_data(tls->ssl, tls);
    SSL_set_connect_state(tls->ssl);
    if (sni != NULL)
        (void)SSL_set_tlsext_host_name(tls->ssl, sni);
    if (alpn_len > 0)
        (void)SSL_set_alpn_protos(tls->ssl, alpn, alpn_len);
    resume(tls, session, session_len);
    return tls;
}

static int32_t outcome(struct tls *tls, int result)
{
    const int error = SSL_get_error(tls->ssl, result);
    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return tls->ended ? TLS_END : TLS_MORE;
    return error == SSL_ERROR_ZERO_RETURN ? TLS_END : TLS_FAILED;
}

static int32_t tls_handshake(struct tls *tls)
{
    const int result = SSL_do_handshake(tls->ssl);
    if (result == 1)
        return TLS_OK;
    return outcome(tls, result) == TLS_MORE ? TLS_MORE : TLS_FAILED;
}

static int32_t tls_feed(struct tls *tls, const uint8_t *raw, uint32_t len)
{
    return len <= INT_MAX && BIO_write(tls->in, raw, (int)len) == (int)len ? TLS_OK : TLS_FAILED;
}

static void tls_feed_end(struct tls *tls)
{
    tls->ended = true;
    BIO_set_mem_eof_return(tls->in, 0);
}

static uint32_t tls_pending(struct tls *tls, const uint8_t **raw)
{
    char *bytes = NULL;
    const long len = BIO_get_mem_data(tls->out, &bytes);
    *raw = (const uint8_t *)bytes;
    return len > 0 ? (uint32_t)len : 0;
}

static void tls_taken(struct tls *tls, uint32_t len)
{
    uint8_t sink[4096];
    while (len > 0) {
        const int got = BIO_read(tls->out, sink, len < sizeof sink ? (int)len : (int)sizeof sink);
        if (got <= 0)
            return;
        len -= (uint32_t)got;
    }
}

static int32_t tls_write(struct tls *tls, const uint8_t *plain, uint32_t len)
{
    while (len > 0) {
        size_t written = 0;
        if (SSL_write_ex(tls->ssl, plain, len, &written) != 1) {
            ERR_clear_error();
            return TLS_FAILED;
        }
        plain += written;
        len -= (uint32_t)written;
    }
    return TLS_OK;
}

static int32_t tls_read(struct tls *tls, uint8_t *plain, uint32_t max)
{
    const int got = SSL_read(tls->ssl, plain, max < INT_MAX ? (int)max : INT_MAX);
    if (got > 0)
        return got;
    return tls->ended ? (outcome(tls, got), TLS_END) : outcome(tls, got);
}

static const char *tls_why(struct tls *tls)
{
    return tls->why != NULL ? tls->why : HANDSHAKE_FAILURE;
}

static uint32_t tls_session(struct tls *tls, uint8_t *out, uint32_t max)
{
    if (tls->session_len == 0 || tls->session_len > max)
        return 0;
    memcpy(out, tls->session, tls->session_len);
    return tls->session_len;
}

static int32_t tls_resumed(struct tls *tls)
{
    return SSL_session_reused(tls->ssl);
}

static void tls_close(struct tls *tls)
{
    (void)SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

/* --- for people --------------------------------------------------------------------------------------------------------- */

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm at = {0};
    return time != NULL && ASN1_TIME_to_tm(time, &at) == 1 ? (int64_t)timegm(&at) : 0;
}

static void name_text(const X509_NAME *name, char *out, size_t max)
{
    BIO *text = BIO_new(BIO_s_mem());
    if (text == NULL)
        return;
    if (X509_NAME_print_ex(text, name, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
        char *bytes = NULL;
        const long len = BIO_get_mem_data(text, &bytes);
        snprintf(out, max, "%.*s", (int)len, bytes);
    }
    BIO_free(text);
}

static void alternative_names(const X509 *cert, char *out, size_t max)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    size_t len = 0;
    for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS)
            continue;
        const int n = snprintf(out + len, max - len, "%s%.*s", len ? " " : "", ASN1_STRING_length(name->d.dNSName),
                               (const char *)ASN1_STRING_get0_data(name->d.dNSName));
        if (n < 0 || (size_t)n >= max - len)
            break;
        len += (size_t)n;
    }
    GENERAL_NAMES_free(names);
}

int32_t rf_tls_peer_of(const void *connection, rf_tls_peer *out)
{
    const struct tls *tls = connection;
    const unsigned char *alpn = NULL;
    unsigned alpn_len = 0;
    memset(out, 0, sizeof *out);
    snprintf(out->protocol, sizeof out->protocol, "%s", SSL_get_version(tls->ssl));
    snprintf(out->cipher, sizeof out->cipher, "%s", SSL_get_cipher_name(tls->ssl));
    SSL_get0_alpn_selected(tls->ssl, &alpn, &alpn_len);
    snprintf(out->alpn, sizeof out->alpn, "%.*s", (int)alpn_len, alpn != NULL ? (const char *)alpn : "");
    out->verify_error = (int32_t)SSL_get_verify_result(tls->ssl);
    snprintf(out->verify_text, sizeof out->verify_text, "%s", X509_verify_cert_error_string(out->verify_error));
    out->resumed = SSL_session_reused(tls->ssl) == 1;
    X509 *cert = SSL_get1_peer_certificate(tls->ssl);
    if (cert == NULL)
        return 0;
    name_text(X509_get_subject_name(cert), out->subject, sizeof out->subject);
    name_text(X509_get_issuer_name(cert), out->issuer, sizeof out->issuer);
    alternative_names(cert, out->names, sizeof out->names);
    out->not_before_s = seconds_of(X509_get0_notBefore(cert));
    out->not_after_s = seconds_of(X509_get0_notAfter(cert));
    X509_free(cert);
    return 1;
}

static uint32_t put_text(const char *text, uint8_t *out, uint32_t max)
{
    const size_t len = text != NULL ? strlen(text) : 0;
    if (len > max)
        return 0;
    memcpy(out, text != NULL ? text : "", len);
    return (uint32_t)len;
}

/* As HAProxy: the other side's Finished, of a session that went on one's own. */
static uint32_t unique_id(SSL *ssl, uint8_t *out, uint32_t max)
{
    uint8_t all[EVP_MAX_MD_SIZE];
    const bool resumed = SSL_session_reused(ssl) == 1;
    const size_t len = resumed ? SSL_get_finished(ssl, all, sizeof all) : SSL_get_peer_finished(ssl, all, sizeof all);
    if (len > max || len > sizeof all)
        return 0;
    memcpy(out, all, len);
    return (uint32_t)len;
}

static uint32_t tls_fact(struct tls *tls, uint32_t which, uint8_t *out, uint32_t max)
{
    SSL *ssl = tls->ssl;
    const SSL_SESSION *session = SSL_get_session(ssl);
    const unsigned char *at = NULL;
    unsigned len = 0;
    int bits = 0;
    switch (which) {
    case TLS_FACT_ALPN:
        SSL_get0_alpn_selected(ssl, &at, &len);
        break;
    case TLS_FACT_SESSION_ID:
        at = session != NULL ? SSL_SESSION_get_id(session, &len) : NULL;
        break;
    case TLS_FACT_CIPHER:
        return put_text(SSL_get_cipher_name(ssl), out, max);
    case TLS_FACT_PROTOCOL:
        return put_text(SSL_get_version(ssl), out, max);
    case TLS_FACT_MASTER_KEY:
        return session != NULL ? (uint32_t)SSL_SESSION_get_master_key(session, out, max) : 0;
    case TLS_FACT_CLIENT_RANDOM:
        return (uint32_t)SSL_get_client_random(ssl, out, max);
    case TLS_FACT_SERVER_RANDOM:
        return (uint32_t)SSL_get_server_random(ssl, out, max);
    case TLS_FACT_UNIQUE_ID:
        return unique_id(ssl, out, max);
    case TLS_FACT_KEY_BITS:
        (void)SSL_get_cipher_bits(ssl, &bits);
        return (uint32_t)bits;
    default:
        return (uint32_t)SSL_get_cipher_bits(ssl, NULL);
    }
    if (at == NULL || len > max)
        return 0;
    memcpy(out, at, len);
    return len;
}

const void *rf_tls_layer(void)
{
    static const struct rf_tls_ops OPS = {
        .abi = RF_TLS_ABI,
        .hold = context_hold,
        .drop = rf_tls_context_drop,
        .open = tls_open,
        .handshake = tls_handshake,
        .feed = tls_feed,
        .feed_end = tls_feed_end,
        .pending = tls_pending,
        .taken = tls_taken,
        .write = tls_write,
        .read = tls_read,
        .why = tls_why,
        .session = tls_session,
        .resumed = tls_resumed,
        .close = tls_close,
        .end = tls_end,
        .fact = tls_fact,
        .verify = tls_verify,
        .decrypt = tls_decrypt,
    };
    return &OPS;
}
