"""PostgreSQL: one server whose pg_hba.conf lets users in, asks one for a password, and refuses one."""

from __future__ import annotations

from pathlib import Path

from peers_kit import Peer, program

ALLOWED, ASKED, REFUSED = "postgres", "asked", "refused"
"""Users: let in, asked for a password, refused."""
HBA = f"""\
local all all trust
host all {REFUSED} 127.0.0.1/32 reject
host all {ASKED} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "1MB",
    "fsync": "off",
    "autovacuum": "off",
    "dynamic_shared_memory_type": "mmap",
}


def startup_message(user: str) -> bytes:
    """The first words of a client: protocol 3.0 and a user."""
    body = b"\0\3\0\0user\0" + user.encode() + b"\0\0"
    return (len(body) + 4).to_bytes(4) + body


def postgres(folder: Path) -> Peer:
    """`pgsql`. Debian keeps the programs of each version apart, and root may not run them."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    folders = [str(path) for path in versions]
    initdb, server = program("initdb", *folders), program("postgres", *folders)
    peer = Peer("pgsql", folder, hello=startup_message(ALLOWED), answer=rb"R", user="postgres")
    data = peer.folder / "data"
    peer.once(initdb, "-D", str(data), "-U", ALLOWED, "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8")
    (data / "pg_hba.conf").write_text(HBA)
    words = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    peer.argv = [server, "-D", str(data), "-p", str(peer.port), *words]
    return peer
