"""The readers, the runtime API and the election: what happens when something changes, or somebody asks."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture
from surfaces_kit import FakeApi

from election import FAILS_AFTER_US, PASSES_AFTER_US, TURN_US, network_of_two
from risefall.config.haproxy import plan, read
from risefall.config.keepalived import read as read_keepalived
from risefall.config.text import Source
from risefall.surfaces.calls import Level
from risefall.surfaces.runtime import Session
from risefall.vrrp.actions import State
from risefall.vrrp.trackers import DOWN, UP, Kind, Tracked

SERVERS = 2000
FAILOVERS = 200
CHK = Tracked(Kind.SCRIPT, "chk")

HAPROXY = "defaults\n  mode http\n  timeout check 1s\n  default-server inter 2s rise 2 fall 3\n" + "".join(
    f"backend b{n // 50}\n  option httpchk GET /health\n" * (n % 50 == 0)
    + f"  server s{n} 10.0.{n // 250}.{n % 250 + 1}:80 check weight {n % 256 + 1} # of rack {n % 7}\n"
    for n in range(SERVERS)
)
KEEPALIVED = "".join(
    f"vrrp_script chk{n} {{\n  script \"/bin/true {n}\"\n  interval 2\n  weight -10\n  fall 3\n  rise 2\n}}\n"
    f"vrrp_instance VI_{n} {{\n  state BACKUP\n  interface eth0\n  virtual_router_id {n + 1}\n  priority 100\n"
    f"  virtual_ipaddress {{\n    10.1.0.{n + 1}\n  }}\n  track_script {{\n    chk{n}\n  }}\n}}\n"
    for n in range(200)
)  # fmt: skip


def test_read_haproxy(benchmark: BenchmarkFixture) -> None:
    """2,000 servers in 40 backends, read and planned."""
    assert len(benchmark(lambda: plan(read([Source("b.cfg", HAPROXY)])))) == SERVERS


def test_read_keepalived(benchmark: BenchmarkFixture) -> None:
    """200 instances with a script each."""
    source = Source("b.conf", KEEPALIVED)
    config = benchmark(lambda: read_keepalived(source, hear=lambda told: None))
    assert len(config.instances) == 200


def test_show_stat(benchmark: BenchmarkFixture) -> None:
    """A whole `show stat`, from the command to the bytes of the reply."""
    api = FakeApi("2.6")
    assert benchmark(lambda: Session(api, Level.USER).feed(b"show stat\n")).startswith(b"# pxname")


def test_set_server(benchmark: BenchmarkFixture) -> None:
    """Twenty commands that change a server, in one go."""
    api = FakeApi("2.6")
    data = b"set server b1/s2 state drain;set server b1/s2 state ready\n"
    assert benchmark(lambda: b"".join(Session(api, Level.ADMIN).feed(data) for _ in range(10))) is not None


def test_election(benchmark: BenchmarkFixture) -> None:
    """200 failovers of two nodes in virtual time."""

    def turns() -> int:
        network = network_of_two()
        network.run(FAILS_AFTER_US)
        network.changes.clear()
        for turn in range(FAILOVERS // 2):
            base_us = turn * TURN_US
            network.run(base_us + FAILS_AFTER_US)
            network.read("n0", CHK.key, DOWN)
            network.run(base_us + PASSES_AFTER_US)
            network.read("n0", CHK.key, UP)
            network.run(base_us + TURN_US)
        return sum(change.state is State.MASTER for change in network.changes)

    assert benchmark(turns) == FAILOVERS
