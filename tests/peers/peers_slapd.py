"""OpenLDAP's slapd, twice: one that lets anybody bind, one that does not."""

from __future__ import annotations

from pathlib import Path

from peers_kit import Peer, program

BIND = bytes.fromhex("300c020101600702010304008000")
"""An anonymous bind, version 3."""
CONFIG = """\
{more}
pidfile {folder}/pid
argsfile {folder}/args
threads 2
database ldif
directory {folder}/data
suffix cn=peers
"""


def slapd(name: str, folder: Path, more: str = "") -> Peer:
    """One slapd with this in its global configuration; it is up when it answers a bind, with whatever."""
    path = program("slapd")
    peer = Peer(name, folder, hello=BIND, answer=rb"0.\x02\x01\x01a")
    (peer.folder / "data").mkdir()
    (peer.folder / "slapd.conf").write_text(CONFIG.format(folder=peer.folder, more=more))
    peer.argv = [path, "-h", f"ldap://127.0.0.1:{peer.port}/", "-f", str(peer.folder / "slapd.conf"), "-d", "none"]
    return peer


def slapd_peers(folder: Path) -> list[Peer]:
    """`ldap` and `ldap-closed`."""
    return [slapd("ldap", folder), slapd("ldap-closed", folder, "disallow bind_anon")]
