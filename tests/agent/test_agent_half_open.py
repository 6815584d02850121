"""A flood of half-open connections: SYNs from addresses that never answer, in a network namespace; others are served."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

LONG_S = 60
ADDRESS = "10.9.0.1"
INSIDE = """
import os, random, socket, struct, threading
from risefall.agent.listener import open_listener
from risefall.engine.answerer import Answerer, Lines

HOST = "10.9.0.1"
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
flooding = threading.Event()

def total(data):
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    words = (words >> 16) + (words & 0xffff)
    return ~(words + (words >> 16)) & 0xffff

def syn(source, port):
    here, there = socket.inet_aton(source), socket.inet_aton(HOST)
    head = struct.pack("!HHIIBBHHH", random.randrange(1024, 65536), port, random.getrandbits(32), 0, 5 << 4, 2, 8192, 0, 0)
    sum_ = total(here + there + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head)) + head)
    head = head[:16] + struct.pack("!H", sum_) + head[18:]
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_TCP, 0, here, there) + head

def flood(port):
    while not flooding.is_set():
        source = f"10.9.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        raw.sendto(syn(source, port), (HOST, 0))

def half_open():
    return sum(line.split()[3] == "03" for line in open("/proc/net/tcp").readlines()[1:])

def ask(port):
    with socket.create_connection((HOST, port), timeout=20) as stream:
        return stream.makefile("rb").read()

with Answerer() as answerer:
    listener = open_listener(f"{HOST}:0")
    port = listener.getsockname()[1]
    answerer.say(0, Lines(b"up 100%"))
    answerer.listen(listener, [0], 0, by_text=False)
    assert ask(port) == b"up 100%\\n"
    flooder = threading.Thread(target=flood, args=(port,))
    flooder.start()
    most, answered = 0, 0
    while answered < 200 or most < 500:
        answered += ask(port) == b"up 100%\\n"
        most = max(most, half_open())
    flooding.set()
    flooder.join()
    counts = answerer.counts()
    print(answered == counts.answered - 1, counts.accepted == counts.answered, most >= 500)
"""


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace with a network whose other addresses take every packet and never answer."""
    if shutil.which("ip") is None:
        pytest.skip("ip is not installed here")
    name = f"rf{os.getpid()}syn"
    if os.geteuid() or subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces cannot be made here")
    try:
        for words in (
            "link set lo up",
            "link add d0 type veth peer name d1",
            "link set d1 up",
            f"addr add {ADDRESS}/16 dev d0",
            "link set d0 arp off up",
        ):
            subprocess.run(["ip", "-n", name, *words.split()], check=True, capture_output=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def test_others_are_answered_while_half_open_connections_fill_the_queue(namespace: str) -> None:
    """Linux keeps them out of the accept queue and answers with cookies when theirs is full; the agent sees none of them."""
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, sys.executable, "-c", INSIDE],
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG_S,
    )
    assert done.stdout == "True True True\n", done.stderr
