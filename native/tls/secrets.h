/* secrets.h - what the module does with OpenSSL without a connection; see struct rf_tls_ops. */
#ifndef RF_TLS_SECRETS_H
#define RF_TLS_SECRETS_H

#include <stdbool.h>
#include <stdint.h>

int32_t tls_verify(uint32_t bits, bool curve, const uint8_t *pem, uint32_t pem_len, const uint8_t *text, uint32_t text_len,
                   const uint8_t *signature, uint32_t signature_len);
int32_t tls_decrypt(uint32_t bits, const uint8_t *key, const uint8_t *nonce, uint32_t nonce_len, const uint8_t *tag, uint32_t tag_len,
                    const uint8_t *in, uint32_t len, uint8_t *out);

#endif
