"""The kernel's tables as the probe reads them; texts as a little-endian machine shows them, swapped for others."""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path

import pytest

from risefall.engine.neighbours import (
    local_device,
    macvtap_devices,
    parse_arp,
    parse_routes,
    read,
    silent_neighbour,
)


def word(address: str) -> str:
    """An address as /proc/net/route writes it here."""
    return f"{struct.unpack('=I', socket.inet_aton(address))[0]:08X}"


def route(device: str, network: str, gateway: str, flags: int, mask: str) -> str:
    return f"{device}\t{word(network)}\t{word(gateway)}\t{flags:04X}\t0\t0\t0\t{word(mask)}\t0\t0\t0\n"


ROUTES = (
    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    + route("eth0", "0.0.0.0", "10.1.0.1", 3, "0.0.0.0")
    + route("eth0", "10.1.0.0", "0.0.0.0", 1, "255.255.0.0")
    + route("tun0", "10.1.9.0", "10.1.0.9", 3, "255.255.255.0")
    + route("eth1", "10.2.0.0", "0.0.0.0", 0, "255.255.0.0")
    + "rubbish\nlo\tzz\tzz\tzz\t0\t0\t0\tzz\n"
)
ARP = """IP address       HW type     Flags       HW address            Mask     Device
10.1.0.7         0x1         0x2         52:54:00:12:34:56     *        eth0
10.1.0.8         0x1         0x0         00:00:00:00:00:00     *        eth0
short
10.1.0.6         0x1         zz          00:00:00:00:00:00     *        eth0
"""


def silent(address: str, guests: tuple[str, ...] = ()) -> str:
    return silent_neighbour(socket.inet_aton(address), ROUTES, ARP, list(guests))


def test_routes_that_are_up() -> None:
    assert [(one.device, one.gateway) for one in parse_routes(ROUTES)] == [
        ("eth0", True),
        ("eth0", False),
        ("tun0", True),
    ]
    assert word("1.2.3.4") == ("04030201" if sys.byteorder == "little" else "01020304")


@pytest.mark.parametrize(
    ("address", "device"),
    [("10.1.3.4", "eth0"), ("10.1.9.4", ""), ("8.8.8.8", ""), ("10.2.0.1", "")],
)
def test_the_longest_prefix_decides(address: str, device: str) -> None:
    assert local_device(socket.inet_aton(address), parse_routes(ROUTES)) == device
    assert local_device(socket.inet_aton(address), []) == ""


def test_arp_entries() -> None:
    assert parse_arp(ARP) == {"10.1.0.7": True, "10.1.0.8": False}


def test_who_is_silent() -> None:
    """FAILED, INCOMPLETE and absent entries on the local network are; a neighbour that answered is not, nor one behind a gateway."""
    assert "nobody answers ARP" in silent("10.1.0.8")
    assert "macvtap" in silent("10.1.0.99")
    assert silent("10.1.0.7") == ""
    assert silent("8.8.8.8") == ""
    assert "(macvtap0, macvtap3 on eth0)" in silent("10.1.0.8", ("macvtap0", "macvtap3"))


def test_macvtap_interfaces_on_a_device(tmp_path: Path) -> None:
    for name, lower in (("macvtap0", "eth0"), ("macvtap1", "eth1"), ("macvlan0", "eth0"), ("eth0", "")):
        (tmp_path / name).mkdir()
        if lower:
            (tmp_path / name / f"lower_{lower}").symlink_to(tmp_path / lower)
    assert macvtap_devices("eth0", str(tmp_path)) == ["macvtap0"]
    assert macvtap_devices("eth0", str(tmp_path / "none")) == []


def test_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read(str(tmp_path / "none")) == ""
