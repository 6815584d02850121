"""Time lines of nodes: keepalived's own rules say when the other one takes over, and requests are lost until then."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from risefall.cli.main import group
from risefall.config.keepalived import read
from risefall.config.text import Source
from risefall.errors import ConfigError
from risefall.sim.cluster import Cluster, Followed, Story
from risefall.sim.scenario import ClusterEvent, Trouble, parse_scenario

NODE = """
vrrp_script chk {
    script "/usr/bin/killall -0 haproxy"
    interval 1
    fall 2
    rise 2
}
vrrp_instance VI_1 {
    state BACKUP
    interface eth0
    virtual_router_id 51
    priority PRIORITY
    advert_int 1
    virtual_ipaddress {
        192.0.2.100
    }
    track_script {
        chk
    }
}
"""


def story(*events: ClusterEvent, span_ms: int = 60_000) -> Story:
    configs = [
        (name, read(Source(f"{name}.conf", NODE.replace("PRIORITY", priority)), config_id=name))
        for name, priority in (("a", "150"), ("b", "100"))
    ]
    return Cluster(configs, 1).run(events, span_ms)


def only(*events: ClusterEvent) -> Followed:
    (followed,) = story(*events).followed
    return followed


def test_a_dead_host_is_missed_for_three_adverts_and_the_skew() -> None:
    """3 x advert_int + (256 - 100) / 256 s after its last advert, which was at most one interval ago."""
    lost = only(ClusterEvent(kind=Trouble.NODE, at=20_000))
    assert lost.last_lost_s is not None
    assert 2 + 156 / 256 < lost.last_lost_s <= 3 + 156 / 256 + 0.01
    assert lost.lost_s == pytest.approx(lost.last_lost_s)


def test_a_script_that_fails_hands_over_after_fall_runs_and_the_skew() -> None:
    """HAProxy is gone: two runs of a second, priority 0 is sent at once, and the backup waits its skew only."""
    lost = only(ClusterEvent(kind=Trouble.HAPROXY, at=20_500, lasts=10_000))
    assert lost.last_lost_s is not None
    assert 1.5 + 156 / 256 <= lost.last_lost_s < 1.5 + 156 / 256 + 0.05


def test_a_script_that_is_wrong_loses_only_what_the_handover_takes() -> None:
    lost = only(ClusterEvent(kind=Trouble.SCRIPT, name="chk", at=20_500, lasts=10_000))
    assert lost.lost_s == pytest.approx(156 / 256, abs=0.02)


def test_a_link_that_drops_for_four_seconds() -> None:
    told = story(ClusterEvent(kind=Trouble.LINK, at=20_000, lasts=4000))
    assert told.followed[0].last_lost_s is not None
    assert 2 < told.followed[0].last_lost_s < 4
    assert any(node == "a" and state == "FAULT" and at_s == 20.0 for at_s, node, _, state in told.states)


def test_adverts_that_are_lost_make_two_masters_and_no_gap() -> None:
    told = story(ClusterEvent(kind=Trouble.PACKETS, at=20_000, lasts=10_000))
    assert any(node == "b" and state == "MASTER" and 20 < at_s < 24 for at_s, node, _, state in told.states)
    assert any(node == "b" and state == "BACKUP" and at_s > 30 for at_s, node, _, state in told.states)
    assert told.followed[0].last_lost_s is None


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a has no vrrp_script 'chq'\n  help: its scripts: chk"):
        story(ClusterEvent(kind=Trouble.SCRIPT, name="chq", at=1000))
    with pytest.raises(ConfigError, match="there is no node 3"):
        story(ClusterEvent(kind=Trouble.NODE, node=3, at=1000))
    with pytest.raises(ConfigError, match=r"t.toml:2:1: error: vrrp\[1\].kind: 'host' is not one of: script, haproxy"):
        parse_scenario('[[vrrp]]\nkind = "host"\nat = "1s"\n', "t.toml")


SCENARIO = """
[[vrrp]]
kind = "node"
at = "20s"
[[event]]
kind = "crash"
at = ["40s"]
lasts = "60s"
steady = true
"""
CONFIG = "backend app\n  option httpchk\n  server s 10.0.0.1:80 check inter 1s fall 3\n"


def run(folder: Path, *words: str) -> Result:
    for name, priority in (("n1", "150"), ("n2", "100")):
        (folder / f"{name}.conf").write_text(NODE.replace("PRIORITY", priority))
    (folder / "s.toml").write_text(SCENARIO)
    names = [str(folder / f"{name}.conf") for name in ("n1", "n2")]
    words = ("simulate", "--cluster", *names, "--scenario", str(folder / "s.toml"), *words)
    return CliRunner().invoke(group, words, input=CONFIG)


def test_nodes_and_backends_on_one_time_line(tmp_path: Path) -> None:
    done = run(tmp_path, "-f", "-", "--json")
    assert done.exit_code == 0, done.output
    lines = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    (server,) = (line for line in lines if line["kind"] == "server")
    assert (server["server"], server["master"], server["at_s"]) == ("app/s", "n2", 40.0)
    assert 2 <= server["lost_s"] == server["down_s"]["n2"] < 3.1
    (trouble,) = (line for line in lines if line["kind"] == "trouble")
    assert 2.5 < trouble["last_lost_s"] < 3.7


def test_text_and_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run(tmp_path, "-f", "-", "--plot", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "node of n1: last lost request " in done.stdout
    assert "until n2 sends it no more" in done.stdout
    assert (tmp_path / "out" / "cluster.png").read_bytes().startswith(b"\x89PNG")


def test_nodes_want_cluster() -> None:
    done = CliRunner().invoke(group, ["simulate", "-f", "x.cfg", "n.conf"])
    assert done.exit_code == 2
    assert "'n.conf' stands for itself" in done.output
