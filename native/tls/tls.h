/* tls.h - TLS sans-IO: OpenSSL over memory BIOs, in a shared module of its own (risefall.engine._tls), so that a machine
 * without libssl still loads the engine. The engine knows it only as the table of functions below. */
#ifndef RF_TLS_H
#define RF_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* cffi: begin */
enum { RF_TLS_ABI = 2, RF_TLS_WHY_MAX = 256 };
enum { RF_TLS_VERIFY_NONE = 0, RF_TLS_VERIFY_REQUIRED = 1 };
enum { RF_TLS_NO_TICKETS = 1, RF_TLS_NO_REUSE = 2 };

typedef struct rf_tls_context rf_tls_context; /* one for each distinct setting; counted holders; may be shared by threads */

/* What a server line says of TLS; NULL or 0: unset. Files are read once, by rf_tls_context_new. */
typedef struct {
    const char *ca_file;      /* PEM file, or a folder of PEM files, or "@system-ca" */
    const char *crl_file;
    const char *crt;          /* PEM with certificate chain and key, as HAProxy's `crt` (key may be in FILE.key) */
    const char *ciphers, *ciphersuites, *curves, *sigalgs, *client_sigalgs;
    const char *verify_host;  /* `verifyhost` */
    int32_t verify;           /* RF_TLS_VERIFY_ */
    int32_t version_min, version_max; /* 0x0301 .. 0x0304, 0 unset; 0x0300 is SSLv3 */
    uint32_t flags;
} rf_tls_settings;

/* NULL: <why> says what is wrong, naming file and next step. */
rf_tls_context *rf_tls_context_new(const rf_tls_settings *settings, char *why, size_t why_max);
void rf_tls_context_drop(rf_tls_context *context);
/* The table of functions, for rf_use_tls() of the engine's module. */
const void *rf_tls_layer(void);

/* What the peer showed, for people (risefall probe). */
typedef struct {
    char protocol[16], cipher[64], alpn[32], subject[256], issuer[256], names[512]; /* names: of subjectAltName, by blanks */
    int64_t not_before_s, not_after_s; /* UNIX time; 0: no certificate */
    int32_t verify_error;              /* X509_V_ of the chain, 0: sound */
    char verify_text[128];
    uint8_t resumed;
} rf_tls_peer;
int32_t rf_tls_peer_of(const void *tls, rf_tls_peer *out);
/* cffi: end */

enum { TLS_OK = 1, TLS_MORE = 0, TLS_FAILED = -1, TLS_END = -2, TLS_NO_KEY = -3 };
/* What fetches ask of a connection that stands, see `fact`. */
enum { TLS_FACT_ALPN, TLS_FACT_CIPHER, TLS_FACT_PROTOCOL, TLS_FACT_SESSION_ID, TLS_FACT_MASTER_KEY, TLS_FACT_CLIENT_RANDOM,
       TLS_FACT_SERVER_RANDOM, TLS_FACT_UNIQUE_ID, TLS_FACT_KEY_BITS, TLS_FACT_USED_BITS };

struct tls; /* one connection; owned from open to end */
struct rf_tls_ops {
    uint32_t abi;
    void (*hold)(rf_tls_context *context);
    void (*drop)(rf_tls_context *context);
    /* sni: NULL none. alpn: wire form (length-prefixed names). session: serialised, NULL none. NULL: no memory. */
    struct tls *(*open)(rf_tls_context *context, const char *sni, const uint8_t *alpn, uint32_t alpn_len,
                        const uint8_t *session, uint32_t session_len);
    int32_t (*handshake)(struct tls *tls);                                /* TLS_OK, TLS_MORE, TLS_FAILED */
    int32_t (*feed)(struct tls *tls, const uint8_t *raw, uint32_t len);   /* TLS_OK: taken whole; TLS_FAILED: no memory */
    void (*feed_end)(struct tls *tls);                                    /* the peer ended its stream */
    uint32_t (*pending)(struct tls *tls, const uint8_t **raw);            /* bytes that want to be sent; valid until the next call */
    void (*taken)(struct tls *tls, uint32_t len);
    int32_t (*write)(struct tls *tls, const uint8_t *plain, uint32_t len); /* TLS_OK: all of it is pending now; TLS_FAILED */
    /* Decrypted bytes into plain: > 0 how many; TLS_MORE: none yet; TLS_END: the stream ended (close_notify or raw end); TLS_FAILED */
    int32_t (*read)(struct tls *tls, uint8_t *plain, uint32_t max);
    /* Text of the failure as HAProxy words it: "SSL handshake failure", "Server presented an SSL certificate different from the configured one", ... */
    const char *(*why)(struct tls *tls);
    uint32_t (*session)(struct tls *tls, uint8_t *out, uint32_t max);     /* a new resumable session, serialised; 0: none (or too big) */
    int32_t (*resumed)(struct tls *tls);                                  /* the handshake went on from a kept session */
    /* TLS_FACT_ of it as bytes: how many, 0 none; a number of bits is the result itself, out is not written. */
    uint32_t (*fact)(struct tls *tls, uint32_t which, uint8_t *out, uint32_t max);
    void (*close)(struct tls *tls);                                       /* puts a close_notify into pending */
    void (*end)(struct tls *tls);                                         /* frees it; keeps the session good (marks both directions shut) */
    /* Without a connection: a signature (RSA, or two numbers of a curve one behind the other) over SHA-2 of so many bits, by a
     * public key or certificate in PEM: 1 it is sound, 0 not, TLS_NO_KEY. */
    int32_t (*verify)(uint32_t bits, bool curve, const uint8_t *pem, uint32_t pem_len, const uint8_t *text, uint32_t text_len,
                      const uint8_t *signature, uint32_t signature_len);
    /* AES-GCM with a key of so many bits; out has room for len. TLS_OK, or TLS_FAILED: the tag does not fit. */
    int32_t (*decrypt)(uint32_t bits, const uint8_t *key, const uint8_t *nonce, uint32_t nonce_len, const uint8_t *tag, uint32_t tag_len,
                       const uint8_t *in, uint32_t len, uint8_t *out);
};

#endif
