"""Who ought to answer on the local network, from the kernel's own tables: for the likely cause of a time-out.

Source: proc(5), /proc/net/route and /proc/net/arp. Addresses there are 32-bit words in the machine's byte order.
"""

from __future__ import annotations

import os
import socket
import struct

import msgspec

ROUTE, ARP, DEVICES = "/proc/net/route", "/proc/net/arp", "/sys/class/net"
UP, GATEWAY = 1, 2
ARP_COMPLETE = 2


class Route(msgspec.Struct, frozen=True):
    """One IPv4 route, numbers in host order."""

    device: str
    network: int
    mask: int
    gateway: bool


def number(packed: bytes) -> int:
    return int.from_bytes(packed, "big")


def parse_routes(text: str) -> list[Route]:
    """The routes that are up; lines that do not look like one are passed over."""
    routes = []
    for line in text.splitlines()[1:]:
        words = line.split()
        try:
            network, mask = (number(struct.pack("=I", int(words[at], 16))) for at in (1, 7))
            flags = int(words[3], 16)
        except (IndexError, ValueError, struct.error):
            continue
        if flags & UP:
            routes.append(Route(words[0], network, mask, bool(flags & GATEWAY)))
    return routes


def local_device(packed: bytes, routes: list[Route]) -> str:
    """The device on whose own network an IPv4 address lies; nothing where a gateway leads to it, or no route."""
    address = number(packed)
    fitting = [route for route in routes if address & route.mask == route.network]
    if not fitting:
        return ""
    best = max(fitting, key=lambda route: route.mask)
    return "" if best.gateway else best.device


def parse_arp(text: str) -> dict[str, bool]:
    """Addresses to whether their neighbour answered; FAILED and INCOMPLETE entries have not."""
    found = {}
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 6:
            continue
        try:
            complete = int(words[2], 16) & ARP_COMPLETE
        except ValueError:
            continue
        found[words[0]] = bool(complete) and words[3] != "00:00:00:00:00:00"
    return found


def macvtap_devices(device: str, root: str = DEVICES) -> list[str]:
    """The macvtap interfaces on top of a device."""
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return []
    return [
        name
        for name in names
        if name.startswith("macvtap") and os.path.lexists(os.path.join(root, name, f"lower_{device}"))
    ]


def read(path: str) -> str:
    """A file's text, nothing where it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def silent_neighbour(packed: bytes, route: str, arp: str, guests: list[str] | None = None) -> str:
    """One sentence when an IPv4 address of a local network has no neighbour that answers ARP, else nothing.

    guests: macvtap interfaces of the device; None looks for them.
    """
    device = local_device(packed, parse_routes(route))
    if not device or device == "lo" or parse_arp(arp).get(socket.inet_ntoa(packed), False):
        return ""
    found = macvtap_devices(device) if guests is None else guests
    here = f" ({', '.join(found[:3])} on {device})" if found else ""
    return (
        f"the address is in this machine's own network on {device}, and nobody answers ARP for it: the host is down, or it is "
        f"a guest behind macvtap on this same host{here}, which the host reaches only through a macvlan interface of its own"
    )
