"""Where checks go (spec §2.5), and the commands that send them elsewhere (spec §5.4)."""

from __future__ import annotations

import pytest
from state_kit import Rig

from risefall.state import aims
from risefall.state.commands import Refused
from risefall.state.exchange import Aim
from risefall.state.server import AGENT, HEALTH, Pins

SOCKET = "by 'stats socket command'"


def rig(dialect: str = "2.6", **fields: object) -> Rig:
    made = Rig(dialect).proxy("b").server("s", agent=True).start()
    for name, value in ({"address": "127.0.0.2", "port": 80} | fields).items():
        setattr(made.servers[0], name, value)
    return made


def sent(made: Rig, effects: object) -> dict[int, Aim | None]:
    return {order.which: order.change.aim for order in effects.orders}  # type: ignore[attr-defined]


def test_an_address_counts_for_both_checks() -> None:
    made = rig()
    told = aims.set_addr(made.fleet, 0, "127.0.0.3", "81", 0)
    assert told.text == f"IP changed from '127.0.0.2' to '127.0.0.3', port changed from '80' to '81' {SOCKET}"
    assert sent(made, told.effects) == {HEALTH: Aim("127.0.0.3", 81), AGENT: Aim("127.0.0.3", 81)}
    assert told.effects.lines == []


@pytest.mark.parametrize(
    ("address", "port", "text"),
    [
        ("127.0.0.2", None, "no need to change the addr"),
        ("127.0.0.2", "80", "no need to change the addr, no need to change the port"),
        ("127.0.0.2", "x", "no need to change the addr, problem converting port 'x' to an int"),
        ("127.0.0.2", "70000", "no need to change the addr, port changed from '80' to '4464'"),
        ("127.0.0.2", "12x", "no need to change the addr, port changed from '80' to '12'"),
        ("127.0.0.3", "+1", f"IP changed from '127.0.0.2' to '127.0.0.3', {aims.MAP_NEEDS_PORT}"),
        ("::1", None, "IP changed from '127.0.0.2' to '::1'"),
        ("*", None, "IP changed from '127.0.0.2' to '*'"),
        ("foo", None, "Invalid addr 'foo'"),
        ("fe80::1%lo", None, "Invalid addr 'fe80::1%lo'"),
        ("127.0.0.2:99", None, "Invalid addr '127.0.0.2:99'"),
    ],
)
def test_what_a_new_address_is_told_with(address: str, port: str | None, text: str) -> None:
    assert aims.set_addr(rig().fleet, 0, address, port, 0).text == f"{text} {SOCKET}"


def test_a_port_map() -> None:
    made = rig(port=0, mapped_ports=True, check_port=99)
    told = [aims.set_addr(made.fleet, 0, "127.0.0.2", port, 0).text for port in ("-1", "-1", "+5", "5", "6", "+6")]
    assert [text.removeprefix("no need to change the addr, ").removesuffix(f" {SOCKET}") for text in told] == [
        "port changed from '+0' to '-1'",
        "no need to change the port",
        "port changed from '+65535' to '+5'",
        "no need to change the port",
        "port changed from '+5' to '6'",
        "port changed from '6' to '+6'",
    ]
    with pytest.raises(Refused, match="MAPPORTS"):
        aims.set_check_port(made.fleet, 0, HEALTH, "0", 0)


def test_today_tells_only_what_changed() -> None:
    made = rig("3")
    told = [aims.set_addr(made.fleet, 0, "127.0.0.2", port, 0).text for port in (None, "80", "81")]
    assert told == ["nothing changed", "nothing changed", f"port changed from '80' to '81' {SOCKET}"]
    assert aims.set_addr(made.fleet, 0, "foo", None, 0).text == "Invalid addr 'foo'"


def test_without_an_address_there_is_nothing_to_change() -> None:
    for address in ("", "/tmp/x.sock", "abns@x"):
        made = rig(address=address)
        assert aims.set_addr(made.fleet, 0, "127.0.0.3", None, 0).text == f"{aims.FIXED} {SOCKET}"
        assert made.servers[0].address == address


def test_own_addresses_of_checks() -> None:
    made = rig(pins=Pins(None, 7, 8), check_addr="127.0.0.5", agent_addr="127.0.0.6")
    server = made.servers[0]
    assert (aims.aim_of(server, HEALTH), aims.aim_of(server, AGENT)) == (Aim("127.0.0.5", 7), Aim("127.0.0.6", 8))
    effects = aims.set_check_addr(made.fleet, 0, HEALTH, "::1", None, 0)
    assert sent(made, effects) == {HEALTH: Aim("::1", 80), AGENT: Aim("127.0.0.6", 8)}
    aims.set_check_port(made.fleet, 0, AGENT, "9", 0)
    aims.set_check_addr(made.fleet, 0, AGENT, "127.0.0.9", "10", 0)
    assert aims.aim_of(server, AGENT) == Aim("127.0.0.9", 10)
    aims.set_check_port(made.fleet, 0, AGENT, "0", 0)
    assert aims.aim_of(server, AGENT) == Aim("127.0.0.9", 80)
    aims.set_check_addr(made.fleet, 0, HEALTH, "0.0.0.0", None, 0)  # none of its own any more
    assert aims.aim_of(server, HEALTH) == Aim("127.0.0.2", 80)


def test_rules_that_connect_elsewhere_stand() -> None:
    made = rig(pins=Pins(Aim("127.0.0.8", 0), 0, 0), check_port=5)
    effects = aims.set_addr(made.fleet, 0, "127.0.0.3", None, 0).effects
    assert sent(made, effects) == {HEALTH: Aim("127.0.0.8", 5), AGENT: Aim("127.0.0.3", 80)}
    made = rig(pins=Pins(Aim("", 25), 0, 0), check_port=5)
    assert aims.aim_of(made.servers[0], HEALTH) == Aim("127.0.0.2", 25)
    assert aims.aim_of(rig(address="/x").servers[0], HEALTH) == Aim("/x", 0)
    assert aims.aim_of(rig(address="").servers[0], HEALTH) is None


@pytest.mark.parametrize(
    ("address", "port", "text"),
    [
        ("foo", "x", "invalid addr 'foo'"),
        ("127.0.0.9", "x", "provided port is not an integer"),
        ("127.0.0.9", "", "provided port is not an integer"),
        ("127.0.0.9", "+1", "provided port is not an integer"),
        ("127.0.0.9", "9" * 5000, "provided port is not an integer"),
        ("127.0.0.9", "65536", "provided port is invalid"),
        ("127.0.0.9", "-1", "provided port is invalid"),
    ],
)
def test_a_refusal_changes_nothing(address: str, port: str, text: str) -> None:
    made = rig()
    before = repr(made.servers[0])
    with pytest.raises(Refused) as refused:
        aims.set_check_addr(made.fleet, 0, HEALTH, address, port, 0)
    assert (refused.value.text, refused.value.short, refused.value.warning) == (text, True, True)
    assert repr(made.servers[0]) == before
