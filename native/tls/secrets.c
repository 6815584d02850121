/* secrets.c - signatures of JSON Web Tokens and AES-GCM, for converters of expressions. */
#include "secrets.h"

#include <limits.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#include "tls.h"

enum { SIGNATURE_MAX = 1024, NONCE_MAX = 128, TAG_MAX = 16 };

/* A public key, or that of a certificate. */
static EVP_PKEY *key_of(const uint8_t *pem, uint32_t len)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)len);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    if (bio != NULL && key == NULL && BIO_reset(bio) == 1) {
        X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        key = certificate != NULL ? X509_get_pubkey(certificate) : NULL;
        X509_free(certificate);
    }
    BIO_free(bio);
    return key;
}

/* Tokens hold the two numbers of a curve's signature as they are, OpenSSL wants them in DER. 0: it does not fit. */
static size_t der_of(const uint8_t *signature, uint32_t len, uint8_t out[SIGNATURE_MAX])
{
    ECDSA_SIG *numbers = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, (int)len / 2, NULL), *s = BN_bin2bn(signature + len / 2, (int)len / 2, NULL);
    int size = 0;
    if (numbers == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(numbers, r, s) != 1) {
        BN_free(r);
        BN_free(s);
    } else if ((size = i2d_ECDSA_SIG(numbers, NULL)) > 0 && size <= SIGNATURE_MAX) {
        uint8_t *at = out;
        size = i2d_ECDSA_SIG(numbers, &at);
    } else
        size = 0;
    ECDSA_SIG_free(numbers);
    return size > 0 ? (size_t)size : 0;
}

int32_t tls_verify(uint32_t bits, bool curve, const uint8_t *pem, uint32_t pem_len, const uint8_t *text, uint32_t text_len,
                   const uint8_t *signature, uint32_t signature_len)
{
    uint8_t der[SIGNATURE_MAX];
    const EVP_MD *kind = bits == 256 ? EVP_sha256() : bits == 384 ? EVP_sha384() : EVP_sha512();
    if (pem_len > INT_MAX || signature_len > SIGNATURE_MAX)
        return TLS_NO_KEY;
    EVP_PKEY *key = key_of(pem, pem_len);
    if (key == NULL) {
        ERR_clear_error();
        return TLS_NO_KEY;
    }
    size_t len = signature_len;
    if (curve)
        len = der_of(signature, signature_len, der);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const bool sound = context != NULL && len > 0 && EVP_DigestVerifyInit(context, NULL, kind, NULL, key) == 1 &&
                       EVP_DigestVerify(context, curve ? der : signature, len, text, text_len) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return sound;
}

int32_t tls_decrypt(uint32_t bits, const uint8_t *key, const uint8_t *nonce, uint32_t nonce_len, const uint8_t *tag, uint32_t tag_len,
                    const uint8_t *in, uint32_t len, uint8_t *out)
{
    static const uint8_t ZEROES[12];
    uint8_t copy[TAG_MAX];
    const EVP_CIPHER *kind = bits == 128 ? EVP_aes_128_gcm() : bits == 192 ? EVP_aes_192_gcm() : EVP_aes_256_gcm();
    int got = 0, last = 0;
    if (tag_len == 0 || tag_len > TAG_MAX || nonce_len > NONCE_MAX || len > INT_MAX)
        return TLS_FAILED;
    if (nonce_len == 0) {
        nonce = ZEROES;
        nonce_len = sizeof ZEROES;
    }
    memcpy(copy, tag, tag_len);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    const bool sound = context != NULL && EVP_DecryptInit_ex(context, kind, NULL, NULL, NULL) == 1 &&
                       EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_IVLEN, (int)nonce_len, NULL) == 1 &&
                       EVP_DecryptInit_ex(context, NULL, NULL, key, nonce) == 1 &&
                       EVP_DecryptUpdate(context, out, &got, in, (int)len) == 1 &&
                       EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, (int)tag_len, copy) == 1 &&
                       EVP_DecryptFinal_ex(context, out + got, &last) == 1 && got + last == (int)len;
    EVP_CIPHER_CTX_free(context);
    ERR_clear_error();
    return sound ? TLS_OK : TLS_FAILED;
}
