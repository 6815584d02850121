"""What is read off a plan: who wants which name, and which checks go along when a server moves."""

from __future__ import annotations

from risefall.config.haproxy import plan, read
from risefall.config.haproxy.dialect import DIALECTS
from risefall.config.text import Source
from risefall.daemon.assemble import Seed
from risefall.daemon.wishes import sections_of
from risefall.engine.targets import TargetBuilder
from risefall.state.answers import Kind
from risefall.state.exchange import Aim
from risefall.state.fleet import Work
from risefall.state.moving import move
from risefall.state.resolution import Wish
from risefall.state.server import AGENT, HEALTH
from risefall.state.words import full_name

CONFIG = """\
resolvers r
  nameserver a 127.0.0.1:53
backend b
  default-server resolvers r init-addr none agent-port 9
  server plain a.test:80 check agent-check resolve-prefer ipv4
  server port a.test:80 check port 81
  server addr a.test:80 check addr 127.0.0.5
  server agent a.test:80 agent-check agent-addr 127.0.0.6
  server number 127.0.0.1:80 check
  server-template t 2 _h._tcp.a.test check
backend rule
  option tcp-check
  tcp-check connect addr 127.0.0.7 port 82
  server s a.test:80 check resolvers r init-addr none
backend off
  disabled
  server s a.test:80 check resolvers r init-addr none
"""


def wishes() -> dict[str, Wish]:
    config = read([Source("c", CONFIG)], dialect="2.6")
    targets = TargetBuilder(config, DIALECTS["2.6"], {}, node="n", waiting=True).build(plan(config), now_ns=0)
    ((settings, found),) = sections_of(config.resolvers, targets)
    assert settings.name == "r"
    names = [f"{one.planned.proxy.name}/{one.planned.config.name}" for one in targets]
    return {names[wish.server]: wish for wish in found}


def test_who_wants_a_name() -> None:
    found = wishes()
    named = [server for server, wish in found.items() if wish.name]
    assert sorted(named) == ["b/addr", "b/agent", "b/plain", "b/port", "b/t1", "b/t2", "rule/s"]
    assert [server for server in found if server not in named] == ["b/number"]  # a command may name it
    assert found["b/t1"].service
    assert not found["b/plain"].service
    assert (found["b/plain"].prefer, found["b/port"].prefer) == (Kind.A, Kind.AAAA)


def test_checks_that_go_along() -> None:
    """A check with an address of its own stays where it is; one with a port of its own keeps the port."""
    config = read([Source("c", CONFIG)], dialect="2.6")
    targets = TargetBuilder(config, DIALECTS["2.6"], {}, node="n", waiting=True).build(plan(config), now_ns=0)
    fleet = Seed(config, targets, DIALECTS["2.6"], 0).grow()
    found: dict[str, tuple[Aim | None, ...]] = {}
    for index, server in enumerate(fleet.servers):
        work = Work(fleet, 0)
        move(fleet, work, index, bytes((127, 0, 0, 9)), 80)
        orders = {order.which: order.change for order in work.finish().orders}
        found[full_name(fleet, index)] = tuple(
            orders[which].aim if which in orders else None for which in (HEALTH, AGENT)
        )
        assert all(change.at_once == (change.aim is not None) for change in orders.values()), server.name
    assert found["b/plain"] == (Aim("127.0.0.9", 80), Aim("127.0.0.9", 9))
    assert found["b/port"] == (Aim("127.0.0.9", 81), None)
    assert found["b/addr"] == found["b/agent"] == found["rule/s"] == (None, None)
    assert found["b/t1"] == (Aim("127.0.0.9", 80), None)
