"""CPU per check of each kind of check, haproxy and risefall in turn: presets, dialogues, TLS, external commands.

As vs_haproxy.py: the same servers, the same responder, round by round, each checker on one core, the ratio taken within
a round. TLS has nginx behind it, external checks have /bin/true and a bare loop of vfork, exec and wait beside them.

    python bench/check_kinds.py                      all kinds, five rounds: about ten minutes
    python bench/check_kinds.py --kinds redis,tls    some of them
    python bench/check_kinds.py --quick              one short round: shows that it works
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchlib import PROGRAMS, BenchError, Checker, Responder, config_text, refuse, stop, wait_until
from risefall.engine.play import Act, Then, When, http_reply

GREETING = b"\x4a\0\0\0\x0a8.0.36\0" + b"x" * 66
LOOP = """
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    char *words[] = {"/bin/true", NULL}, *none[] = {NULL};
    int n = argc > 1 ? atoi(argv[1]) : 1;
    const long gap_ns = argc > 2 ? 1000000000L / atoi(argv[2]) : 0;
    struct timespec due;
    clock_gettime(CLOCK_MONOTONIC, &due);
    for (int i = 0; i < n; i++) {
        due.tv_nsec += gap_ns;
        due.tv_sec += due.tv_nsec / 1000000000L;
        due.tv_nsec %= 1000000000L;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        pid_t pid = vfork();
        if (pid == 0) {
            execve(words[0], words, none);
            _exit(255);
        }
        waitpid(pid, NULL, 0);
    }
    struct rusage own, children;
    getrusage(RUSAGE_SELF, &own);
    getrusage(RUSAGE_CHILDREN, &children);
    double us = 0;
    us += own.ru_utime.tv_sec * 1e6 + own.ru_utime.tv_usec + own.ru_stime.tv_sec * 1e6 + own.ru_stime.tv_usec;
    us += children.ru_utime.tv_sec * 1e6 + children.ru_utime.tv_usec + children.ru_stime.tv_sec * 1e6 + children.ru_stime.tv_usec;
    printf("%f\\n", us / n);
    return 0;
}
"""
NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections 4000; }}
http {{ access_log off; server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem;
  ssl_certificate_key {folder}/key.pem; ssl_session_cache shared:a:5m; location / {{ return 200; }} }} }}
"""


class Kind(msgspec.Struct, frozen=True):
    """lines: of the backend. act: how the responder answers. goal: what the ratio is to be."""

    lines: tuple[str, ...]
    acts: tuple[Act, ...]
    goal: str
    words: str = ""
    servers: int = 3000
    global_lines: tuple[str, ...] = ()


SMTP = (
    Act(b"220 mail ESMTP\r\n", When.ACCEPT, Then.NEXT),
    Act(b"250 hello\r\n", When.BYTES, Then.NEXT, bytes_wanted=16),
    Act(b"221 bye\r\n", When.BYTES, Then.STAY, bytes_wanted=6),
)
DIALOGUE = ("option tcp-check", r"tcp-check send PING\r\n", "tcp-check expect string +PONG")
KINDS = {
    "http": Kind(("option httpchk",), (Act(http_reply(200, "OK"), then=Then.STAY),), ""),
    "tcp-check": Kind(DIALOGUE, (Act(b"+PONG\r\n", When.BYTES, Then.STAY, bytes_wanted=6),), "<= 1.2 x http"),
    "redis": Kind(("option redis-check",), (Act(b"+PONG\r\n", When.BYTES, Then.STAY, bytes_wanted=14),), "<= 1.2 x http"),
    "mysql": Kind(("option mysql-check",), (Act(GREETING, When.ACCEPT, Then.STAY),), "<= 1.0 x haproxy"),
    "pgsql": Kind(
        ("option pgsql-check user a",),
        (Act(bytes.fromhex("520000000800000000"), When.BYTES, Then.STAY, bytes_wanted=16),),
        "<= 1.0 x haproxy",
    ),
    "smtp": Kind(("option smtpchk",), SMTP, "<= 1.0 x haproxy"),
    "tls": Kind(("option httpchk GET /",), (), "<= 1.0 x haproxy", "check-ssl verify none", 300),
    "external": Kind(
        ("option external-check", "external-check command /bin/true"), (), "<= 1.2 x loop", servers=300,
        global_lines=("external-check", "insecure-fork-wanted"),
    ),
}  # fmt: skip


@contextlib.contextmanager
def nginx(cpu: int, *, nice: int = 0) -> Iterator[tuple[str, int]]:
    """A TLS server; where it listens."""
    if shutil.which("nginx") is None or shutil.which("openssl") is None:
        raise BenchError("the bench of TLS needs nginx and openssl: apt-get install nginx-light openssl")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as name:
        words = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
        subprocess.run(["openssl", *words.split()], cwd=name, check=True, capture_output=True)
        (Path(name) / "conf").write_text(NGINX.format(folder=name, port=port))
        process = subprocess.Popen(
            ["nice", "-n", str(nice), "taskset", "-c", str(cpu), "nginx", "-c", f"{name}/conf"],
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until("nginx answers", lambda: answers(port), 10)
            yield "127.0.0.1", port
        finally:
            stop(process)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def loop_us(folder: Path, count: int, cpu: int, per_s: int) -> float:
    """CPU microseconds of one vfork, exec and wait of /bin/true in a bare C loop of the same pace: cold caches cost."""
    (folder / "loop.c").write_text(LOOP)
    subprocess.run(["cc", "-O2", "-o", folder / "loop", folder / "loop.c"], check=True)
    ran = subprocess.run(
        ["taskset", "-c", str(cpu), folder / "loop", str(count), str(per_s)], check=True, capture_output=True
    )
    return float(ran.stdout)


class Bench:
    """Takes one figure after the other."""

    def __init__(self, window_s: float, cpu: int, responder_cpu: int, say: Callable[[str], None]) -> None:
        self.window_s, self.cpu, self.responder_cpu, self.say = window_s, cpu, responder_cpu, say

    def cpu_us(self, program: str, kind: Kind, places: Sequence[tuple[str, int]]) -> float:
        """CPU microseconds a check, children included; every server has to be UP by then."""

        def config(path: Path) -> str:
            words = f"check inter 1s {kind.words}"
            lines = {"lines": kind.lines, "global_lines": kind.global_lines}
            return config_text(kind.servers, places, words, socket_path=path, **lines)

        with Checker(program, config, self.cpu) as checker:
            wait_until(f"{program}: every server UP", lambda: checker.statuses()["UP"] == kind.servers, 30)
            time.sleep(2)  # both have left their start behind them
            used, start = checker.cpu_s(), time.monotonic()
            time.sleep(self.window_s)
            used, wall = checker.cpu_s() - used, time.monotonic() - start
            return used / (kind.servers * wall) * 1e6

    def rounds(self, name: str, kind: Kind, places: Sequence[tuple[str, int]], count: int) -> dict[str, list[float]]:
        """Both programs, round by round."""
        taken: dict[str, list[float]] = {program: [] for program in PROGRAMS}
        for number in range(count):
            for program in PROGRAMS if number % 2 == 0 else PROGRAMS[::-1]:
                taken[program].append(self.cpu_us(program, kind, places))
            told = ", ".join(f"{program} {values[-1]:.1f} us" for program, values in taken.items())
            self.say(f"{name}: round {number + 1}: {told}")
        return taken

    def kind(self, name: str, count: int) -> dict[str, list[float]]:
        """All rounds of one kind."""
        kind = KINDS[name]
        if name == "tls":
            with nginx(self.responder_cpu) as place:
                return self.rounds(name, kind, [place], count)
        with Responder(8, self.responder_cpu) as responder:
            if kind.acts:
                responder.script(*kind.acts)
            return self.rounds(name, kind, responder.places, count)


def main(argv: Sequence[str] | None = None) -> int:
    """See the head of this file. Exit code: 0, or 3 when it could not measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS), help="which of them, by comma")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window-s", type=float, default=8.0)
    parser.add_argument("--quick", action="store_true", help="one short round of the kinds that need no other program")
    parser.add_argument("--cpu", type=int, default=0, help="core of the checker")
    parser.add_argument("--responder-cpu", type=int, default=1, help="core of the responder")
    options = parser.parse_args(argv)
    names = options.kinds.split(",")
    count, window_s = options.rounds, options.window_s
    if options.quick:
        names, count, window_s = ["http", "redis", "external"], 1, 1.0
    errors = Console(stderr=True)
    bench = Bench(window_s, options.cpu, options.responder_cpu, lambda text: errors.print(text, highlight=False))
    table = Table("kind", *PROGRAMS, "ratio", "spread", "beside it", "goal")
    http_us = 0.0
    try:
        for name in names:
            taken = bench.kind(name, count)
            ratios = [ours / theirs for ours, theirs in zip(taken["risefall"], taken["haproxy"], strict=True)]
            ours = statistics.median(taken["risefall"])
            http_us = ours if name == "http" else http_us
            beside = f"{ours / http_us:.2f} x http" if http_us and name in ("tcp-check", "redis") else ""
            if name == "external":
                with tempfile.TemporaryDirectory() as folder:
                    bare = loop_us(Path(folder), 300 if options.quick else 2400, options.cpu, KINDS[name].servers)
                beside = f"{ours / bare:.2f} x loop ({bare:.0f} us)"
            cells = [f"{statistics.median(taken[program]):.1f} us" for program in PROGRAMS]
            spread = f"{min(ratios):.2f} .. {max(ratios):.2f}"
            table.add_row(name, *cells, f"{statistics.median(ratios):.2f}", spread, beside, KINDS[name].goal)
    except BenchError as error:
        return refuse(error)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
