"""aiosmtpd, an SMTP server in Python: plain, within TLS, and one that wants STARTTLS before mail."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from peers_kit import Missing, Peer


def smtp(name: str, folder: Path, *words: str, greets: bool = True) -> Peer:
    """One server with these options; it is up when it greets, or within TLS when it accepts a connection."""
    if importlib.util.find_spec("aiosmtpd") is None:
        raise Missing("aiosmtpd is not installed")
    peer = Peer(name, folder, answer=rb"220 " if greets else b"")
    peer.argv = [sys.executable, "-m", "aiosmtpd", "-n", "-l", f"127.0.0.1:{peer.port}", *words]
    return peer


def smtp_peers(folder: Path, pki: Path) -> list[Peer]:
    """`smtp`, `smtps`, `smtp-starttls`."""
    certificate, key = str(pki / "sound.pem"), str(pki / "sound.key")
    return [
        smtp("smtp", folder),
        smtp("smtps", folder, "--smtpscert", certificate, "--smtpskey", key, greets=False),
        smtp("smtp-starttls", folder, "--tlscert", certificate, "--tlskey", key),
    ]
