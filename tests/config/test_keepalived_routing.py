"""Routes and rules: which are taken, and which interfaces an instance needs for them. Each row was seen in keepalived 2.2.7's dump."""

from __future__ import annotations

import pytest

from risefall.config.keepalived import read
from risefall.config.keepalived.model import Config
from risefall.config.text import Source

HEAD = "interface eth0\nvirtual_router_id 5\nvirtual_ipaddress {\n10.0.0.1/24\n}\n"


def reading(more: str, before: str = "") -> Config:
    return read(Source("k.conf", f"{before}\nvrrp_instance A {{\n{HEAD}{more}\n}}\n".replace(";", "\n")))


@pytest.mark.parametrize(
    ("more", "devices"),
    [
        ("virtual_routes {;10.5.0.0/16 dev eth1;}", ("eth1",)),
        ("virtual_routes {;10.5.0.0/16 via 10.255.1.9 dev eth1 no_track;}", ()),
        ("virtual_routes {;10.5.0.0/16 via 10.255.1.9;}", ()),
        ("virtual_routes {;10.5.0.0/16 nexthop via 10.255.1.9 dev eth1;}", ()),
        ("virtual_routes {;10.5.0.0/16 dev eth1 mtu x1;10.6.0.0/16 dev eth2 table nowhere;}", ("eth1",)),
        ("virtual_routes {;10.5.0.0/16 dev eth1 oif eth2;}", ("eth2",)),
        ("virtual_routes {;10.5.0.0/16 dev eth0;}", ()),
        ("virtual_routes {;10.5.0.0/16 dev eth0;};dont_track_primary", ("eth0",)),
        ("virtual_rules {;from 10.0.0.1 iif eth1 oif eth2 table 5 priority 3;}", ("eth1", "eth2")),
        ("virtual_rules {;from 10.0.0.1 iif eth1 table 5 priority 3 no_track;}", ()),
        (
            "virtual_ipaddress {;10.0.0.2/24 dev eth1;};virtual_ipaddress_excluded {;10.0.0.3 dev eth2;}",
            ("eth1", "eth2"),
        ),
        ("virtual_ipaddress {;10.0.0.2/24 dev eth1 no_track;};dont_track_primary", ()),
        ("dont_track_primary;virtual_ipaddress {;10.0.0.2/24 dev eth0;}", ()),
    ],
)
def test_devices(more: str, devices: tuple[str, ...]) -> None:
    assert reading(more).instances[0].devices == devices


@pytest.mark.parametrize(
    ("line", "devices"),
    [
        ("static_routes {;10.5.0.0/16 dev eth1 track_group g;}", ("eth1",)),
        ("static_routes {;10.5.0.0/16 dev eth1;}", ()),
        ("static_routes {;10.5.0.0/16 track_group g;}", ()),
        ("static_rules {;from 10.5.0.0/16 iif eth1 table 5 priority 6 track_group g;}", ("eth1",)),
        ("static_ipaddress {;10.5.0.1/16 dev eth1 track_group g;}", ("eth1",)),
        ("static_ipaddress {;10.5.0.1/16 dev eth1 track_group g no_track;}", ()),
    ],
)
def test_devices_of_track_groups(line: str, devices: tuple[str, ...]) -> None:
    assert reading("", f"track_group g {{;group {{;A;}};}};{line}").instances[0].devices == devices


def test_lines_that_are_taken() -> None:
    config = reading(
        "virtual_routes {;default via fe80::1 dev eth0;inet6 x 2001:db8::/32 dev eth0;10.0.0.0/8 via x;dev eth0;}",
        "static_rules {;from 10.0.0.1 table 5;from 10.0.0.2;}",
    )
    assert [one.text for one in config.instances[0].routes] == [
        "default via fe80::1 dev eth0",
        "inet6 x 2001:db8::/32 dev eth0",
    ]
    assert [one.text for one in config.static_rules] == ["from 10.0.0.1 table 5"]


def test_preferences_go_down_through_the_file() -> None:
    config = reading(
        "virtual_rules {;from 10.0.0.2 table 5;to 2001:db8::/32 table 6;}", "static_rules {;to 10.0.0.1 table 5;}"
    )
    said = [warning.partition("setting to ")[2].partition(".")[0] for warning in config.warnings]
    assert said == ["16384", "16383", "16384"]
