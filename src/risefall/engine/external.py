"""What an external-check starts: the command, its arguments and its environment, as HAProxy gives them.

Only what is named here is in the environment: PATH is empty unless the configuration sets it, the rest is wiped.
Source: spec/haproxy-checks.md §3.10.8; haproxy configuration manual 2.6, §4.2 external-check command, path; run on 2.6.12.
"""

from __future__ import annotations

import os
import re
import socket

import msgspec

from risefall.config.haproxy.address import parse_address
from risefall.config.haproxy.model import Address, Config, Family, Proxy
from risefall.config.haproxy.plan import PlannedServer
from risefall.config.text import Wrong
from risefall.engine.layout import raw
from risefall.engine.native import Endpoint

NOT_USED = "NOT_USED"
PORT_RANGE = re.compile(r"(:\d+)-\d+$")


class Command(msgspec.Struct, frozen=True):
    """A process to be: argv[0] is the command as it is written; env: `NAME=value` each."""

    path: bytes
    argv: tuple[bytes, ...]
    env: tuple[bytes, ...]


def place_of(address: Address | None) -> tuple[str, str]:
    """Address and port of a listener, as arguments; NOT_USED where there is none."""
    if address is None:
        return NOT_USED, NOT_USED
    match address.family:
        case Family.IPV4 | Family.IPV6:
            return address.host, str(address.port)
        case Family.UNIX:
            return address.host, NOT_USED
        case _:
            return "", NOT_USED


def endpoint_place(to: Endpoint) -> tuple[str, str]:
    """The same of a resolved server; an abstract socket has an empty name, as a C string that begins with NUL."""
    if to.family in (4, 6):
        return socket.inet_ntop(socket.AF_INET if to.family == 4 else socket.AF_INET6, to.packed), str(to.port)
    return to.packed.decode("utf-8", "surrogateescape") if to.family == 1 else "", NOT_USED


def first_bind(proxy: Proxy) -> Address | None:
    """Where the first `bind` of a proxy listens; None for a pure backend, or where it cannot be read."""
    for line in proxy.section.lines:
        if line.words[0] == "bind" and len(line.words) > 1:
            text = PORT_RANGE.sub(r"\1", line.words[1].split(",")[0])
            try:
                return parse_address(text, None, server=False)
            except Wrong:
                return None
    return None


def protocol(planned: PlannedServer) -> str:
    """`h1` in mode http unless the server's `proto` says otherwise, `tcp` elsewhere."""
    return (planned.config.settings.proto or "h1") if planned.proxy.mode == "http" else "tcp"


def command_of(planned: PlannedServer, to: Endpoint, config: Config) -> Command:
    """The process of one server; to: the server's own address and port, whatever its check's `addr` and `port` say."""
    rules, proxy, settings = planned.rules, planned.proxy, planned.config.settings
    proxy_addr, proxy_port = place_of(first_bind(proxy))
    server_addr, server_port = endpoint_place(to)

    def given(value: str) -> str:
        return "" if value == NOT_USED else value

    env = {
        "PATH": rules.path,
        "HAPROXY_PROXY_NAME": proxy.name,
        "HAPROXY_PROXY_ID": str(proxy.id),
        "HAPROXY_PROXY_ADDR": given(proxy_addr),
        "HAPROXY_PROXY_PORT": given(proxy_port),
        "HAPROXY_SERVER_NAME": planned.config.name,
        "HAPROXY_SERVER_ID": str(planned.config.id),
        "HAPROXY_SERVER_ADDR": server_addr,
        "HAPROXY_SERVER_PORT": given(server_port),
        "HAPROXY_SERVER_MAXCONN": str(settings.maxconn),
        "HAPROXY_SERVER_CURCONN": "0",
        "HAPROXY_SERVER_SSL": str(int(settings.ssl)),
        "HAPROXY_SERVER_PROTO": protocol(planned),
    }
    kept = {**os.environ, **env} if config.global_.external_check_env else env
    argv = (rules.command, proxy_addr, proxy_port, server_addr, server_port)
    return Command(
        raw(rules.command),
        tuple(raw(word) for word in argv),
        tuple(raw(f"{name}={value}") for name, value in kept.items()),
    )
