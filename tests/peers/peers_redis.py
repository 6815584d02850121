"""redis-server: open, behind a password, and as a replica whose master is gone."""

from __future__ import annotations

from pathlib import Path

from peers_kit import Peer, program

PASSWORD = "open-sesame"
COMMON = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "notice")


def redis(name: str, folder: Path, *words: str) -> Peer:
    """One redis-server with these options; it is up when it answers a PING, with whatever."""
    path = program("redis-server")
    peer = Peer(name, folder, hello=b"*1\r\n$4\r\nPING\r\n", answer=rb"[+-]")
    peer.argv = [path, "--port", str(peer.port), "--dir", str(peer.folder), *COMMON, *words]
    return peer


def redis_peers(folder: Path) -> list[Peer]:
    """`redis`, `redis-auth`, `redis-replica`: the last one's master is a port on which nobody listens, its own folder's."""
    master = redis("redis", folder)
    locked = redis("redis-auth", folder, "--requirepass", PASSWORD)
    orphan = ("--replicaof", "127.0.0.1", "1", "--replica-serve-stale-data", "no")
    return [master, locked, redis("redis-replica", folder, *orphan)]
