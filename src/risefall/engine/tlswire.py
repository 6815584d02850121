"""TLS around another wire, by Python's ssl module over memory BIOs: for `risefall probe`, and for builds without libssl.

The name is checked as HAProxy does it: against the SNI where there is one, else not at all; the chain unless verify is off.
A raw end of stream counts as an end, with or without a close_notify, as in HAProxy.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from risefall.engine.certificate import Certificate, parse_certificate
from risefall.engine.drive import VERIFY_HOST, StepKind, TlsError, Transcript, Wire, WireError
from risefall.engine.native import Endpoint, Want
from risefall.errors import StartError

READ_BYTES = 16384
WRITE_BYTES = 16384
ALERT_RECORD = b"\x15"
ALERT_LEN = 7
SYSTEM_CA = "@system-ca"
ALERTS = {115: "UNKNOWN_PSK_IDENTITY", 116: "CERTIFICATE_REQUIRED", 120: "NO_APPLICATION_PROTOCOL"}
"""Alerts younger than Python's table of reasons (RFC 8446 §6)."""


class TlsOptions(msgspec.Struct, frozen=True):
    """As on a server line. sni: empty for none. alpn: as `h2,http/1.1`. ca_file: PEM file or folder, empty for the system's.

    crt: PEM file with a certificate and its key, shown to a server that asks. verify_host: the name in the certificate,
    whatever the SNI. version_min, version_max: as in TLS records (0x0303 is 1.2), 0 for OpenSSL's own.
    """

    sni: str = ""
    alpn: tuple[str, ...] = ()
    ca_file: str = ""
    verify: bool = True
    crt: str = ""
    crl_file: str = ""
    ciphers: str = ""
    verify_host: str = ""
    version_min: int = 0
    version_max: int = 0


class TlsFacts(msgspec.Struct, frozen=True):
    """What a handshake showed. certificate: None when there is none, or none that can be read."""

    protocol: str
    cipher: str
    alpn: str
    certificate: Certificate | None


def make_context(options: TlsOptions) -> ssl.SSLContext:
    """The context of these options. Raises StartError for a file that cannot be used, and for words that mean nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = options.verify and bool(options.sni) and not options.verify_host
    context.verify_mode = ssl.CERT_REQUIRED if options.verify else ssl.CERT_NONE
    if options.alpn:
        context.set_alpn_protocols(list(options.alpn))
    if options.version_min:
        context.minimum_version = ssl.TLSVersion(options.version_min)
    if options.version_max:
        context.maximum_version = ssl.TLSVersion(options.version_max)
    if options.ciphers:
        try:
            context.set_ciphers(options.ciphers)
        except ssl.SSLError as error:
            raise StartError(f"ciphers '{options.ciphers}': none of them is known") from error
    if options.crt:
        load(options.crt, "certificate with its key", lambda path: context.load_cert_chain(path))
    if not options.verify:
        return context
    if options.crl_file:
        load(options.crl_file, "revocation list", lambda path: context.load_verify_locations(cafile=path))
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if options.ca_file in ("", SYSTEM_CA):
        context.load_default_certs()
        return context
    for path in ca_files(options.ca_file):
        load(path, "certificates", lambda path: context.load_verify_locations(cafile=path))
    return context


def load(path: str, what: str, reader: Callable[[str], None]) -> None:
    """Reads one PEM file. Raises StartError."""
    try:
        reader(path)
    except ssl.SSLError as error:
        raise StartError(f"{path}: no {what} in PEM form ({error.reason or error})") from error
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from error


def ca_files(path: str) -> list[str]:
    """The file, or every file of a folder: HAProxy needs no hashed names there. Raises StartError for an empty folder."""
    if not os.path.isdir(path):
        return [path]
    files = sorted(entry.path for entry in os.scandir(path) if entry.is_file())
    if not files:
        raise StartError(f"{path}: no files in it")
    return files


def as_tls_error(error: ssl.SSLError, last: bytes = b"") -> TlsError:
    """What OpenSSL says, for people. last: the bytes that came last, for alerts that Python has no name for."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsError(f"the certificate is not trusted: {error.verify_message}", "VERIFY", error.verify_code)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return TlsError("the connection ended during the handshake", "EOF")
    reason = error.reason or "UNKNOWN"
    if reason == "UNKNOWN" and last[:1] == ALERT_RECORD and len(last) == ALERT_LEN:
        reason = ALERTS.get(last[-1], f"ALERT_{last[-1]}")
    return TlsError(f"the handshake failed: {reason.lower().replace('_', ' ')}", reason)


def read_facts(tls: ssl.SSLObject) -> TlsFacts:
    """What a finished handshake showed."""
    der = tls.getpeercert(binary_form=True)
    try:
        certificate = parse_certificate(der) if der else None
    except ValueError:
        certificate = None
    cipher = tls.cipher()
    return TlsFacts(tls.version() or "", cipher[0] if cipher else "", tls.selected_alpn_protocol() or "", certificate)


def show_facts(facts: TlsFacts, now_s: float) -> str:
    """One line: protocol, cipher, ALPN and the certificate with its days left."""
    parts = [facts.protocol, facts.cipher]
    if facts.alpn:
        parts.append(f"ALPN {facts.alpn}")
    return ", ".join(parts) + (f"; {show_certificate(facts.certificate, now_s)}" if facts.certificate else "")


def show_certificate(certificate: Certificate, now_s: float) -> str:
    """`certificate 'shop' by 'Some CA' for shop.example, 12 days left`."""
    days = certificate.days_left(now_s)
    names = ", ".join(certificate.names[:5]) or "no names"
    more = f" and {len(certificate.names) - 5} more" if len(certificate.names) > 5 else ""
    if now_s < certificate.not_before_s:
        life = "not valid yet"
    else:
        life = f"{days} days left" if days >= 0 else f"expired {-days} days ago"
    return f"certificate '{certificate.subject}' by '{certificate.issuer}' for {names}{more}, {life}"


class TlsWire:
    """A wire whose bytes are encrypted on the wire inside. After a connect, `facts` or `failure` holds what was seen."""

    def __init__(
        self,
        inner: Wire,
        options: TlsOptions,
        transcript: Transcript | None = None,
        *,
        begins: Callable[[], None] = lambda: None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """begins: called when a handshake begins, as `Probe.tls_begins`. context: of these options, made here without one.

        Raises StartError for a file that cannot be used.
        """
        self._begins = begins
        self._inner = inner
        self._options = options
        self._context = context or make_context(options)
        self._transcript = transcript or Transcript()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._last = b""
        self.facts: TlsFacts | None = None
        self.failure: TlsError | None = None

    async def connect(self, want: Want) -> None:
        """Connects and shakes hands. Raises TlsError when the second fails."""
        self.facts = self.failure = self._tls = None
        self._last = b""
        await self._inner.connect(want)
        self._transcript.connected()
        self._begins()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_hostname=self._options.sni or None)
        try:
            await self._shake(self._tls)
        except TlsError as failure:
            self.failure = failure
            raise
        except OSError as error:
            self.failure = TlsError(f"{error.strerror or error} during the handshake", "EOF")
            raise self.failure from error
        self.facts = read_facts(self._tls)
        self._check_host(self.facts)
        self._transcript.say(StepKind.TLS_DONE, detail=show_facts(self.facts, time.time()))

    async def _shake(self, tls: ssl.SSLObject) -> None:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
                continue
            except ssl.SSLError as error:
                await self._say_goodbye()
                raise as_tls_error(error, self._last) from error
            except ssl.CertificateError as error:
                raise TlsError(f"the certificate is not trusted: {error}", "VERIFY") from error
            await self._flush()
            return

    def _check_host(self, facts: TlsFacts) -> None:
        """`verifyhost` wants a name of its own in the certificate; Python's module knows the SNI only."""
        wanted = self._options.verify_host if self._options.verify else ""
        if wanted and (facts.certificate is None or not facts.certificate.names_host(wanted)):
            self.failure = TlsError(f"the certificate does not name '{wanted}'", VERIFY_HOST)
            raise self.failure

    async def _say_goodbye(self) -> None:
        """The alert that tells the server why; when it does not care any more, neither do we."""
        with suppress(OSError):
            await self._flush()

    async def _flush(self) -> None:
        data = self._outgoing.read()
        while data:
            data = data[await self._inner.send(data) :]

    async def _fill(self) -> None:
        data = await self._inner.receive(READ_BYTES)
        self._last = data or self._last
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def send(self, data: bytes) -> int:
        """Encrypts and sends some of it. Raises WireError when TLS fails."""
        assert self._tls is not None
        piece = data[:WRITE_BYTES]
        while True:
            try:
                count = self._tls.write(piece)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
                continue
            except ssl.SSLError as error:
                raise WireError(f"TLS: {error.reason or error}") from error
            await self._flush()
            return count

    async def receive(self, room: int) -> bytes:
        """What has come, decrypted; nothing: the peer ended its stream. Raises WireError when TLS fails."""
        assert self._tls is not None
        while True:
            try:
                return self._tls.read(room)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as error:
                raise WireError(f"TLS: {error.reason or error}") from error

    def addresses(self) -> tuple[Endpoint, Endpoint]:
        return self._inner.addresses()

    def end(self, how: int, last: bytes = b"") -> None:
        """Ends the wire inside, without a close_notify: nothing of ours is cut by that."""
        self._tls = None
        self._inner.end(how)
