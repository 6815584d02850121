"""Checks over TLS, spec §2.6 to §2.8: who is believed, what is said in the handshake, how it fails."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path

from dialogue_kit import Case, Play, script

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
HTTP = ("option httpchk",)
TCP = "option tcp-check"
DIALOGUE = (TCP, "tcp-check connect ssl", "tcp-check send hello", "tcp-check expect string y")
FACTS = (
    TCP, "tcp-check connect ssl alpn foo",
    'tcp-check send-lf "%[ssl_bc] %[ssl_bc_protocol] %[ssl_bc_cipher] %[ssl_bc_alpn] %[ssl_bc_alg_keysize] %[ssl_bc_use_keysize] '
    "%[ssl_bc_err] <%[ssl_bc_err_str]> <%[ssl_bc_npn]> %[ssl_bc_is_resumed] %[ssl_bc_client_random,hex,length] "
    "%[ssl_bc_server_random,hex,length] %[ssl_bc_session_id,hex,length] %[ssl_bc_session_key,hex,length] "
    '%[ssl_bc_unique_id,hex,length]"',
    "tcp-check expect string y",
)  # fmt: skip
HELLO = 517
"""Bytes of the client's hello, padded as OpenSSL pads it."""


def certificates(folder: Path) -> Path:
    """A CA, another one, and certificates of the first: sound, expired."""
    pki = folder / "pki"
    pki.mkdir()

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=pki, check=True, capture_output=True, timeout=60)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "other"):
        openssl(
            "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "30", "-subj", f"/CN={name}"
        )
    (pki / "names").write_text("subjectAltName=DNS:localhost")
    for name, days in (("sound", "30"), ("expired", "-1")):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/CN=localhost")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", days, "-extfile", "names", "-out", f"{name}.crt",
        )  # fmt: skip
        (pki / f"{name}.pem").write_text((pki / f"{name}.crt").read_text() + (pki / f"{name}.key").read_text())
    return pki


def tls(
    pki: Path, need: int = 18, reply: bytes = OK, *, cert: str = "sound", alpn: tuple[str, ...] = (), stay: bool = False,
    version: ssl.TLSVersion | None = None, client: bool = False, speaks_first: bool = False,
) -> Play:  # fmt: skip
    """A TLS server that answers once it has `need` bytes; what it got begins with version, SNI and ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{cert}.pem")
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version is not None:
        context.maximum_version = version
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(pki / "ca.pem")
    names: dict[int, str | None] = {}
    context.sni_callback = lambda wrapped, name, _: names.__setitem__(id(wrapped), name)  # type: ignore[assignment]

    def play(sock: socket.socket) -> bytes:
        try:
            wrapped = context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
        except OSError as error:
            return b"no handshake: " + type(error).__name__.encode() + str(getattr(error, "reason", "")).encode()
        got = f"{wrapped.version()} sni {names.get(id(wrapped))} alpn {wrapped.selected_alpn_protocol()} ".encode()
        start = len(got)
        try:
            wrapped.settimeout(4)
            if speaks_first:
                wrapped.sendall(reply)
            while len(got) - start < need:
                data = wrapped.recv(4096)
                if not data:
                    return got + b"|end"
                got += data
            if not speaks_first:
                wrapped.sendall(reply)
            if stay and not wrapped.recv(4096):
                got += b"|end"
        except TimeoutError:
            got += b"|silence"
        except OSError as error:  # ended without a good-bye; an alert has a reason
            reason = getattr(error, "reason", None)
            got += b"|cut" if reason in (None, "UNEXPECTED_EOF_WHILE_READING") else f"|{reason}".encode()
        return got

    return play


def tls_cases(folder: Path) -> list[Case]:
    """All cases; those that look at names and versions count the bytes, those that end in a race do not."""
    pki = certificates(folder) if not (folder / "pki").exists() else folder / "pki"
    believe, doubt = f"verify required ca-file {pki}/ca.pem", f"verify required ca-file {pki}/other.pem"
    tls_12 = ssl.TLSVersion.TLSv1_2
    refused = {
        "verify other ca": Case("", HTTP, tls(pki), f"check-ssl {doubt}"),
        "verify expired": Case("", HTTP, tls(pki, cert="expired"), f"check-ssl {believe}"),
        "verifyhost other": Case("", HTTP, tls(pki), f"check-ssl {believe} verifyhost foo.example"),
        "sni other": Case("", HTTP, tls(pki), f"check-ssl {believe} check-sni foo.example"),
        "too old": Case("", HTTP, tls(pki, version=tls_12), "check-ssl verify none ssl-min-ver TLSv1.3"),
        "no client certificate": Case("", HTTP, tls(pki, client=True, version=tls_12), "check-ssl verify none"),
    }
    cases = {
        "http": Case("", HTTP, tls(pki), "check-ssl verify none"),
        "http, stays": Case("", HTTP, tls(pki, stay=True), "check-ssl verify none"),
        "http 1.2": Case("", HTTP, tls(pki, version=tls_12), "check-ssl verify none"),
        "connect only": Case("", (), tls(pki, stay=True), "check-ssl verify none"),
        "connect only 1.2": Case("", (), tls(pki, version=tls_12, stay=True), "check-ssl verify none"),
        "connect only, tcp-check": Case("", (TCP,), tls(pki, stay=True), "check-ssl verify none"),
        "rule connect ssl": Case("", (TCP, "tcp-check connect ssl"), tls(pki, stay=True), "verify none"),
        "rule connect default": Case("", (TCP, "tcp-check connect default"), tls(pki, stay=True), "ssl verify none"),
        "rule connect inherits nothing": Case("", (TCP, "tcp-check connect", *DIALOGUE[2:]), tls(pki), "ssl verify none"),
        "verify": Case("", HTTP, tls(pki), f"check-ssl {believe}"),
        "verifyhost": Case("", HTTP, tls(pki), f"check-ssl {believe} verifyhost localhost"),
        "verifyhost without verify": Case("", HTTP, tls(pki), "check-ssl verify none verifyhost foo.example"),
        "sni": Case("", HTTP, tls(pki), f"check-ssl {believe} check-sni localhost"),
        "sni without verify": Case("", HTTP, tls(pki), "check-ssl verify none check-sni foo.example"),
        "sni of the server": Case("", HTTP, tls(pki), "ssl verify none sni str(foo.example)"),
        "alpn": Case("", HTTP, tls(pki, alpn=("http/1.1", "h2")), "check-ssl verify none check-alpn http/1.1"),
        "alpn of the server": Case("", HTTP, tls(pki, alpn=("http/1.1",)), "ssl verify none alpn h2,http/1.1"),
        "rule sni alpn": Case(
            "", (TCP, "tcp-check connect ssl sni abc.example alpn foo,bar", *DIALOGUE[2:]),
            tls(pki, 5, b"y", alpn=("bar",)), "verify none",
        ),
        "facts 1.2": Case("", FACTS, tls(pki, 60, b"y", alpn=("foo",), version=tls_12), "verify none"),
        "facts": Case("", FACTS, tls(pki, 60, b"y", alpn=("foo",)), "verify none"),
        "dialogue": Case("", DIALOGUE, tls(pki, 5, b"xyz"), "verify none"),
        "dialogue, stays": Case("", DIALOGUE, tls(pki, 5, b"xyz", stay=True), "verify none"),
        "dialogue mismatch": Case("", DIALOGUE, tls(pki, 5, b"xxx"), "verify none"),
        "dialogue mismatch, stays": Case("", DIALOGUE, tls(pki, 5, b"xxx", stay=True), "verify none"),
        "at most 1.2": Case("", HTTP, tls(pki), "check-ssl verify none ssl-max-ver TLSv1.2"),
        "forced 1.2": Case("", HTTP, tls(pki), "check-ssl verify none force-tlsv12"),
        "client certificate": Case("", HTTP, tls(pki, client=True), f"check-ssl verify none crt {pki}/sound.pem"),
        "behind a PROXY header": Case("", HTTP, script(40, then="stay"), "check-ssl verify none check-send-proxy"),
        "smtp": Case("", ("option smtpchk",), tls(pki, 16, b"220 hi\r\n", speaks_first=True, stay=True), "check-ssl verify none"),
        "redis": Case("", ("option redis-check",), tls(pki, 14, b"+PONG\r\n", stay=True), "check-ssl verify none"),
        "empty reply": Case("", HTTP, tls(pki, reply=b""), "check-ssl verify none"),
        "http answers": Case("", HTTP, script(50, b"HTTP/1.0 400 Bad\r\n\r\n"), "check-ssl verify none"),
        "http answers, stays": Case("", HTTP, script(50, b"HTTP/1.0 400 Bad\r\n\r\n", then="stay"), "check-ssl verify none"),
        "closed in the handshake": Case("", HTTP, script(HELLO), "check-ssl verify none"),
        "silent in the handshake": Case("", HTTP, script(HELLO, then="stay"), "check-ssl verify none"),
        "silent, tcp-check": Case("", (TCP,), script(HELLO, then="stay"), "check-ssl verify none"),
        "alert": Case("", HTTP, script(HELLO, bytes.fromhex("15030300020228"), then="stay"), "check-ssl verify none"),
        **refused,
    }  # fmt: skip
    return [Case(f"tls {name}", case.lines, case.play, case.words) for name, case in cases.items()]


TLS_NAMES = [
    f"tls {name}"
    for name in (
        "http", "http, stays", "http 1.2", "connect only", "connect only 1.2", "connect only, tcp-check", "rule connect ssl",
        "rule connect default", "rule connect inherits nothing", "verify", "verifyhost", "verifyhost without verify", "sni",
        "sni without verify", "sni of the server", "alpn", "alpn of the server", "rule sni alpn", "facts 1.2", "facts", "dialogue",
        "dialogue, stays", "dialogue mismatch", "dialogue mismatch, stays", "at most 1.2", "forced 1.2", "client certificate",
        "behind a PROXY header", "smtp", "redis", "empty reply", "http answers", "http answers, stays",
        "closed in the handshake", "silent in the handshake", "silent, tcp-check", "alert", "verify other ca",
        "verify expired", "verifyhost other", "sni other", "too old", "no client certificate",
    )
]  # fmt: skip
