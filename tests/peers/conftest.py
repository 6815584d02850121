"""Starts every peer once a session and runs both programs in each state of the peers; the tests only compare."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from haproxy_kit import haproxy_path
from peers_checks import matrix_cases, own_cases, state_cases
from peers_kit import PROMPT, Both, Case, Missing, Outcomes, Pace, Peer, compare, connections_to, until
from peers_mysql import mariadb
from peers_nginx import certificates, nginx
from peers_postgres import postgres
from peers_redis import redis_peers
from peers_slapd import slapd_peers
from peers_smtp import smtp_peers
from peers_table import Table

PATIENT = Pace(20_000, 20_000)
"""For peers that are killed meanwhile: a TLS handshake has no longer than `inter`."""
TABLES = Path(__file__).parent


class Peers(msgspec.Struct):
    """What runs, and what does not. missing: names of makers to why their peers are not there."""

    running: list[Peer]
    ports: dict[str, int]
    missing: dict[str, str]
    pki: Path

    def here(self, cases: Sequence[Case]) -> list[Case]:
        """Those cases whose peers are there."""
        return [case for case in cases if case.port in self.ports]


Makers = dict[str, Callable[[Path, Path], list[Peer]]]
MAKERS: Makers = {
    "redis": lambda folder, _: redis_peers(folder),
    "nginx": lambda folder, pki: [nginx(folder, pki)],
    "postgres": lambda folder, _: [postgres(folder)],
    "mariadb": lambda folder, _: [mariadb(folder)],
    "slapd": lambda folder, _: slapd_peers(folder),
    "smtp": smtp_peers,
}


@pytest.fixture(scope="session")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """Every peer, ready to start; ended for sure when the session ends."""
    folder = tmp_path_factory.mktemp("peers")
    try:
        pki = certificates(folder)
    except Missing as error:
        pytest.skip(str(error))
    with contextlib.ExitStack() as stack:
        made = Peers([], {}, {}, pki)
        for name, make in MAKERS.items():
            try:
                some = make(folder, made.pki)
            except Missing as error:
                made.missing[name] = str(error)
                continue
            for peer in some:
                stack.callback(peer.close)
                made.running.append(peer)
                made.ports |= peer.ports
        yield made


@pytest.fixture(scope="session")
def outcomes(peers: Peers, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """All states one after the other: nobody there yet, sound, stopped, killed while checks wait, gone."""
    folder = tmp_path_factory.mktemp("outcomes")
    lasting = peers.here(state_cases())
    found: dict[str, dict[str, Both]] = {}

    def play(
        state: str, cases: list[Case], pace: Pace = PROMPT, meanwhile: Callable[[int], None] | None = None
    ) -> None:
        path = folder / f"{state}.cfg"
        found[state] = compare(cases, peers.ports, peers.pki, path, pace=pace, meanwhile=meanwhile)

    def all_killed(programs: int) -> None:
        """Once each check of each program is connected to a peer that does not answer."""
        for port in {case.port for case in lasting}:
            wanted = programs * sum(case.port == port and not case.name.startswith("connect") for case in lasting)
            number = peers.ports[port]
            until(lambda number=number, wanted=wanted: connections_to(number) >= wanted, f"checks wait at {port}")  # type: ignore[misc]
        for peer in peers.running:
            peer.kill()

    play("starting", lasting)
    for peer in peers.running:
        peer.start()
    for peer in peers.running:
        peer.wait_up()
    play("sound", peers.here([*matrix_cases(), *own_cases()]))
    for peer in peers.running:
        peer.signal(signal.SIGSTOP)
    play("stopped", lasting)
    play("killed", lasting, PATIENT, all_killed)
    play("gone", lasting)
    if os.environ.get("RISEFALL_RECORD") and haproxy_path():
        assert not peers.missing, peers.missing
        Table.of(found).write(TABLES)
    return Outcomes(found, peers.missing)
