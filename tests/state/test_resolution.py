"""The policy of names in virtual time: what is asked when, who gets which address, what is held, who goes into maintenance."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from state_kit import Rig

from risefall.config.haproxy.model import Resolvers
from risefall.state.answers import Answer, Kind, Outcome, Records, Service, labels, xxh32
from risefall.state.exchange import Aim
from risefall.state.fleet import Effects, Work
from risefall.state.resolution import Ask, Resolving, Wish
from risefall.state.server import MAINT, Admin, Op

SETTINGS = Resolvers(
    "r", resolve_ms=1000, retry_ms=200, retries=2, hold_nx_ms=3000, hold_timeout_ms=5000, hold_other_ms=4000
)


def good(*texts: str) -> Answer:
    return Answer(Outcome.VALID, addresses=tuple(ipaddress.ip_address(text).packed for text in texts))


def services(*found: tuple[str, int, int], **extra: str) -> Answer:
    additional = tuple((f"{name}.test", ipaddress.ip_address(text).packed) for name, text in extra.items())
    return Answer(Outcome.VALID, services=tuple(Service(*one) for one in found), additional=additional)


class Names:
    """A policy, the zone that its questions find, and all that was told."""

    def __init__(self, *wishes: Wish, settings: Resolvers = SETTINGS, nameservers: int = 1, count: int = 0) -> None:
        rig = Rig()
        rig.proxy("b")
        for number in range(count or len(wishes)):
            rig.server(f"s{number + 1}")
        self.fleet = rig.start().fleet
        for wish in wishes:
            server = self.fleet.servers[wish.server]
            server.address, server.fqdn = "", "" if wish.service else wish.name
            server.srv_record = wish.name if wish.service else ""
            self.fleet.administer(Work(self.fleet, 0), wish.server, ((True, Admin.RMAINT),))
        self.now_ms = 0
        self.policy = Resolving(settings, list(wishes), self.fleet, 0, nameservers)
        self.zone: dict[tuple[str, Kind], Answer] = {}
        self.log: list[str] = []
        self.asked: list[tuple[int, str, str]] = []
        self.effects = Effects()

    def put(self, name: str, answer: Answer, kind: Kind = Kind.A) -> None:
        self.zone[name, kind] = answer

    def run(self, until_ms: int) -> list[str]:
        """Lets time pass; questions are answered at once, by the zone or not at all. The lines that were told."""
        self.log = []
        while (due := self.policy.due_ms()) is not None and due <= until_ms:
            self.now_ms = max(self.now_ms, due)
            asks, effects = self.policy.step(self.now_ms)
            self._note(effects)
            self._answer(asks)
        self.now_ms = until_ms
        return self.log

    def _answer(self, asks: list[Ask]) -> None:
        asks = list(asks)
        while asks:
            ask = asks.pop(0)
            self.asked.append((self.now_ms, ask.name, ask.kind.name))
            answer = self.zone.get((ask.name, ask.kind), Answer(Outcome.NX))
            if answer.outcome is Outcome.TIMEOUT:
                continue
            more, effects = self.policy.answer(ask, answer, "r/ns1", self.now_ms)
            self._note(effects)
            asks += more

    def _note(self, effects: Effects) -> None:
        self.effects = effects if effects.orders else self.effects
        self.log += [line.text.split(". ")[0].rstrip(".") for line in effects.lines]

    def addresses(self) -> list[str]:
        return [server.address for server in self.fleet.servers]


def wish(server: int, name: str = "a.test", **more: object) -> Wish:
    return Wish(server, name, **{"prefer": Kind.A, **more})  # type: ignore[arg-type]


def test_an_address_appears_and_changes() -> None:
    names = Names(wish(0))
    names.put("a.test", good("127.0.0.1"))
    assert names.run(0) == [
        "b/s1 changed its IP from (none) to 127.0.0.1 by r/ns1",
        "Server b/s1 ('a.test') is UP/READY (resolves again)",
        "Server b/s1 administratively READY thanks to valid DNS answer",
    ]
    (order,) = [one for one in names.effects.orders if one.which == 0]
    assert (order.change.aim, order.change.at_once) == (Aim("127.0.0.1", 80), True)
    assert order.change.paused is False
    assert order.change.epoch > 0
    names.put("a.test", good("127.0.0.2"))
    assert names.run(999) == []
    assert names.run(1000) == ["b/s1 changed its IP from 127.0.0.1 to 127.0.0.2 by r/ns1"]


def test_an_address_in_use_stays() -> None:
    names = Names(wish(0))
    names.put("a.test", good("127.0.0.9"))
    names.run(0)
    names.put("a.test", good(*(f"127.0.0.{number}" for number in range(1, 20))))
    assert names.run(5000) == []
    assert names.addresses() == ["127.0.0.9"]


def test_servers_share_no_address_unless_they_may() -> None:
    strict = Names(wish(0), wish(1))
    strict.put("a.test", good("127.0.0.1"))
    strict.run(0)
    assert strict.addresses() == ["127.0.0.1", ""]
    loose = Names(wish(0, dup_ip=True), wish(1, dup_ip=True))
    loose.put("a.test", good("127.0.0.1"))
    assert loose.run(0)[3] == "b/s2 changed its IP from (none) to 127.0.0.1 by DNS cache"
    assert loose.addresses() == ["127.0.0.1"] * 2
    assert [name for _, name, _ in loose.asked] == ["a.test"]


def test_who_has_lost_its_address_tells_no_ip() -> None:
    names = Names(wish(0), wish(1))
    names.put("a.test", good("127.0.0.1", "127.0.0.3"))
    names.run(0)
    names.put("a.test", good(names.addresses()[1]))
    assert names.run(1000) == ["Server b/s1 is going DOWN for maintenance (No IP for server )"]
    assert names.fleet.servers[0].admin & MAINT
    assert names.addresses()[0] == ""


def test_the_order_of_addresses_is_haproxys() -> None:
    """Run on 2.6.12: resolve-prefer plays no part in it, nor the order of the answer."""
    names = Names(*(wish(number) for number in range(12)))
    names.put("a.test", good(*(f"127.1.{number}.{number * 7}" for number in range(1, 13))))
    names.run(0)
    assert [int(address.split(".")[2]) for address in names.addresses()] == [12, 9, 8, 3, 10, 2, 7, 5, 6, 4, 11, 1]


def test_the_network_asked_for_wins() -> None:
    names = Names(wish(0, networks=(ipaddress.ip_network("127.0.7.0/24"),)))
    names.put("a.test", good("127.0.0.1", "127.0.7.9", "127.0.8.1"))
    names.run(0)
    assert names.addresses() == ["127.0.7.9"]


def test_the_other_family_is_asked_at_once() -> None:
    names = Names(wish(0, prefer=Kind.AAAA))
    names.put("a.test", good("127.0.0.1"))
    names.run(0)
    assert names.asked == [(0, "a.test", "AAAA"), (0, "a.test", "A")]
    assert names.addresses() == ["127.0.0.1"]
    names.put("a.test", good("::1"), Kind.AAAA)
    names.run(1000)
    assert names.addresses() == ["::1"]


def test_the_pace_of_a_name_that_is_not_there() -> None:
    """Both families, again after `timeout retry`, then a pause of `timeout resolve`: as 2.6.12 asks with two retries."""
    names = Names(wish(0))
    names.run(1300)
    assert [(at, kind) for at, _, kind in names.asked] == [
        (0, "A"), (0, "AAAA"), (200, "A"), (200, "AAAA"), (1200, "A"), (1200, "AAAA"),
    ]  # fmt: skip


def test_the_pace_of_silence() -> None:
    names = Names(wish(0))
    names.put("a.test", Answer(Outcome.TIMEOUT))
    names.run(1500)
    assert names.asked == [(at, "a.test", "A") for at in (0, 200, 1400)]


@pytest.mark.parametrize(
    ("bad", "cause", "hold_ms"),
    [
        (Outcome.NX, "DNS NX status", SETTINGS.hold_nx_ms),
        (Outcome.REFUSED, "DNS refused status", SETTINGS.hold_refused_ms),
        (Outcome.TIMEOUT, "DNS timeout status", SETTINGS.hold_timeout_ms),
        (Outcome.OTHER, "unspecified DNS error", SETTINGS.hold_other_ms),
    ],
)
def test_what_is_held_how_long(bad: Outcome, cause: str, hold_ms: int) -> None:
    """The hold counts from the last good answer; it ends at the first run that ends after it."""
    names = Names(wish(0))
    names.put("a.test", good("127.0.0.1"))
    names.run(0)
    names.put("a.test", Answer(bad))
    names.put("a.test", Answer(bad), Kind.AAAA)
    run_ms = SETTINGS.resolve_ms + SETTINGS.retries * SETTINGS.retry_ms
    ended_ms = next(at for at in range(0, hold_ms + run_ms, 100) if names.run(at))
    assert names.log[0] == f"Server b/s1 is going DOWN for maintenance ({cause})"
    assert ended_ms >= hold_ms
    assert names.addresses() == [""]
    (order,) = [one for one in names.effects.orders if one.which == 0]
    assert order.change.paused is True


def test_a_bad_answer_waits_for_the_other_name_servers() -> None:
    names = Names(wish(0), nameservers=2)
    (ask,), _ = names.policy.step(0)
    assert names.policy.answer(ask, Answer(Outcome.NX), "r/ns1", 5) == ([], Effects())
    _, effects = names.policy.answer(ask, good("127.0.0.1"), "r/ns2", 6)
    assert effects.lines[0].text.endswith("by r/ns2.")
    late, effects = names.policy.answer(ask, good("127.0.0.5"), "r/ns1", 7)
    assert (late, effects.lines) == ([], [])


def test_records_stay_for_hold_obsolete() -> None:
    settings = Resolvers("r", resolve_ms=1000, retry_ms=200, hold_obsolete_ms=2500)
    names = Names(wish(0), settings=settings)
    names.put("a.test", good("127.0.0.1"))
    names.run(0)
    names.put("a.test", good("127.0.0.2"))
    assert names.run(2000) == []
    assert names.run(3000) == ["b/s1 changed its IP from 127.0.0.1 to 127.0.0.2 by r/ns1"]


def svc(server: int, **more: object) -> Wish:
    return wish(server, "_h.test", service=True, **more)


def test_services_fill_a_template() -> None:
    names = Names(svc(0), svc(1), svc(2))
    names.put("_h.test", services(("x.test", 81, 512), ("y.test", 82, 10)), Kind.SRV)
    names.put("x.test", good("127.0.1.1"))
    names.put("y.test", good("127.0.1.2"))
    names.run(0)
    servers = names.fleet.servers
    found = sorted((one.fqdn, one.address, one.port, one.uweight) for one in servers)
    assert found == [("", "", 80, 1), ("x.test", "127.0.1.1", 81, 2), ("y.test", "127.0.1.2", 82, 1)]
    assert all(one.admin & Admin.HMAINT for one in servers if one.fqdn)
    names.put("_h.test", services(("y.test", 82, 65535)), Kind.SRV)
    lines = names.run(1000)
    assert [line.partition("is ")[2] for line in lines] == [
        "going DOWN for maintenance (entry removed from SRV record)"
    ]
    assert sorted((one.fqdn, one.port, one.uweight) for one in servers) == [
        ("", 0, 2),
        ("", 80, 1),
        ("y.test", 82, 256),
    ]
    names.asked.clear()
    names.run(3000)
    assert ("x.test", "A") not in {(name, kind) for _, name, kind in names.asked}


def test_additional_records_need_no_question() -> None:
    names = Names(svc(0, ignore_weight=True))
    names.put("_h.test", services(("x.test", 81, 512), x="127.0.1.1"), Kind.SRV)
    assert names.run(0) == [
        "b/s1 changed its IP from (none) to 127.0.1.1 by DNS additional record",
        "b/s1 changed its FQDN from (null) to x.test by 'SRV record'",
        "Server b/s1 ('x.test') is UP/READY (resolves again)",
    ]
    assert [name for _, name, _ in names.asked] == ["_h.test"]
    assert names.fleet.servers[0].uweight == 1
    names.put("_h.test", services(("x.test", 81, 512)), Kind.SRV)
    names.put("x.test", good("127.0.1.1"))
    assert names.run(1000) == []
    assert names.asked[-1][1] == "x.test"


def test_more_services_than_servers() -> None:
    names = Names(svc(0))
    names.put("_h.test", services(("x.test", 81, 0), ("y.test", 81, 0), x="127.0.1.1", y="127.0.1.2"), Kind.SRV)
    names.run(5000)
    (server,) = names.fleet.servers
    assert server.fqdn in ("x.test", "y.test")
    assert (server.op, server.uweight) == (Op.RUNNING, 0)


def test_the_services_end() -> None:
    names = Names(svc(0), svc(1))
    names.put("_h.test", services(("x.test", 81, 0), ("y.test", 81, 0), x="127.0.1.1", y="127.0.1.2"), Kind.SRV)
    names.run(0)
    names.put("_h.test", Answer(Outcome.NX), Kind.SRV)
    names.run(2000)
    assert names.addresses() != ["", ""]
    names.run(5000)
    assert names.addresses() == ["", ""]


def test_xxh32() -> None:
    """Values of the reference implementation."""
    assert xxh32(b"", 0) == 0x02CC5D05
    assert xxh32(b"abc", 0) == 0x32D153FF
    assert xxh32(b"Nobody inspects the spammish repetition", 0) == 0xE2293B2F


def test_the_order_of_targets_is_haproxys() -> None:
    """Run on 2.6.12."""
    records = Records()
    records.take(services(*((f"h{number}.test", 80, 1) for number in range(12))), 0)
    assert [item.target for item in records.items] == [
        f"h{number}.test" for number in (10, 6, 9, 3, 11, 1, 7, 4, 2, 8, 0, 5)
    ]
    assert labels("h1.test") == b"\2h1\4test"


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3000),
        st.one_of(
            st.sampled_from([Outcome.NX, Outcome.REFUSED, Outcome.TIMEOUT, Outcome.OTHER]),
            st.lists(st.integers(1, 6), min_size=1, max_size=6, unique=True),
        ),
    ),
    max_size=12,
)


@given(STEPS, st.integers(1, 4))
def test_whatever_is_answered(steps: list[tuple[int, Outcome | list[int]]], count: int) -> None:
    """A server has an address exactly when it is not in MAINT (resolution), and no two have the same."""
    names = Names(*(wish(number) for number in range(count)))
    for after_ms, step in steps:
        answer = Answer(step) if isinstance(step, Outcome) else good(*(f"127.0.0.{number}" for number in step))
        names.put("a.test", answer)
        names.put("a.test", answer if isinstance(step, Outcome) else Answer(Outcome.NX), Kind.AAAA)
        names.run(names.now_ms + after_ms)
        had = [address for address in names.addresses() if address]
        assert len(had) == len(set(had))
        for server in names.fleet.servers:
            assert bool(server.address) is not bool(server.admin & Admin.RMAINT)
        assert names.policy.due_ms() is not None


def test_thousands_of_names_are_asked_some_at_a_time() -> None:
    names = Names(*(wish(number, f"n{number}.test") for number in range(300)))
    asked = []
    while (due := names.policy.due_ms()) == 0:
        asks, _ = names.policy.step(due)
        asked.append(len(asks))
    assert asked == [128, 128, 44]


def test_hundreds_of_servers_keep_their_addresses() -> None:
    names = Names(*(wish(number) for number in range(200)))
    names.put("a.test", good(*(f"127.0.1.{number}" for number in range(1, 201))))
    names.run(0)
    before = names.addresses()
    assert len(set(before)) == 200
    names.put("a.test", good(*(f"127.0.1.{number}" for number in range(200, 0, -1))))
    assert names.run(3000) == []
    assert names.addresses() == before
