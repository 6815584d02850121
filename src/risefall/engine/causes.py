"""One sentence on the likely cause of a failure, from what was seen: the errno, the status, the first bytes, the handshake.

A guess for people: no verdict comes from here, and where nothing is known nothing is said.
"""

from __future__ import annotations

import errno
import re

import msgspec

from risefall.engine import neighbours
from risefall.engine.drive import TlsError
from risefall.engine.grpc import Code, Fault, Health, Serving
from risefall.engine.native import Endpoint, ProbeResult
from risefall.status import Status, Verdict

CAUSES = {
    errno.ECONNREFUSED: "nobody listens on that port, or a firewall answers with a reset: is the service up, and is the port right?",
    errno.ENETUNREACH: "this machine has no route to that network: look at `ip route get ADDRESS`",
    errno.EHOSTUNREACH: "the address does not answer ARP, or a router or firewall says that it cannot be reached",
    errno.ECONNRESET: "the server took the connection and reset it: a full backlog, a crash, an access list, or another protocol",
    errno.EPIPE: "the server closed the connection before the request was sent",
    errno.ENOENT: "there is no socket file of that name: is the service up, and does it use this path?",
    errno.EACCES: "this user may not open that socket: look at its mode and owner",
    errno.EMFILE: "this process has no descriptor left: raise `ulimit -n`; the server is not to blame",
    errno.EADDRNOTAVAIL: "no local port or address is left for it: look at net.ipv4.ip_local_port_range; the server is not to blame",
}
"""By errno."""


class Seen(msgspec.Struct, frozen=True):
    """What one run showed. got: all that was received, in plain text; tls: why the handshake failed; host: a Host was sent."""

    scheme: str
    to: Endpoint
    got: bytes = b""
    sent: bytes = b""
    tls: TlsError | None = None
    host: bool = False


# --- who speaks there ------------------------------------------------------------------------------------

SPEAKERS = (
    (re.compile(rb"[\x14-\x17]\x03[\x00-\x04]"), "TLS", "tls"),
    (re.compile(rb"HTTP/\d"), "HTTP", "http"),
    (re.compile(rb"SSH-\d"), "SSH", ""),
    (re.compile(rb"220[ -].*(?:SMTP|mail)", re.IGNORECASE), "SMTP", "smtp"),
    (re.compile(rb"220[ -]"), "SMTP or FTP", "smtp"),
    (re.compile(rb"\+OK "), "POP3", ""),
    (re.compile(rb"\* OK"), "IMAP", ""),
    (re.compile(rb"-(?:ERR|NOAUTH|DENIED|LOADING|MASTERDOWN)|\+PONG"), "redis", "redis"),
    (re.compile(rb"RFB \d"), "VNC", ""),
    (re.compile(rb"..\x00\x00(?:\x0a|\xff)", re.DOTALL), "MySQL", "mysql"),
    (re.compile(rb"\x00\x00.\x04\x00{5}", re.DOTALL), "HTTP/2", "http2"),
    (
        re.compile(rb"(?:up|down|ready|drain|maint|fail|stopped|\d{1,3}%|maxconn:\d+)[ ,#\r\n]", re.IGNORECASE),
        "an agent",
        "agent",
    ),
)
"""First bytes, whose they are, and the scheme for them."""


def who_speaks(got: bytes) -> tuple[str, str]:
    """Who it is, by the first bytes, and the scheme of the URL for it; nothing where nobody is known."""
    for pattern, name, scheme in SPEAKERS:
        if pattern.match(got):
            return name, scheme
    return "", ""


TALKS = {"http": "http", "https": "http", "ssl-hello": "tls"}


def other_protocol(seen: Seen) -> str:
    """Who answers when it is somebody else than the scheme says."""
    name, scheme = who_speaks(seen.got)
    if not name or scheme == TALKS.get(seen.scheme, seen.scheme):
        return ""
    if scheme == "tls":
        better = {"http": "https://", "tcp": "tls://"}.get(seen.scheme, "tls://")
        return f"that is TLS, not plain {seen.scheme}: try {better}"
    if scheme == "agent":
        return "that looks like a line of an agent, not HTTP: try agent://"
    if scheme == "http2":
        return "that is HTTP/2 without TLS: try --proto h2, or grpc://"
    return f"what answers there speaks {name}" + (f": try {scheme}://" if scheme else "")


# --- by what is checked ----------------------------------------------------------------------------------

PLAIN_TO_TLS = (
    b"plain HTTP request was sent to HTTPS port",
    b"Client sent an HTTP request to an HTTPS server",
    b"speaking plain HTTP to an SSL-enabled server port",
)


def http_cause(result: ProbeResult, seen: Seen) -> str:
    """What an HTTP answer says."""
    if any(words in seen.got for words in PLAIN_TO_TLS):
        return "the server says itself that this port wants TLS: try https://"
    if result.status is not Status.L7STS:
        return "it speaks, but not HTTP" if result.status is Status.L7RSP and not seen.got.startswith(b"HTTP/") else ""
    match result.code:
        case 400 if not seen.host:
            return "400 is often a missing Host header: httpchk sends none by itself; try `--header 'Host: NAME'`"
        case 400:
            return "the server takes the request for malformed: another name in Host, or another version?"
        case 401 | 403:
            return "it asks who you are: a health page should need no login, or be allowed from the checker's address"
        case 404:
            return "the server is up, the page is not there: is the path right, and the Host?"
        case 405 | 501:
            return "the server does not take that method there: HAProxy's default is OPTIONS; try `--method GET`"
        case 421:
            return "the server does not serve that name here: Host and SNI have to agree"
        case 503 | 502 | 504:
            return "the server is up and says that it cannot serve: what stands behind it is down or overloaded"
        case _:
            return ""


REDIS = (
    (b"-NOAUTH", "redis wants a password, and redis-check sends none: use tcp-check rules with AUTH and PING"),
    (b"-DENIED", "redis is in protected mode: it takes no strangers until it has a password or a bind address"),
    (b"-LOADING", "redis is still loading its data"),
    (b"-MASTERDOWN", "this replica has lost its master, and replica-serve-stale-data is off"),
    (b"-NOPERM", "the redis user of a stranger may not PING"),
)
MYSQL = {
    1040: "MySQL has no connection left: look at max_connections",
    1045: "MySQL refuses that user: it has to exist for the checker's address, without a password",
    1129: "MySQL has blocked this address after too many broken handshakes: FLUSH HOSTS, and check with a user that exists",
    1130: "MySQL takes nobody from this address: create the user for it",
    1251: "MySQL wants another way of authentication than the check offers: mysql_native_password for that user",
}
PGSQL = (
    (b"pg_hba.conf", "PostgreSQL's pg_hba.conf has no line for this user from this address"),
    (b"starting up", "PostgreSQL is starting up"),
    (b"shutting down", "PostgreSQL is shutting down"),
    (b"too many", "PostgreSQL has no connection left: look at max_connections"),
    (b"role", "PostgreSQL does not know that user"),
)


def redis_cause(result: ProbeResult, seen: Seen) -> str:
    return next((cause for begin, cause in REDIS if seen.got.startswith(begin)), "")


def mysql_cause(result: ProbeResult, seen: Seen) -> str:
    return MYSQL.get(result.code, "")


def pgsql_cause(result: ProbeResult, seen: Seen) -> str:
    if not seen.got.startswith(b"E"):
        return ""
    return next((cause for part, cause in PGSQL if part in seen.got), "PostgreSQL refuses the connection")


def smtp_cause(result: ProbeResult, seen: Seen) -> str:
    if seen.got.startswith(b"220-"):
        return "its greeting has several lines, which HAProxy's smtpchk does not take"
    if result.status is not Status.L7STS:
        return ""
    if not seen.sent:
        return "the server refuses before a word was said: an access list or a block list for this address?"
    return "the server refuses the name that it is greeted with: try another, smtp://HOST/NAME"


def ldap_cause(result: ProbeResult, seen: Seen) -> str:
    if result.status is Status.L7STS and result.code:
        return "the directory refuses an anonymous bind, and ldap-check knows no other"
    return ""


def ssl_hello_cause(result: ProbeResult, seen: Seen) -> str:
    if not seen.got:
        return "the hello is one of SSLv3, which modern servers may drop without a word: try tls://"
    return ""


def agent_cause(result: ProbeResult, seen: Seen) -> str:
    if result.status is Status.L7TOUT and not seen.got:
        return "an agent speaks first, or after --agent-send: is this the agent's port, and does it wait for a word?"
    return ""


BY_SCHEME = {
    "http": http_cause, "https": http_cause, "redis": redis_cause, "mysql": mysql_cause, "pgsql": pgsql_cause,
    "smtp": smtp_cause, "ldap": ldap_cause, "ssl-hello": ssl_hello_cause, "agent": agent_cause,
}  # fmt: skip


def unreachable(to: Endpoint) -> str:
    """Why nobody answers on the way, as far as this machine knows."""
    local = ""
    if to.family == 4:
        local = neighbours.silent_neighbour(
            to.packed, neighbours.read(neighbours.ROUTE), neighbours.read(neighbours.ARP)
        )
    return local or (
        "no answer to the SYN: a firewall that drops, a host that is down, a full accept queue, or a guest behind "
        "macvtap on this same host (which the host cannot reach without a macvlan interface of its own)"
    )


def likely_cause(result: ProbeResult, seen: Seen) -> str:
    """One sentence on why it failed, or nothing where nothing is known (or nothing failed)."""
    if result.verdict is not Verdict.FAILED:
        return ""
    if seen.tls is not None:
        return tls_cause(seen.tls)
    if result.status is Status.L4TOUT or result.error == errno.EHOSTUNREACH:
        return unreachable(seen.to)
    if result.error in CAUSES:
        return CAUSES[result.error]
    if result.status is Status.L6TOUT and seen.scheme != "ssl-hello":
        return (
            "it takes the connection and does not answer TLS: a port without TLS that waits for words, or a hung server"
        )
    by_scheme = BY_SCHEME.get(seen.scheme)
    found = other_protocol(seen) or (by_scheme(result, seen) if by_scheme else "")
    return found or silence(result, seen)


def silence(result: ProbeResult, seen: Seen) -> str:
    """What is left to say of an answer that did not come, or not whole."""
    match result.status:
        case Status.L7TOUT if seen.got:
            return "the answer was not whole in time, or nothing in it matched while the connection stayed open"
        case Status.L7TOUT:
            return "it accepts connections and says nothing: overloaded, hung, or waiting for another protocol (TLS?)"
        case Status.L7RSP | Status.L7STS if not seen.got:
            return "it closed the connection without a byte: an access list, a crash, or a backlog that is full"
        case _:
            return ""


def grpc_cause(health: Health, service: str) -> str:
    """One sentence on why it is not SERVING, or nothing."""
    if health.error in CAUSES and health.error != errno.ECONNRESET:
        return CAUSES[health.error]
    match health:
        case Health(fault=Fault.TIMED_OUT):
            return "nothing came in time: overloaded, hung, filtered, or a server that waits for TLS"
        case Health(fault=Fault.STREAM, message=message) if "HTTP/1" in message:
            return "the port speaks HTTP/1: gRPC listens elsewhere, or behind TLS with ALPN"
        case Health(fault=Fault.STREAM, error=errno.ECONNRESET) | Health(fault=Fault.STREAM, error=0):
            return "the port does not take HTTP/2 like this: grpcs:// for TLS, grpc:// for clear text?"
        case Health(serving=Serving.SERVICE_UNKNOWN):
            return f"the server has a health service, which does not know '{service}'"
        case Health(code=Code.UNIMPLEMENTED) | Health(http_status=404):
            return "the server speaks gRPC without the health service: is grpc.health.v1.Health registered?"
        case Health(code=Code.UNAUTHENTICATED) | Health(code=Code.PERMISSION_DENIED):
            return "the health service asks for credentials: it should need none"
        case Health(serving=Serving.NOT_SERVING):
            return "the service says of itself that it does not serve"
        case _:
            return ""


VERIFY_CAUSES = {
    9: "the certificate is not valid yet: is the clock of this machine, or of the one that made it, right?",
    10: "the certificate's time has ended: renew it, and reload the server that still shows the old one",
    18: "the server shows a self-signed certificate: give it with `--ca-file`, or do without trust with `--insecure`",
    19: "the chain ends in an authority that this machine does not trust: give it with `--ca-file`",
    20: "the issuer is unknown here: an authority of one's own (`--ca-file`), or a server that leaves out its intermediate",
    21: "the issuer is unknown here: an authority of one's own (`--ca-file`), or a server that leaves out its intermediate",
    62: "the certificate is for other names: ask for one of them with `--sni NAME`, or is this another server?",
    64: "the certificate does not name this address: ask for one of its names with `--sni NAME`",
}
"""By OpenSSL's X509_V_ERR_ numbers."""
TLS_CAUSES = {
    "EOF": "it closed the connection at the first words of TLS: a port without TLS, an access list, or an SNI that it does not serve",
    "PROTOCOL_VERSION": "no protocol version in common: is the server limited to an old TLS?",
    "HANDSHAKE_FAILURE": "no protocol version or cipher in common, or the server wants another SNI or a client certificate",
    "UNRECOGNIZED_NAME": "the server does not serve that name: give one that it knows with `--sni NAME`",
    "NO_APPLICATION_PROTOCOL": "no protocol in common: change `--alpn`",
    "CERTIFICATE_REQUIRED": "the server wants a client certificate",
    "BAD_CERTIFICATE": "the server wants a client certificate, or another one",
}
"""By the end of OpenSSL's name of the reason."""
NOT_TLS = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def tls_cause(failure: TlsError) -> str:
    """One sentence on why a handshake failed."""
    if failure.reason == "VERIFY":
        return VERIFY_CAUSES.get(failure.verify_code, "")
    if failure.reason in NOT_TLS:
        return "what answers there is not TLS: is it the plain port?"
    for ending, cause in TLS_CAUSES.items():
        if failure.reason.endswith(ending):
            return cause
    return ""
