"""`risefall vrrp --watch` in the namespace of a node of `vrrp_lab`, and packets that nobody should send."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from stalls import NICE
from vrrp_lab import Lab, LabError

DEADLINE_S = 30.0
SEND = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
for line in sys.stdin:
    place, data = line.split()
    sock.sendto(bytes.fromhex(data), (place, 0))
    print(flush=True)
"""


class Watcher:
    """Use it with `with`, inside the lab's: it listens when it is entered. Events and, after `end`, routers."""

    def __init__(self, lab: Lab, name: str, *arguments: str) -> None:
        self._command = ["ip", "netns", "exec", lab.space(name), *NICE, sys.executable, "-m", "risefall", "vrrp"]
        self._command += ["--watch", "eth0", "--json", *arguments]
        self._changed = threading.Condition()
        self.seen: list[dict[str, Any]] = []
        self.code: int | None = None

    def __enter__(self) -> Watcher:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.wait(lambda: any(one.get("text") == "listening" for one in self.seen))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.seen.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def end(self) -> int:
        """SIGTERM, as Ctrl-C; the exit code."""
        self._process.send_signal(signal.SIGTERM)
        self.code = self._process.wait(timeout=DEADLINE_S)
        self._reader.join()
        return self.code

    def wait(self, seen: Callable[[], bool]) -> None:
        """Until this is so; raises LabError with what was seen instead."""
        with self._changed:
            if not self._changed.wait_for(lambda: seen() or self._process.poll() is not None, timeout=DEADLINE_S):
                raise LabError(f"not seen within {DEADLINE_S} s, but {self.texts}")
        if not seen():
            assert self._process.stderr is not None
            raise LabError(f"risefall ended with {self._process.poll()}: {self._process.stderr.read()}")

    def wait_for(self, *kinds: str) -> None:
        """Until the last kinds of events are these, steady adverts aside."""
        self.wait(lambda: self.kinds[-len(kinds) :] == [*kinds])

    @property
    def events(self) -> list[dict[str, Any]]:
        """All but the remarks on the interface and the final routers."""
        return [one for one in self.seen if one["kind"] not in ("router", "interface")]

    @property
    def kinds(self) -> list[str]:
        return [one["kind"] for one in self.events]

    @property
    def texts(self) -> list[str]:
        return [f"{one['kind']} {one.get('text', '')}" for one in self.seen]

    @property
    def routers(self) -> list[dict[str, Any]]:
        return [one for one in self.seen if one["kind"] == "router"]

    def masters(self) -> list[str]:
        """Of all routers, in the end."""
        return [source for router in self.routers for source in router["masters"]]


def forge(lab: Lab, name: str, packets: Iterable[tuple[str, bytes]]) -> None:
    """Sends whole IPv4 packets from a node's namespace, one after the other with a pause, so that each is told apart."""
    command = ["ip", "netns", "exec", lab.space(name), sys.executable, "-c", SEND]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for place, data in packets:
            process.stdin.write(f"{place} {data.hex()}\n")
            process.stdin.flush()
            process.stdout.readline()
            time.sleep(0.02)  # the order of log lines is the order of packets on both sides anyhow
