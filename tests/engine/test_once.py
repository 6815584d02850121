"""Every target checked once: what the event of a check says is kept, even if its record is seen first."""

from __future__ import annotations

from outcomes_kit import outcomes
from serve_kit import serving

GREETING = b"\x35\0\0\0\x0a10.11\0" + b"x" * 46


def test_what_haproxy_only_logs_is_told_of_every_check() -> None:
    """Many ends at the same time: one check's event wakes up whoever could see another's record before its event."""
    backend = "backend b{}\n option mysql-check\n server s 127.0.0.1:{} check inter 5s\n"
    for _ in range(20):
        with serving(lambda connection: connection.sendall(GREETING)) as port:
            said = outcomes("".join(backend.format(number, port) for number in range(40)))
        assert {one.text for one in said} == {b"10.11"}
