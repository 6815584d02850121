"""`external-check`, spec §3.10.8: how the command ends, what it is given."""

from __future__ import annotations

from pathlib import Path

from dialogue_kit import Case, script

SCRIPTS = {
    "seven": "exit 7",
    "killed": "kill -9 $$",
    "slow": "/bin/sleep 5",
    "stubborn": "trap '' TERM; /bin/sleep 5",
    "parent": "/bin/sleep 5 & exit 0",
    "path": '[ "$PATH" = /x:/y ] && exit 0; exit 3',
    "words": '[ "$1 $2 $3" = "NOT_USED NOT_USED 127.0.0.1" ] && [ -n "$4" ] && [ -z "$5" ] && exit 0; exit 3',
    "surroundings": '[ "$HAPROXY_SERVER_NAME $HAPROXY_SERVER_MAXCONN" = "s 7" ] && [ -z "$HOME$RISEFALL_SOCKET" ] && exit 0; exit 3',
    "files": "[ -e /proc/self/fd/7 ] && exit 3; exit 0",
}


def external_cases(folder: Path) -> list[Case]:
    """Cases whose commands are scripts of this folder."""
    for name, body in SCRIPTS.items():
        path = folder / f"{name}.sh"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    (folder / "noexec.sh").write_text("exit 0\n")
    commands = {name: str(folder / f"{name}.sh") for name in (*SCRIPTS, "noexec")}
    commands |= {"true": "/bin/true", "false": "/bin/false", "missing": str(folder / "nowhere")}
    return [
        Case(
            f"external {name}",
            (
                "option external-check",
                f"external-check command {command}",
                *(["external-check path /x:/y"] * (name == "path")),
            ),
            script(),
            "maxconn 7",
            bytes_count=False,
        )
        for name, command in commands.items()
    ]
