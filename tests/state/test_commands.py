"""Refusals word for word (spec §5.4), and that they change nothing."""

from __future__ import annotations

import pytest
from state_kit import Rig

from risefall.state.commands import Refused, set_weight
from risefall.state.fleet import Effects
from risefall.state.server import Admin

STATIC = "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n\n"


def rig(*, static: bool = False, disabled: bool = False, **server: object) -> Rig:
    made = Rig().proxy("b", static=static, disabled=disabled).server("x").server("s", **server)  # type: ignore[arg-type]
    return made.server("t", track="s").start()


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("set server b/s state", "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n\n"),
        ("set server b/s state READY", "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n\n"),
        ("set server b/s health", "'set server <srv> health' expects 'up', 'stopping', or 'down'.\n\n"),
        ("set server b/t health foo", "cannot change health on a tracking server.\n\n"),
        ("set server b/s agent foo", "'set server <srv> agent' expects 'up' or 'down'.\n\n"),
        ("set server b/x agent foo", "agent checks are not enabled on this server.\n\n"),
        ("enable health b/t", "Health check was not configured on this server, cannot enable.\n\n"),
        ("enable agent b/x", "Agent was not configured on this server, cannot enable.\n\n"),
        ("set weight b/s", "Require <weight> or <weight%>.\n\n"),
        ("set weight b/s -1", "Absolute weight can only be between 0 and 256 inclusive.\n\n"),
        ("set weight b/s 257", "Absolute weight can only be between 0 and 256 inclusive.\n\n"),
        ("set weight b/s 300x", "Absolute weight can only be between 0 and 256 inclusive.\n\n"),
        ("set weight b/s " + "9" * 5000, "Absolute weight can only be between 0 and 256 inclusive.\n\n"),
        ("set weight b/s -5%", "Relative weight must be positive.\n\n"),
        ("set weight b/s x", "Empty weight string empty or preceded by garbage\n"),
        ("set weight b/s -", "Empty weight string empty or preceded by garbage\n"),
        ("set weight b/s %", "Empty weight string empty or preceded by garbage\n"),
        ("set weight b/s 5%x", "Trailing garbage in weight string\n"),
    ],
)
def test_refusals(command: str, reply: str) -> None:
    made = rig(agent=True)
    before = [repr(server) for server in made.servers]
    made.cli(command)
    assert made.replies == [reply]
    assert made.last == Effects()
    assert [repr(server) for server in made.servers] == before


@pytest.mark.parametrize(
    ("text", "weight"), [("+5", 5), ("0", 0), ("256", 256), ("50%", 10), ("9%", 1), ("9" * 5000 + "%", 256)]
)
def test_weights(text: str, weight: int) -> None:
    made = rig(weight=20)
    made.cli(f"set weight b/s {text}")
    assert (made.replies, made.servers[1].uweight) == (["\n"], weight)


@pytest.mark.parametrize(("text", "reply"), [("0", "\n"), ("100%", "\n"), ("20", "\n"), ("50%", STATIC), ("1", STATIC)])
def test_static_algorithms(text: str, reply: str) -> None:
    made = rig(static=True, weight=20)
    made.cli(f"set weight b/s {text}")
    assert made.replies == [reply]


def test_a_disabled_proxy_refuses_everything() -> None:
    made = rig(disabled=True, agent=True)
    for command in ("set server b/s state x", "set weight b/s 5", "disable health b/s", "enable agent b/s"):
        made.cli(command)
    assert set(made.replies) == {"Proxy is disabled.\n\n"}
    with pytest.raises(Refused, match="disabled"):
        set_weight(made.fleet, 1, "5", 0)


def test_switching_off_what_is_not_there_is_allowed() -> None:
    made = rig()
    made.cli("disable agent b/s")
    made.cli("disable health b/t")
    assert made.replies == ["\n", "\n"]


def test_enable_server_ends_a_drain_too() -> None:
    """Trap 57."""
    made = rig()
    made.cli("set server b/s state drain")
    made.cli("enable server b/s")
    assert made.servers[1].admin == Admin(0)


def test_weight_0_of_the_last_server_is_told_without_a_server_line() -> None:
    made = Rig().proxy("b").server("s").start()
    made.cli("set weight b/s 0")
    assert made.drain() == ["<128> check backend b has no server available!"]
    assert made.status("s") == "UP 1/3"
    made.cli("set weight b/s 0")
    assert made.drain() == []
