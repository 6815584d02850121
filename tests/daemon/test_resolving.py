"""What a reply means, and a section that asks real name servers on loopback."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dns.message
import pytest
import trio

from names_kit import NameServer as Played
from risefall.config.haproxy.dialect import DIALECTS
from risefall.config.haproxy.model import Address, Family, NameServer, Resolvers
from risefall.daemon.resolving import Resolver, machine_servers, read_answer
from risefall.state.answers import Answer, Kind, Outcome, Service
from risefall.state.commands import Refused
from risefall.state.fleet import Effects, Fleet
from risefall.state.moving import rename
from risefall.state.resolution import Wish
from risefall.state.server import Admin, Op, ProxyState, ServerState
from risefall.surfaces.resolvers import COUNTERS, Tally

HEAD = "id 1\nopcode QUERY\nflags QR {flags}\nrcode {rcode}\n;QUESTION\na.test. IN {kind}\n;ANSWER\n{answer}\n"


def reply(answer: str = "", *, kind: str = "A", rcode: str = "NOERROR", flags: str = "", more: str = "") -> Answer:
    text = HEAD.format(flags=flags, rcode=rcode, kind=kind, answer=answer)
    message = dns.message.from_text(f"{text};AUTHORITY\n;ADDITIONAL\n{more}\n")
    return read_answer(message, Kind[kind])


def test_addresses() -> None:
    found = reply("a.test. 5 IN A 127.0.0.1\na.test. 5 IN A 127.0.0.2")
    assert found.outcome is Outcome.VALID
    assert sorted(found.addresses) == [b"\x7f\0\0\1", b"\x7f\0\0\2"]
    assert reply("a.test. 5 IN AAAA ::1", kind="AAAA").addresses == (b"\0" * 15 + b"\1",)


def test_an_alias_is_followed() -> None:
    assert reply("a.test. 5 IN CNAME b.test.\nb.test. 5 IN A 127.0.0.1").addresses == (b"\x7f\0\0\1",)


def test_services_and_what_comes_along() -> None:
    found = reply("a.test. 5 IN SRV 0 512 81 b.test.", kind="SRV", more="b.test. 5 IN A 127.0.0.1\nb.test. 5 IN TXT x")
    assert found.services == (Service("b.test", 81, 512),)
    assert found.additional == (("b.test", b"\x7f\0\0\1"),)


def test_services_of_an_answer_that_is_cut() -> None:
    """HAProxy uses what there is (run on 2.6.12); of addresses it does not."""
    found = reply("a.test. 5 IN SRV 0 512 81 b.test.", kind="SRV", flags="TC")
    assert (found.services, found.count) == ((Service("b.test", 81, 512),), "valid")


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (lambda: reply(rcode="NXDOMAIN"), Outcome.NX),
        (lambda: reply(rcode="REFUSED"), Outcome.REFUSED),
        (lambda: reply(rcode="SERVFAIL"), Outcome.OTHER),
        (lambda: reply(), Outcome.OTHER),
        (lambda: reply("a.test. 5 IN A 127.0.0.1", flags="TC"), Outcome.OTHER),
        (lambda: reply("b.test. 5 IN A 127.0.0.1"), Outcome.OTHER),
        (lambda: reply("a.test. 5 IN CNAME a.test."), Outcome.OTHER),
    ],
)
def test_what_is_no_answer(found: Callable[[], Answer], outcome: Outcome) -> None:
    assert (found().outcome, found().addresses) == (outcome, ())


def test_the_machines_own_name_servers(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "search a.test\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver nonsense\n# nameserver 1.1.1.1\n"
    )
    assert [(one.name, one.address.port) for one in machine_servers(path)] == [("10.0.0.1", 53), ("fe80::1%eth0", 53)]


@pytest.mark.parametrize(
    ("found", "counter"),
    [
        (lambda: reply("a.test. 5 IN A 127.0.0.1"), "valid"),
        (lambda: reply(rcode="NXDOMAIN"), "nx"),
        (lambda: reply(rcode="REFUSED"), "refused"),
        (lambda: reply(rcode="SERVFAIL"), "other"),
        (lambda: reply(), "any_err"),
        (lambda: reply("a.test. 5 IN A 127.0.0.1", flags="TC"), "truncated"),
        (lambda: reply("a.test. 5 IN CNAME a.test."), "cname_error"),
    ],
)
def test_every_reply_is_counted(found: Callable[[], Answer], counter: str) -> None:
    assert found().count == counter
    assert counter in COUNTERS


class Names:
    """What a resolver needs of the daemon: effects end here."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.lines: list[str] = []
        self.said: list[str] = []
        self.tally = Tally("r")

    def apply(self, effects: Effects) -> None:
        self.lines += [line.text for line in effects.lines]

    def say(self, text: str) -> None:
        self.said.append(text)


def made(settings: Resolvers, dialect: str = "2.6") -> tuple[Names, Resolver]:
    proxy = ProxyState("b", "backend", 2, "tcp", "roundrobin", 0, 1, False, False, False)
    server = ServerState("s", 0, 1, "127.0.0.1", 80, "a.test", Op.RUNNING, Admin(0), 1, 1, False, None, None, 0)
    names = Names(Fleet([proxy], [server], DIALECTS[dialect], 0))
    tally = names.tally
    return names, Resolver(settings, [Wish(0, "a.test", prefer=Kind.A)], names, names, tally)  # type: ignore[arg-type]


async def wait_for(holds: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not holds():
            await trio.sleep(0.01)


def asking(port: int, **more: int) -> Resolvers:
    server = NameServer("ns1", Address(Family.IPV4, "127.0.0.1", port))
    return Resolvers("r", (server,), **{"resolve_ms": 50, "retry_ms": 500, **more})


def test_it_asks_and_asks_again() -> None:
    async def run() -> None:
        with Played() as played:
            played.zone["a.test", "A"] = ["127.0.0.7"]
            names, resolver = made(asking(played.port))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(resolver.run)
                await wait_for(lambda: names.fleet.servers[0].address == "127.0.0.7")
                played.zone["a.test", "A"] = ["127.0.0.8"]
                await wait_for(lambda: names.fleet.servers[0].address == "127.0.0.8")
                nursery.cancel_scope.cancel()
            counts = names.tally.nameservers["ns1"]
            assert counts["update"] == 2
            assert counts["sent"] >= counts["valid"] >= 2
            assert names.lines == [
                "b/s changed its IP from 127.0.0.1 to 127.0.0.7 by r/ns1.",
                "b/s changed its IP from 127.0.0.7 to 127.0.0.8 by r/ns1.",
            ]

    trio.run(run)


@pytest.mark.parametrize(
    ("dialect", "datagram", "expected"), [("3", False, True), ("3", True, False), ("2.6", False, False)]
)
def test_a_cut_answer_is_asked_for_over_tcp(dialect: str, datagram: bool, expected: bool) -> None:
    """By HAProxy 3.5, of name servers without `udp@`. One that resets is asked again when it is time."""

    async def run() -> None:
        with Played(tcp=True) as played:
            played.zone["a.test", "A"] = ["127.0.0.7"]
            played.truncated = {"a.test"}
            played.resets = 2
            server = NameServer("ns1", Address(Family.IPV4, "127.0.0.1", played.port), datagram=datagram)
            names, resolver = made(Resolvers("r", (server,), resolve_ms=50, retry_ms=500), dialect)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(resolver.run)
                counts = names.tally.nameservers.setdefault("ns1", Counter())
                await wait_for(lambda: counts["truncated"] > 1)
                if expected:
                    await wait_for(lambda: names.fleet.servers[0].address == "127.0.0.7" and counts["tcp_fallback"] > 1)
                nursery.cancel_scope.cancel()
            assert bool(played.over_tcp) is expected
            assert names.fleet.servers[0].address == ("127.0.0.7" if expected else "127.0.0.1")

    trio.run(run)


def test_another_name_is_asked_for_at_once() -> None:
    """The address of the old one stays until there is an answer."""

    async def run() -> None:
        with Played() as played:
            played.zone["a.test", "A"] = ["127.0.0.7"]
            names, resolver = made(asking(played.port, resolve_ms=60_000))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(resolver.run)
                await wait_for(lambda: names.fleet.servers[0].address == "127.0.0.7")
                assert rename(names.fleet, 0, "a.test") == "no need to change the FDQN by 'stats socket command'"
                with pytest.raises(Refused, match=r"could not update b/s FQDN by 'stats socket command'"):
                    rename(names.fleet, 0, "a..b")
                told = rename(names.fleet, 0, "b.test")
                assert told == "b/s changed its FQDN from a.test to b.test by 'stats socket command'"
                resolver.rename(0, "b.test")
                assert names.fleet.servers[0].address == "127.0.0.7"
                played.zone["b.test", "A"] = ["127.0.0.9"]
                resolver.rename(0, "b.test")
                await wait_for(lambda: names.fleet.servers[0].address == "127.0.0.9")
                nursery.cancel_scope.cancel()

    trio.run(run)


def test_nobody_to_ask() -> None:
    """It says so, and ends at once: the rest of the daemon goes on."""
    names, resolver = made(Resolvers("r"))
    trio.run(resolver.run)
    assert names.said == ["resolvers r: no name server to ask, so names stay as they are"]


def test_silence_is_asked_again() -> None:
    async def run() -> None:
        with Played() as played:
            played.silent.add("a.test")
            _, resolver = made(asking(played.port, retry_ms=20))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(resolver.run)
                await wait_for(lambda: played.asked["a.test", "A"] >= 5)
                nursery.cancel_scope.cancel()

    trio.run(run)
