"""MariaDB: one server with a user for checks, and a second port whose few connections are all taken."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from peers_kit import Peer, program, until

FULL = "mysql-full"
SETUP = """\
CREATE USER IF NOT EXISTS 'haproxy'@'%';
CREATE USER IF NOT EXISTS 'locked'@'%' IDENTIFIED BY 'open-sesame';
"""
SETTINGS = {
    "bind-address": "127.0.0.1",
    "socket": "socket",  # in the data folder: a longer path would not fit
    "pid-file": "pid",
    "extra-max-connections": "1",
    "connect-timeout": "600",
    "skip-name-resolve": "1",
    "innodb-buffer-pool-size": "8M",
    "innodb-log-file-size": "4M",
    "innodb-flush-log-at-trx-commit": "0",
    "performance-schema": "0",
}


class MariaDb(Peer):
    """Takes every connection of the port `mysql-full` once it is up, and keeps them."""

    def start(self) -> None:
        """Starts it with nobody connected."""
        self._taken = contextlib.ExitStack()
        super().start()

    def wait_up(self) -> None:
        """Until it answers, and refuses one more connection there."""
        super().wait_up()
        until(self._is_full, f"{FULL} is full")

    def _is_full(self) -> bool:
        sock = self._taken.enter_context(socket.create_connection(("127.0.0.1", self.ports[FULL]), timeout=10))
        return b"Too many connections" in sock.recv(4096)

    def close(self) -> None:
        """Ends it and those connections."""
        if self.process is not None:
            self._taken.close()
        super().close()


def mariadb(folder: Path) -> Peer:
    """`mysql` and `mysql-full`."""
    install, server = program("mariadb-install-db"), program("mariadbd")
    peer = MariaDb("mysql", folder, ("mysql", FULL), answer=rb"...\0\n", user="mysql")
    data, setup = peer.folder / "data", peer.folder / "setup.sql"
    peer.once(
        install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"
    )
    setup.write_text(SETUP)
    words = [f"--{name}={value}" for name, value in SETTINGS.items()]
    ports = (f"--port={peer.port}", f"--extra-port={peer.ports[FULL]}")
    peer.argv = [server, "--no-defaults", f"--datadir={data}", f"--init-file={setup}", *ports, *words]
    return peer
