"""What every command that changes servers answers, right and wrong, to haproxy 2.6 and to risefall: the same bytes.

Some five seconds. The last lists are those of HAProxy's own regression tests of the CLI (server/cli_*.vtc, cli/levels.vtc,
cli/runtime_settings.vtc), as far as 2.6 knows their commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from hands_kit import Pair, running

pytestmark = pytest.mark.usefixtures("version")

PROXIES = """
resolvers rr
  nameserver n 127.0.0.1:1
frontend f1
  maxconn 20
  bind {folder}/f1.sock
  acl busy srv_sess_rate(b1/s5) gt 50
  default_backend b1
backend b1
  option httpchk
  fullconn 30
  default-server inter 1h agent-inter 10h
  server s1 127.0.0.1:1 check
  server s2 127.0.0.1:1
  server s3 127.0.0.1:1 track s1
  server s4 127.0.0.1:1 weight 40 agent-check agent-port 1
  server s5 127.0.0.1:1 check
  server s6 127.0.0.1:1 check agent-check agent-port 1
backend b2
  balance static-rr
  server s1 127.0.0.1:1 check inter 1h weight 10
backend b3
  disabled
  server s1 127.0.0.1:1 check inter 1h
backend tcp
  mode tcp
  server s1 127.0.0.1:1
backend dns
  server s1 127.0.0.1:1 resolvers rr resolve-prefer ipv4
backend tls
  server s1 127.0.0.1:1 no-ssl
  default-server ssl verify none
  server s2 127.0.0.1:1 no-ssl
  server s3 127.0.0.1:1
backend used
  balance random
  use-server s3 unless {{ always_false }}
  server s1 127.0.0.1:1
  server s2 127.0.0.1:1 check inter 1h
  server s3 127.0.0.1:1 track s2
  server s4 127.0.0.1:1
"""

BALANCES = (
    "roundrobin", "static-rr", "leastconn", "first", "random", "source", "uri", "url_param id", "hdr(host)", "rdp-cookie",
    "hash src",
)  # fmt: skip
HASHES = ("", "map-based", "consistent sdbm avalanche")

NAMES = (
    "", "b1", "b1/", "/s1", "/", "nope/s1", "b1/nope", "b3/s1", "#3/#1", "#99/#1", "#3/#99", "b1/#1", "b1/s1/x", "b1/s1",
)  # fmt: skip
NAMED = (
    "set server", "enable server", "disable server", "enable health", "disable health", "enable agent", "disable agent",
    "set weight", "get weight", "set maxconn server", "del server", "shutdown sessions server",
)  # fmt: skip
SUBCOMMANDS = (
    "", "nonsense", "name x", "state", "state foo", "state ready x", "health", "health foo", "agent", "agent foo", "agent-send",
    "agent-addr", "agent-addr foo", "agent-addr 127.0.0.2 port x", "agent-port", "agent-port x", "agent-port 0",
    "agent-port 70000", "agent-port 5x", "check-addr", "check-addr foo", "check-addr 127.0.0.2 prt 4",
    "check-addr 127.0.0.2 port x", "check-addr 127.0.0.2 port 70000", "check-port", "check-port x", "check-port 0",
    "check-port 70000", "check-port -1", "check-port 5x", "weight", "weight 300", "weight -1", "weight 5x", "weight x",
    "weight x%", "weight -5%", "weight 50%x", "weight %", "weight 1.5", "addr", "addr foo", "addr foo bar",
    "addr 127.0.0.1 prt 5", "addr 127.0.0.1 port", "addr 127.0.0.1 port x", "addr 127.0.0.1 port 70000",
    "addr 127.0.0.1 port -1", "addr 127.0.0.1 port +1", "addr 256.0.0.1", "addr ::zz", "fqdn", "fqdn x.example", "ssl",
    "ssl foo", "ssl on", "ssl off",
)  # fmt: skip
SERVERS = ("b1/s1", "b1/s2", "b1/s3", "b1/s4", "b1/s6", "b2/s1", "tls/s1", "tls/s2", "tls/s3")
WEIGHTS = ("", "x", "300", "-1", "50%", "5x", "0%", "100%", "1000%", "30000%", "99999999999", "256", "0", "1", "10")
MAXIMA = ("", "x", "5x", "-1", "0", "7", "99999999999", "007", "0x10", "+3")
LIMITS = (
    "set maxconn frontend", "set maxconn frontend nope 3", "set maxconn frontend f1", "set maxconn frontend f1 -1",
    "set maxconn frontend f1 12", "set maxconn global", "set rate-limit", "set rate-limit x y 1",
    "set rate-limit connections global", "set rate-limit sessions global -1", "set timeout", "set timeout cli",
    "set timeout cli x", "set timeout cli 30", "set severity-output", "set severity-output foo",
    "show stat domain foo", "show servers state nope", "show servers conn nope", "show backend",
    "disable frontend f1", "disable frontend f1", "enable frontend f1", "enable frontend f1", "disable frontend b1",
    "shutdown frontend nope", "clear counters", "show errors nope", "expert-mode", "experimental-mode on",
)  # fmt: skip
LEVELS = (
    "show cli level", "operator; show cli level", "user; show cli level", "operator; user; show cli level",
    "user; operator; show cli level", "operator; set maxconn global 1", "user; set maxconn global 1",
    "user; expert-mode on", "operator; experimental-mode on", "operator; clear counters", "user; clear counters",
    "operator; clear counters all", "operator; set server b1/s1 state ready", "user; set weight b1/s1 1",
    "operator; add server b1/n 127.0.0.1:1", "operator; del server b1/s1", "user; show errors", "user; show env X",
    "user; get weight b1/s1", "operator; disable frontend f1", "user; set timeout cli 30",
)  # fmt: skip
FROM_REGTESTS = (
    "experimental-mode on; add server nope/s1 127.0.0.1:1", "experimental-mode on; add server used/new",
    "experimental-mode on; add server b2/new 127.0.0.1:1", "add server tcp/new 127.0.0.1:1 proto h2",
    "add server used/x 127.0.0.1:1 proto nope", "add server tcp/y 127.0.0.1:1 check check-proto h2",
    "add server used/new 127.0.0.1:1", "add server used/new 127.0.0.1:1", "add server used/h2 127.0.0.1:1 proto h2",
    "add server used/t1 127.0.0.1:1 track used/s1", "add server used/t1 127.0.0.1:1 track used/s2",
    "add server used/t2 127.0.0.1:1 track used/t1", "add server used/z 127.0.0.1:1 no-ssl",
    "add server used/z 127.0.0.1:1 tcp-ut 5s", "add server used/z 127.0.0.1:1 ssl-reuse no-check-ssl",
    "add server used/z 127.0.0.1:1 no-check-send-proxy", "add server used/z 127.0.0.1:1 from none", "add server help",
    "add server used/z 127.0.0.1:1 cookie x", "set server used/h2 ssl on", "set server used/h2 ssl foo", "del server used/s1", "del server used/s2", "del server used/s3",
    "del server used/s4", "disable server used/s4; del server used/s4", "del server used/s4", "disable server b1/s5",
    "del server b1/s5", "set server used/s1 fqdn foo.fqdn", "set server dns/s1 fqdn local.host",
    "set server dns/s1 fqdn local.host", "set server dns/s1 fqdn other.host", "set server tls/s1 ssl on",
    "set server tls/s2 ssl on", "set server tls/s3 ssl off",
)  # fmt: skip


def everything() -> Iterator[str]:
    """Every line, in an order in which each finds what it needs."""
    yield from (f"{command} {name}".strip() for command, name in product(NAMED, NAMES))
    yield from (f"set server {server} {rest}".strip() for server, rest in product(SERVERS, SUBCOMMANDS))
    for server in ("b1/s1", "b1/s2", "b1/s3", "b1/s4", "b2/s1"):
        for verb, what in product(("enable", "disable", "enable"), ("health", "agent")):
            yield f"{verb} {what} {server}"
        for weight in WEIGHTS:
            yield from (f"set weight {server} {weight}".strip(), f"get weight {server}")
        yield from (f"set maxconn server {server} {most}".strip() for most in MAXIMA)
    yield from LIMITS
    yield from LEVELS
    yield from FROM_REGTESTS


def test_every_answer(tmp_path: Path) -> None:
    with running(tmp_path, PROXIES.format(folder=tmp_path / "haproxy")) as pair:
        pair.settle()
        told = [apart for line in everything() if (apart := answers_apart(pair, line))]
        told += pair.settle()
        assert not told, "\n".join(told)


def test_which_balances_are_static(tmp_path: Path) -> None:
    """What weights a server may get, and whether servers may be added, by `balance` and `hash-type`, also of defaults."""
    text, lines = "", []
    for each, (algorithm, hashing) in enumerate(product(BALANCES, HASHES)):
        said = f"  hash-type {hashing}\n" if hashing else ""
        text += f"backend b{each}\n  balance {algorithm}\n{said}  server s1 127.0.0.1:1 weight 10\n"
        lines += [f"set weight b{each}/s1 7", f"get weight b{each}/s1", f"add server b{each}/new 127.0.0.1:1"]
    text += "defaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n  hash-type consistent\n"
    text += "backend of\n  balance uri\n  server s1 127.0.0.1:1\n"
    lines += ["set weight of/s1 7"]
    with running(tmp_path, text) as pair:
        told = [apart for line in lines if (apart := answers_apart(pair, line))]
        told += pair.settle()
        assert not told, "\n".join(told)


def answers_apart(pair: Pair, line: str) -> str:
    """Where the answers to a line differ, "" where they do not."""
    theirs, ours = pair.both(line)
    return "" if theirs == ours else f"{line}: haproxy {theirs!r}, risefall {ours!r}"
