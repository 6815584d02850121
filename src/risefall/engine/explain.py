"""One run in words: each step as it happens, and one sentence on the likely cause of a failure."""

from __future__ import annotations

import errno
import os

from risefall.engine.drive import Step, StepKind, TlsError
from risefall.engine.grpc import Code, Fault, Health, Serving
from risefall.engine.native import ProbeResult
from risefall.status import Status, Verdict

SHOWN_BYTES = 300

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


def show_bytes(data: bytes) -> str:
    """Bytes for a person: escapes for what cannot be seen, cut with the number of those left out."""
    text = repr(data[:SHOWN_BYTES])[1:]
    more = len(data) - SHOWN_BYTES
    return text + (f" … {more} more bytes" if more > 0 else "")


def show_step(step: Step) -> str:
    """A line of the transcript, its time in milliseconds since the start."""
    at = f"{step.at_ns / 1e6:9.3f} ms  "
    match step.kind:
        case StepKind.CONNECTING:
            return at + "connecting" + (f" to port {step.detail}" if step.detail else "")
        case StepKind.CONNECTED:
            return at + "connected"
        case StepKind.TLS_DONE:
            return at + f"TLS handshake done: {step.detail}"
        case StepKind.SENT:
            return at + f"sent {len(step.data)} bytes: {show_bytes(step.data)}"
        case StepKind.RECEIVED:
            return at + f"got {len(step.data)} bytes: {show_bytes(step.data)}"
        case StepKind.ENDED:
            return at + "the server ended its stream"
        case StepKind.FAILED if step.detail:
            return at + f"failed: {step.detail}"
        case StepKind.FAILED:
            return at + f"failed: {os.strerror(step.error)} ({errno.errorcode.get(step.error, step.error)})"
        case StepKind.TIMED_OUT:
            return at + "its time is up"
        case StepKind.CLOSED:
            return at + f"closed with {step.detail}"


def verdict_line(result: ProbeResult) -> str:
    """`L7OK (Layer7 check passed), code 200, in 0.412 ms`, with the text where there is one."""
    line = f"{result.status.name} ({result.status.text})"
    if result.status.has_code:
        line += f", code {result.code}"
    line += f", in {result.duration_us / 1000:.3f} ms"
    return line + (f": {result.text.decode('latin-1')}" if result.text else "")


def likely_cause(result: ProbeResult, *, http: bool, got: bytes) -> str:
    """One sentence on why it failed, or nothing where nothing is known (or nothing failed)."""
    if result.verdict is not Verdict.FAILED:
        return ""
    if result.error in CAUSES:
        return CAUSES[result.error]
    match result.status:
        case Status.L4TOUT:
            return (
                "no answer to the SYN: a firewall that drops, a host that is down, a full accept queue, or a guest behind "
                "macvtap on this same host (which the host cannot reach without a macvlan interface of its own)"
            )
        case Status.L7TOUT if got:
            return "the answer was not whole in time, or nothing in it matched while the connection stayed open"
        case Status.L7TOUT:
            return "it accepts connections and says nothing: overloaded, hung, or waiting for another protocol (TLS?)"
        case Status.L7RSP if http and got[:1] in (b"\x15", b"\x16"):
            return "that is TLS, not HTTP"
        case Status.L7RSP if not got:
            return "it closed the connection without a byte: an access list, a crash, or a backlog that is full"
        case Status.L7RSP if http and not got.startswith(b"HTTP/"):
            return "it speaks, but not HTTP"
        case Status.L7STS if result.code == 400:
            return "400 is often a missing Host header: HTTP/1.0 and httpchk send none; try `--header 'Host: NAME'`"
        case Status.L7STS if result.code in (401, 403):
            return "it asks who you are: a health page should need no login, or be allowed from the checker's address"
        case Status.L7STS if result.code == 404:
            return "the server is up, the page is not there: is the path right?"
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
