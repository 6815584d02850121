"""`risefall vrrp --watch`: what it refuses, its table and its objects; that it hears is tested beside keepalived."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from risefall.cli import vrrp_watch
from risefall.cli.main import group
from risefall.cli.vrrp import load
from risefall.errors import StartError
from risefall.evaluator.expected import groups_of, own_instances
from risefall.vrrp.acceptance import frames_of
from risefall.vrrp.datagrams import Datagram
from risefall.vrrp.settings import Auth, AuthType, InstanceSettings, Peer
from risefall.vrrp.watch import Watch
from risefall.vrrp.watch_events import Event, Kind
from risefall.vrrp.watch_views import views

CONF = """vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    priority 110
    authentication {
        auth_type PASS
        auth_pass secret
    }
    virtual_ipaddress {
        10.0.0.100/24
    }
}
vrrp_instance VI_6 {
    interface eth1
    virtual_router_id 52
    mcast_dst_ip ff02::77
    virtual_ipaddress {
        fe80::100
    }
}
vrrp_instance VI_U {
    interface eth0
    virtual_router_id 53
    unicast_src_ip 10.0.0.9
    unicast_peer {
        10.0.0.2 min_ttl 200
    }
    virtual_ipaddress {
        10.0.0.101
    }
}
"""


def conf(folder: Path) -> str:
    path = folder / "keepalived.conf"
    path.write_text(CONF)
    return str(path)


@pytest.mark.parametrize("option", [["--plan"], ["--check-config"], ["--notify"], ["--peer", "90"], ["--detail"]])
def test_what_does_not_go_together(option: list[str]) -> None:
    result = CliRunner().invoke(group, ["vrrp", "--watch", "lo", *option])
    assert result.exit_code == 2
    assert "--watch only listens" in result.output


def test_an_interface_that_is_not_there() -> None:
    """It is named, with those that are."""
    result = CliRunner().invoke(group, ["vrrp", "--watch", "nosuch0", "--once"])
    assert isinstance(result.exception, StartError)
    assert "there is no interface nosuch0\n  help: this machine has lo" in str(result.exception)


def test_what_a_configuration_expects(tmp_path: Path) -> None:
    """Instances of the interfaces that are listened to, with passwords and peers; source addresses are the interface's."""
    config = load(conf(tmp_path), None, False)
    own = own_instances(config, ["eth0"], lambda name, family: "10.0.0.9" if family == 4 else None)
    assert [(one.settings.name, one.interface, one.settings.source) for one in own] == [
        ("VI_1", "eth0", "10.0.0.9"),
        ("VI_U", "eth0", "10.0.0.9"),
    ]
    assert own[0].settings.auth == Auth(AuthType.PASS, b"secret")
    assert own[1].settings.peers == (Peer("10.0.0.2", 200, 255),)
    assert own[1].settings.check_unicast_src
    assert groups_of(config) == ["ff02::77"]
    (six,) = own_instances(config, ["eth1"], lambda name, family: None)
    assert (six.settings.version, six.fits("eth1", 52, 6), six.fits("eth1", 52, 4)) == (3, True, False)


def heard() -> Watch:
    """Two masters, one of them with long addresses."""
    watch = Watch()
    for number, version in ((1, 2), (2, 3)):
        settings = InstanceSettings(name="x", source=f"10.0.0.{number}", version=version, vips=("10.0.0.100",))
        for place, frame in frames_of(settings, 100 + number).items():
            watch.hear(number, "eth0", Datagram(frame.source, place, 255, 112, frame.payload))
    six = InstanceSettings(name="x", source="fe80::b801:a5ff:fe76:8f9d", version=3, vips=("2001:db8::1234:5678:9abc",))
    for place, frame in frames_of(six, 255).items():
        watch.hear(3, "eth0", Datagram(frame.source, place, 255, 112, frame.payload))
    return watch


def test_the_table_fits_a_terminal_of_80_columns() -> None:
    """And says what is wrong."""
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(vrrp_watch.tables(views(heard(), 1_000_000)))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    for word in (
        "10.0.0.1",
        "MASTER",
        "v2 1s",
        "v3 1s",
        "2 masters: 10.0.0.1, 10.0.0.2",
        "51 v6",
        "fe80::b801:a5ff:fe76:8f9d",
    ):
        assert word in text


def test_events_as_objects_and_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """The keys are those of docs/cli.md; what a packet says cannot move the cursor."""
    event = Event(0, Kind.MASTER, "eth0", "x \x1b[2J", 51, 6, "VI_1", "fe80::1")
    vrrp_watch.Events(vrrp_watch.Settings(("eth0",), as_json=True), live=False).tell(event)
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["kind", "at", "interface", "vrid", "family", "instance", "source", "masters", "text"]
    vrrp_watch.Events(vrrp_watch.Settings(("eth0",)), live=False).tell(event)
    line = capsys.readouterr().out
    assert " eth0 vrid 51 IPv6 VI_1: x " in line
    assert "\x1b" not in line
