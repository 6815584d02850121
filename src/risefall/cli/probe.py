"""`risefall probe URL`: one check of one target, each step told."""

from __future__ import annotations

import sys
import time
from typing import Any, NoReturn

import click
import msgspec
import trio

from risefall.cli.options import as_option, json_option
from risefall.cli.probe_run import Run, address_text, run_grpc, run_probe
from risefall.cli.probe_targets import (
    BINARY_SCHEMES,
    GRPC_SCHEMES,
    HttpWords,
    Target,
    Way,
    fits,
    parse_target,
    rule_set,
    split_host_port,
)
from risefall.config.haproxy.dialect import DIALECTS, Dialect
from risefall.engine.causes import Seen, grpc_cause, likely_cause, tls_cause
from risefall.engine.drive import Step, StepKind
from risefall.engine.explain import phases, show_phases, show_step, verdict_line
from risefall.engine.grpc import Fault, Health
from risefall.engine.native import ProbeResult, Program
from risefall.engine.programs import Compiler, NotChecked
from risefall.engine.tlswire import show_certificate
from risefall.errors import StartError
from risefall.status import Verdict

BUFSIZE = 16384


class Outcome(msgspec.Struct, frozen=True):
    """What `--json` prints. Times are ms, null for what did not come; certificate_days: null without a certificate."""

    url: str
    address: str
    port: int
    status: str
    verdict: str
    code: int
    duration_ms: float
    text: str
    cause: str
    resolve_ms: float
    connect_ms: float | None
    tls_ms: float | None
    first_byte_ms: float | None
    tls: str
    certificate: str
    certificate_names: tuple[str, ...]
    certificate_days: int | None


def teller(target: Target, as_json: bool) -> Any:
    """What happens to each step as it comes."""
    binary = target.scheme in BINARY_SCHEMES

    def tell(step: Step) -> None:
        if not as_json:
            click.echo(show_step(step, binary=binary))

    return tell


def compile_target(target: Target, words: HttpWords, agent_send: str, dialect: Dialect) -> Program:
    """The check program of a target. Raises StartError for what this build cannot check."""
    compiler = Compiler(dialect, BUFSIZE)
    try:
        if target.scheme == "agent":
            return compiler.agent(agent_send.replace("\\n", "\n").replace("\\r", "\r")).program
        return compiler.health(rule_set(target, words, dialect)).program
    except NotChecked as why:
        raise StartError(f"{target.url}: {why}") from why


class Report(msgspec.Struct, frozen=True):
    """One run in the words of either kind of check. line: the verdict for people."""

    status: str
    verdict: str
    code: int
    duration_ms: float
    text: str
    line: str
    cause: str
    exit_code: int


def report_probe(result: ProbeResult, run: Run, target: Target, words: HttpWords) -> Report:
    """A check program's result."""
    names = {header.partition(":")[0].strip().lower() for header in words.headers}
    seen = Seen(
        target.scheme,
        run.to,
        run.bytes_of(StepKind.RECEIVED),
        run.bytes_of(StepKind.SENT),
        run.failure,
        "host" in names,
    )
    return Report(
        status=result.status.name,
        verdict=result.verdict.name.lower(),
        code=result.code,
        duration_ms=result.duration_us / 1000,
        text=result.text.decode("latin-1"),
        line=verdict_line(result),
        cause=likely_cause(result, seen),
        exit_code=3 if result.self_blame else int(result.verdict is Verdict.FAILED),
    )


def report_grpc(health: Health, run: Run, service: str) -> Report:
    """A gRPC health call's result. Without an answer the status says how the call ended."""
    status = health.serving.name if health.serving is not None else health.code.name if health.code else ""
    status = status or {Fault.TIMED_OUT: "TIMEOUT", Fault.CONNECT: "NO_CONNECTION"}.get(health.fault, "NO_ANSWER")
    line = status
    if health.code is not None:
        line += f", grpc-status {int(health.code)} ({health.code.name})"
    line += f", in {health.duration_ms:.3f} ms" + (f": {health.message}" if health.message else "")
    return Report(
        status=status,
        verdict="passed" if health.passed else "failed",
        code=health.code or 0,
        duration_ms=health.duration_ms,
        text=health.message,
        line=line,
        cause=tls_cause(run.failure) if run.failure else grpc_cause(health, service),
        exit_code=int(not health.passed),
    )


def print_json(target: Target, run: Run, report: Report) -> None:
    """One object."""
    times = phases(run.resolve_ms, run.steps)
    certificate = run.distrusted or (run.facts.certificate if run.facts else None)
    outcome = Outcome(
        url=target.url,
        address=address_text(run.to),
        port=target.port,
        status=report.status,
        verdict=report.verdict,
        code=report.code,
        duration_ms=report.duration_ms,
        text=report.text,
        cause=report.cause,
        resolve_ms=times.resolve,
        connect_ms=times.connect,
        tls_ms=times.tls,
        first_byte_ms=times.first_byte,
        tls=run.facts.protocol if run.facts else "",
        certificate=certificate.subject if certificate else "",
        certificate_names=certificate.names if certificate else (),
        certificate_days=certificate.days_left(time.time()) if certificate else None,
    )
    click.echo(msgspec.json.encode(outcome))


def print_words(run: Run, report: Report) -> None:
    """The lines behind the transcript."""
    click.echo(f"{report.verdict}: {report.line}")
    if run.distrusted is not None:
        click.echo(f"  shown: {show_certificate(run.distrusted, time.time())}")
    if report.cause:
        click.echo(f"  likely: {report.cause}")
    click.echo(f"  {show_phases(phases(run.resolve_ms, run.steps))}")


def finish(target: Target, run: Run, report: Report, as_json: bool) -> NoReturn:
    """Prints and ends."""
    if as_json:
        print_json(target, run, report)
    else:
        print_words(run, report)
    sys.exit(report.exit_code)


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
@click.option("--proto", type=click.Choice(["h1", "h2"]), default="h1", help="http: as `check-proto`; h2 is HTTP/2")
@click.option("--agent-send", default="", metavar="TEXT", help="agent: as `agent-send`; \\n and \\r are understood")
@click.option("--sni", default=None, metavar="NAME", help="TLS: as `check-sni`; the URL's host where it is a name")
@click.option("--alpn", default="", metavar="LIST", help="TLS: as `check-alpn`, such as h2,http/1.1")
@click.option("--ca-file", default="", metavar="FILE", help="TLS: as `ca-file`; the system's without it")
@click.option("--insecure", is_flag=True, help="TLS: as `verify none`")
@click.option("--proxy-protocol", type=click.Choice(["v1", "v2"]), default=None, help="as `check-send-proxy`")
@click.option("--socks4", default="", metavar="HOST:PORT", help="as `check-via-socks4`: through this proxy")
@as_option
@json_option
def command(
    url: str, inter_ms: int, check_ms: int, method: str, http_version: str, headers: tuple[str, ...], expect_status: str,
    expect_string: str, proto: str, agent_send: str, sni: str | None, alpn: str, ca_file: str, insecure: bool,
    proxy_protocol: str | None, socks4: str, dialect: str, as_json: bool,
) -> None:  # fmt: skip
    """Checks one target once, exactly as a server line would, and tells each step.

    \b
    URL is one of
      tcp://HOST:PORT          a connection          tls://HOST:PORT      a handshake
      http://HOST[:PORT]/PATH  option httpchk        https://...          the same over TLS
      agent://HOST:PORT        agent-check           redis://HOST         option redis-check
      mysql://[USER@]HOST      option mysql-check    pgsql://USER@HOST    option pgsql-check
      smtp://HOST[/EHLO-NAME]  option smtpchk        ldap://HOST          option ldap-check
      spop://HOST:PORT         option spop-check     ssl-hello://HOST     option ssl-hello-chk
      grpc://HOST:PORT[/SERVICE], grpcs://...        grpc.health.v1.Health/Check
    and all but gRPC's take the path of a UNIX socket: redis:///run/redis.sock

    \b
    Example:
      risefall probe http://127.0.0.1:8080/health --header 'Host: shop' --expect-status 200
    """
    target = parse_target(url)
    way = Way(
        sni=sni, alpn=tuple(filter(None, alpn.split(","))), ca_file=ca_file, verify=not insecure, h2=proto == "h2",
        proxy=proxy_protocol or "", socks4=socks4,
    )  # fmt: skip
    fits(target, way)
    if socks4:
        split_host_port(socks4, "--socks4")
    tell = teller(target, as_json)
    if target.scheme in GRPC_SCHEMES:
        service = target.path.removeprefix("/")
        limit_ms = min(inter_ms, check_ms or inter_ms)
        health, run = trio.run(lambda: run_grpc(service, target, way, limit_ms=limit_ms, tell=tell))
        finish(target, run, report_grpc(health, run, service), as_json)
    words = HttpWords(method, http_version, headers, expect_status, expect_string)
    program = compile_target(target, words, agent_send, DIALECTS[dialect])
    try:
        result, run = trio.run(lambda: run_probe(program, target, way, inter_ms=inter_ms, check_ms=check_ms, tell=tell))
    except NotChecked as why:
        raise StartError(f"{url}: {why}") from why
    finish(target, run, report_probe(result, run, target, words), as_json)
