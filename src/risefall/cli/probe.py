"""`risefall probe URL`: one check of one target, each step told."""

from __future__ import annotations

import re
import socket
import sys
from urllib.parse import SplitResult, unquote, urlsplit

import click
import msgspec
import trio

from risefall.cli.options import as_option, json_option
from risefall.config.haproxy.dialect import DIALECTS
from risefall.config.haproxy.model import CheckKind, Expect, ExpectRule, Header, HttpSendRule, Place, Rule, RuleSet
from risefall.engine.drive import Driver, SocketWire, Step, StepKind
from risefall.engine.explain import likely_cause, show_step, verdict_line
from risefall.engine.native import CheckSpec, Endpoint, Probe, ProbeResult, Program
from risefall.engine.programs import Compiler, NotChecked
from risefall.errors import StartError
from risefall.status import Verdict

HERE = Place("command line", 1)
PORTS = {"http": 80}
BUFSIZE = 16384
RESOLVE_S = 5.0


class Outcome(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    url: str
    address: str
    port: int
    status: str
    verdict: str
    code: int
    duration_ms: float
    text: str
    cause: str


def usage(message: str) -> click.UsageError:
    return click.UsageError(message)


def split_url(url: str) -> tuple[SplitResult, str, int]:
    """The parts of a target: scheme, host or socket path, port. Raises click.UsageError with what is wrong."""
    parts = urlsplit(url)
    if parts.scheme not in ("tcp", "http", "agent"):
        raise usage(f"'{url}': the scheme is one of tcp://, http://, agent:// (more come with the next release)")
    if not parts.netloc and parts.path.startswith("/"):
        return parts, parts.path, 0
    try:
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise usage(f"'{url}': {error}") from error
    if not parts.hostname:
        raise usage(f"'{url}': no host; write tcp://HOST:PORT, or tcp:///path/of/a.sock")
    if not port:
        raise usage(f"'{url}': no port; write {parts.scheme}://{parts.hostname}:PORT")
    return parts, parts.hostname, port


async def find_address(host: str, port: int) -> Endpoint:
    """The first address of a host. Raises StartError when it has none."""
    if host.startswith("/"):
        return Endpoint(1, host.encode())
    try:
        with trio.fail_after(RESOLVE_S):
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except trio.TooSlowError as error:
        raise StartError(f"'{host}' did not resolve within {RESOLVE_S:.0f} s: is the name server reachable?") from error
    except OSError as error:
        raise StartError(f"'{host}' does not resolve: {error.strerror}") from error
    family, _, _, _, address = found[0]
    scope = int(address[3]) if len(address) > 3 else 0
    return Endpoint(4 if family == socket.AF_INET else 6, socket.inet_pton(family, str(address[0])), port, scope)


def statuses(text: str) -> tuple[tuple[int, int], ...]:
    """`200,301-399` as ranges. Raises click.UsageError."""
    if not re.fullmatch(r"\d{3}(-\d{3})?(,\d{3}(-\d{3})?)*", text):
        raise usage(f"--expect-status '{text}': write numbers and ranges, such as 200,301-399")
    ranges = (item.partition("-") for item in text.split(","))
    return tuple((int(low), int(high or low)) for low, _, high in ranges)


def http_rules(
    parts: SplitResult, method: str, version: str, headers: tuple[str, ...], status: str, string: str
) -> RuleSet:
    """The rule set of an http:// target: as `option httpchk METHOD URI VERSION` would make it."""
    pairs = []
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise usage(f"--header '{header}': write 'Name: value'")
        pairs.append(Header(name.strip(), value.strip().replace("%", "%%")))
    uri = (parts.path if parts.netloc else "") or "/"
    rules: list[Rule] = [
        HttpSendRule(
            HERE, 1, method, uri + (f"?{parts.query}" if parts.query else ""), version=version, headers=tuple(pairs)
        )
    ]
    if status:
        rules.append(ExpectRule(HERE, 2, Expect.STATUS, statuses=statuses(status)))
    if string:
        rules.append(ExpectRule(HERE, len(rules) + 1, Expect.STRING, pattern=string))
    return RuleSet(kind=CheckKind.HTTP, rules=tuple(rules))


async def run_probe(
    program: Program, host: str, port: int, inter_ms: int, timeout_check_ms: int, tell: bool
) -> tuple[Endpoint, ProbeResult, bytes]:
    """One run; every step is printed as it happens when `tell` is set. Returns also what the server said."""
    to = await find_address(host, port)
    spec = CheckSpec(to, inter_ms=inter_ms, rise=1, fall=1, health=1, tag=0, first_ns=0, check_ms=timeout_check_ms)
    got = bytearray()

    def show(step: Step) -> None:
        if step.kind is StepKind.RECEIVED:
            got.extend(step.data)
        if tell:
            click.echo(show_step(step))

    result = await Driver(Probe(program, spec), SocketWire(to), show).run()
    return to, result, bytes(got)


def address_text(to: Endpoint) -> str:
    """An endpoint's address for a person."""
    if to.family in (4, 6):
        return socket.inet_ntop(socket.AF_INET if to.family == 4 else socket.AF_INET6, to.packed)
    return to.packed.decode("utf-8", "replace")


@click.command("probe")
@click.argument("url")
@click.option(
    "--inter",
    "inter_ms",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="as on a server line, ms: bounds the check",
)
@click.option(
    "--timeout-check", "check_ms", type=click.IntRange(0), default=0, help="as `timeout check`, ms: once connected"
)
@click.option("--method", default="OPTIONS", show_default=True, help="http: method of the request")
@click.option("--http-version", default="HTTP/1.0", show_default=True, help="http: version of the request")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="http: a header; may repeat")
@click.option(
    "--expect-status", default="", metavar="LIST", help="http: as `http-check expect status`, such as 200,301-399"
)
@click.option("--expect-string", default="", metavar="TEXT", help="http: as `http-check expect string`")
@click.option("--agent-send", default="", metavar="TEXT", help="agent: as `agent-send`; \\n and \\r are understood")
@as_option
@json_option
def command(
    url: str, inter_ms: int, check_ms: int, method: str, http_version: str, headers: tuple[str, ...], expect_status: str,
    expect_string: str, agent_send: str, dialect: str, as_json: bool,
) -> None:  # fmt: skip
    """Checks one target once, exactly as a server line would, and tells each step.

    \b
    Example:
      risefall probe http://127.0.0.1:8080/health --header 'Host: shop' --expect-status 200
    """
    parts, host, port = split_url(url)
    compiler = Compiler(DIALECTS[dialect], BUFSIZE)
    try:
        if parts.scheme == "agent":
            program = compiler.agent(agent_send.replace("\\n", "\n").replace("\\r", "\r")).program
        elif parts.scheme == "http":
            program = compiler.health(
                http_rules(parts, method, http_version, headers, expect_status, expect_string)
            ).program
        else:
            program = compiler.health(RuleSet()).program
    except NotChecked as why:
        raise StartError(f"{url}: {why}") from why
    to, result, got = trio.run(run_probe, program, unquote(host), port, inter_ms, check_ms, not as_json)
    cause = likely_cause(result, http=parts.scheme == "http", got=got)
    text = result.text.decode("latin-1")
    if as_json:
        outcome = Outcome(
            url,
            address_text(to),
            port,
            result.status.name,
            result.verdict.name.lower(),
            result.code,
            result.duration_us / 1000,
            text,
            cause,
        )
        click.echo(msgspec.json.encode(outcome))
    else:
        click.echo(f"{result.verdict.name.lower()}: {verdict_line(result)}")
        if cause:
            click.echo(f"  likely: {cause}")
    if result.self_blame:
        sys.exit(3)
    sys.exit(1 if result.verdict is Verdict.FAILED else 0)
