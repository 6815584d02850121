"""Runs HAProxy's own regression tests, the .vtc files of its reg-tests/, with risefall in haproxy's place. By hand:

    python tests/acceptance/vtc.py [--as 2.6|3] haproxy/reg-tests/checks [FILE ...]

It wants vtest, or varnishtest (Debian's package varnish), and an installed haproxy for what is not risefall's: configurations that
check nothing, and the frontends of those that do, which a second process serves. What such a test expects of traffic
(log lines, counters, servers taken out of it) is therefore not seen. The files come with HAProxy's sources and stay there.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

LIMIT_S = 30
SKIPPED = 77
SERVER = re.compile(r"\s*(server|server-template|default-server)\s")
CHECKED = re.compile(r"\s(check|agent-check|track\s+\S+)(?=\s|$)")
OF_CHECKS = re.compile(
    r"\s(check-(ssl|send-proxy|via-socks4)"
    r"|(observe|on-error|error-limit|agent-(inter|port|addr|send)|healthcheck|init-state|check-(alpn|proto|sni))\s+\S+)(?=\s|$)"
)
ASKED = re.compile(
    r"\s*(healthcheck\s|type\s|(http|tcp|external)-check\s|option\s+(httpchk|log-health-checks|\S*chk|\S+-check)(\s|$))"
)
LEFT_OUT = re.compile(r"\s*(stats\s+socket|log\s+\S+:|load-server-state|server-state|insecure-fork)")
VALUED = frozenset(("-L", "-n", "-N", "-m", "-p", "-S", "-x", "-dt"))


def checks(text: str) -> bool:
    """Whether a configuration checks anything, or answers a monitor."""
    lines = text.splitlines()
    servers = (line for line in lines if SERVER.match(line))
    return "monitor-uri" in text or any(map(ASKED.match, lines)) or any(map(CHECKED.search, servers))


def fronts(text: str) -> str:
    """The same configuration without checks, for whoever serves its frontends; "" where it has none."""
    if not re.search(r"^\s*(bind|listen)\s", text, re.MULTILINE):
        return ""
    kept = [line for line in text.splitlines() if not (LEFT_OUT.match(line) or ASKED.match(line))]
    return "\n".join(OF_CHECKS.sub("", CHECKED.sub("", line)) if SERVER.match(line) else line for line in kept) + "\n"


def condition(text: str, dialect: str) -> int:
    """`haproxy -cc`: 0 when it holds."""
    from risefall.config.haproxy.conditions import Condition
    from risefall.config.haproxy.dialect import DIALECTS
    from risefall.config.haproxy.lexer import Lexer
    from risefall.config.text import Wrong

    try:
        words = Lexer(f".if {text}", dict(os.environ), rest_from=1).words()
        return 0 if Condition("".join(words[1:2]), ".if", os.environ, DIALECTS[dialect]).value() else 1
    except Wrong:
        return 1


def stand_in(arguments: Sequence[str], dialect: str, haproxy: str) -> int:
    """Does what `haproxy` with these arguments would."""
    words = iter(arguments)
    files = []
    for word in words:
        if word in ("-v", "-vv", "-c"):
            os.execv(haproxy, [haproxy, *arguments])
        elif word == "-cc":
            return condition(next(words), dialect)
        elif word == "-C":
            os.chdir(next(words))
        elif word == "-f":
            files.append(next(words))
        elif word in VALUED:
            next(words)
    text = "".join(Path(file).read_text(encoding="utf-8") for file in files)
    if not checks(text):
        os.execv(haproxy, [haproxy, *arguments])
    Path(os.environ["VTC_MARK"]).touch()
    folder = tempfile.mkdtemp(dir=Path(files[0]).parent)
    if "monitor-uri" not in text and (served := fronts(text)):
        path = Path(folder, "fronts.cfg")
        path.write_text(served, encoding="utf-8")
        subprocess.Popen(["setpriv", "--pdeathsig", "TERM", haproxy, "-db", "-f", str(path)], close_fds=False)
    # In this process, whose id the test has: it looks for it in the log, and wants it to end by the signal that it sends.
    from risefall.cli.main import run

    sys.argv = [
        "risefall",
        "run",
        "--as",
        dialect,
        "--serve",
        "config",
        "--state-dir",
        "none",
        "--socket",
        f"{folder}/sock",
    ]
    sys.argv += [part for file in files for part in ("-f", file)]
    try:
        run()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
        if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            signal.signal(code - 128, signal.SIG_DFL)
            os.kill(os.getpid(), code - 128)
        return code
    return 0


def scripts(places: Sequence[str]) -> Iterator[Path]:
    for place in map(Path, places):
        yield from sorted(place.rglob("*.vtc")) if place.is_dir() else [place]


def main(arguments: Sequence[str]) -> int:
    dialect = "3"
    if arguments[:1] == ["--as"]:
        dialect, arguments = arguments[1], arguments[2:]
    haproxy = os.environ.get("HAPROXY_PROGRAM") or shutil.which("haproxy")
    tester = shutil.which("vtest") or shutil.which("varnishtest")
    if not arguments or haproxy is None or tester is None:
        print(__doc__, file=sys.stderr)
        return 2
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "haproxy")
        program.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" --stand-in {dialect} "{haproxy}" "$@"\n'
        )
        program.chmod(0o755)
        mark = Path(folder, "mark")
        env = {**os.environ, "HAPROXY_PROGRAM": str(program), "VTC_MARK": str(mark)}
        for script in scripts(arguments):
            mark.unlink(missing_ok=True)
            command = [tester, "-t", str(LIMIT_S), str(script)]
            ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            why = [line for line in ran.stdout.splitlines() if line.startswith("----")]
            outcome = {0: "passes", SKIPPED: "is skipped"}.get(ran.returncode, "FAILS")
            print(f"{script}: {outcome}{'' if mark.exists() else ', without risefall: nothing is checked'}")
            print("".join(f"    {line}\n" for line in why[:3]), end="")
            failed += ran.returncode not in (0, SKIPPED)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stand-in"]:
        sys.exit(stand_in(sys.argv[4:], sys.argv[2], sys.argv[3]))
    sys.exit(main(sys.argv[1:]))
