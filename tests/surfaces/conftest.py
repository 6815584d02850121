"""A real haproxy to compare with, started once."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import surfaces_kit

from haproxy_kit import want_haproxy


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The path of the runtime API of a haproxy 2.6 that runs `surfaces_kit.CONFIG`; skips where there is none."""
    want_haproxy()
    with surfaces_kit.haproxy(tmp_path_factory.mktemp("haproxy"), (_free_port(), _free_port())) as path:
        yield path
