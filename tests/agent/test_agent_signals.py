"""Readers over made-up kernel files, real files, real commands and a real page on loopback."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from risefall.agent.commands import OUTPUT_BYTES_MAX, run_command
from risefall.agent.machine import Machine, this_machine
from risefall.agent.reading import Reading
from risefall.agent.settings import (
    HEADROOM,
    AnySignal,
    Check,
    Command,
    CommandOf,
    Connections,
    Cpu,
    Disk,
    DiskOf,
    File,
    FileOf,
    Files,
    Json,
    Load,
    Memory,
    Prometheus,
    Psi,
    PsiResource,
    Scope,
)
from risefall.agent.signals import Measure, make_reader, systemd_measure, take

LONG_S = 20.0


class Made:
    """A machine of files that a test writes."""

    def __init__(self, root: Path) -> None:
        self.root, self.now_us = root, 0
        self.machine = Machine(
            proc=f"{root}/proc", cgroups=f"{root}/cgroup", cpus=4, clock_us=lambda: self.now_us, pause=self.pause
        )
        self.on_pause: Callable[[], None] = lambda: None
        self.write("proc/self/cgroup", "0::/\n")
        self.write("proc/stat", "cpu 0 0 0 0 0 0 0 0\n")
        self.write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 900 kB\n")
        self.write("proc/pressure/cpu", "some avg10=1.00 avg60=1.16 avg300=0.94 total=7\n")

    def pause(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)
        self.on_pause()

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def limit(self, where: str = "") -> None:
        """A cgroup that may use two CPUs and 1000 bytes."""
        self.write(f"cgroup{where}/cpu.max", "200000 100000\n")
        self.write(f"cgroup{where}/cpu.stat", "usage_usec 0\n")
        self.write(f"cgroup{where}/cpu.pressure", "some avg10=9.00 avg60=1.16 avg300=0.94 total=7\n")
        for name, text in (("max", "1000"), ("current", "800"), ("stat", "inactive_file 300")):
            self.write(f"cgroup{where}/memory.{name}", text + "\n")

    def read(self, signal: AnySignal) -> float:
        return make_reader(signal, self.machine)().value


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_the_machine_where_nothing_is_limited(made: Made) -> None:
    made.on_pause = lambda: made.write("proc/stat", "cpu 25 0 0 75 0 0 0 0\n")
    assert made.read(Cpu()) == 25
    assert made.read(Memory()) == pytest.approx(10)
    assert made.read(Psi()) == 1


def test_a_container_is_measured_by_its_limits(made: Made) -> None:
    made.limit()
    made.on_pause = lambda: made.write("cgroup/cpu.stat", "usage_usec 100000\n")
    reader = make_reader(Cpu(), made.machine)
    assert reader().value == pytest.approx(50)
    made.pause(1)
    made.write("cgroup/cpu.stat", "usage_usec 2000000\n")
    made.now_us = 1_100_000
    assert reader().value == pytest.approx(95)
    assert made.read(Memory()) == pytest.approx(50)
    assert made.read(Psi()) == 9
    assert made.read(Memory(scope=Scope.MACHINE)) == pytest.approx(10)


def test_an_agents_own_unit_says_nothing_of_the_service_but_a_slice_around_it_does(made: Made) -> None:
    made.write("proc/self/cgroup", "0::/app.slice/agent.service\n")
    made.limit("/app.slice/agent.service")
    assert found(made, Scope.AUTO) == []
    assert found(made, Scope.CGROUP) == ["/app.slice/agent.service"]
    made.limit("/app.slice")
    assert found(made, Scope.AUTO) == ["/app.slice"]
    assert found(made, Scope.CGROUP) == ["/app.slice/agent.service", "/app.slice"]
    assert found(made, Scope.MACHINE) == []


def found(made: Made, scope: Scope) -> list[str]:
    return [path.removeprefix(made.machine.cgroups) for path in made.machine.find_cgroups(scope, "cpu.max")]


def test_of_limits_one_around_another_the_fullest_counts(made: Made) -> None:
    """A container that may use two CPUs, in a pod that may use one, in a slice that has two to run on."""
    made.write("proc/self/cgroup", "0::/pods/pod/container/agent.service\n")
    for where in ("/pods", "/pods/pod", "/pods/pod/container"):
        made.limit(where)
    made.write("cgroup/pods/cpu.max", "max 100000\n")
    made.write("cgroup/pods/cpuset.cpus", "0,2-2\n")
    made.write("cgroup/pods/pod/cpu.max", "100000 100000\n")
    used = {"/pods": 0, "/pods/pod": 0, "/pods/pod/container": 0}
    reader = make_reader(Cpu(), made.machine)

    def spend(where: str, us: int) -> float:
        """What is read after a second in which a cgroup used so much, and what it is in as well."""
        for name in used:
            if where.startswith(name):
                used[name] += us
            made.write(f"cgroup{name}/cpu.stat", f"usage_usec {used[name]}\n")
        made.pause(1)
        return reader().value

    reader()
    assert spend("/pods/pod/container", 600_000) == pytest.approx(60)
    assert spend("/pods/pod", 900_000) == pytest.approx(90)  # a neighbour in the pod
    assert spend("/pods", 1_400_000) == pytest.approx(70)  # a neighbour of the pod
    made.write("cgroup/pods/pod/memory.current", "1200\n")
    assert made.read(Memory()) == pytest.approx(90)


def test_load_is_by_core(made: Made) -> None:
    made.write("proc/loadavg", "6.00 1.25 2.00 3/456 789\n")
    assert made.read(Load()) == 1.5


def test_connections_of_both_families(made: Made) -> None:
    line = "   0: 0100007F:0050 0100007F:D431 01 0:0\n"
    made.write("proc/net/tcp", "head\n" + line)
    assert made.read(Connections(port=80)) == 1
    made.write("proc/net/tcp6", "head\n" + line)
    assert made.read(Connections(port=80)) == 2


def test_descriptors_of_a_process(made: Made) -> None:
    for number in range(5):
        made.write(f"proc/77/fd/{number}", "")
    made.write("proc/77/limits", "Max open files            50                 4096                 files\n")
    made.write("pid", "77\n")
    assert made.read(Files(pid_file=str(made.root / "pid"))) == 10


def test_files(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "flag"
    assert made.read(File(path=str(path))) == 0
    path.write_text("42.5 seconds\n")
    assert made.read(File(path=str(path))) == 1
    assert made.read(File(path=str(path), of=FileOf.NUMBER)) == 42.5
    os.utime(path, (time.time() - 500, time.time() - 500))
    assert 500 <= made.read(File(path=str(path), of=FileOf.AGE)) < 5000


def test_disks(tmp_path: Path) -> None:
    assert 0 <= make_reader(Disk(path=str(tmp_path)), Machine())().value <= 100
    inodes = take(make_reader(Disk(path=str(tmp_path), of=DiskOf.INODES), Machine()), lambda: 0)
    counted = os.statvfs(tmp_path).f_files > 0
    assert inodes.failure == ("" if counted else f"{tmp_path} does not count its inodes")


def test_this_very_machine_can_be_read() -> None:
    for signal in HEADROOM:
        reading = take(make_reader(signal, this_machine()), time.monotonic_ns)
        assert reading.value is None or 0 <= reading.value <= 100
        assert (reading.value is None) == bool(reading.failure)


def test_what_goes_wrong_is_a_reading(made: Made) -> None:
    def clock() -> int:
        return 7

    missing = take(make_reader(File(path="/nowhere/x", of=FileOf.AGE), made.machine), clock)
    assert missing == Reading(7, None, "/nowhere/x: No such file or directory")
    pressure = take(make_reader(Psi(resource=PsiResource.IO), made.machine), clock)
    assert "No such file" in pressure.failure
    made.write("empty", "")
    empty = take(make_reader(File(path=str(made.root / "empty"), of=FileOf.NUMBER), made.machine), clock)
    assert empty.failure == "there is no number: it is empty"


def test_a_check_is_not_read(made: Made) -> None:
    with pytest.raises(TypeError):
        make_reader(Check(check="tcp://127.0.0.1:1"), made.machine)


# --- commands ------------------------------------------------------------------------------------------------


def command(*words: str, of: CommandOf = CommandOf.EXIT, timeout_ms: int = 10_000) -> Reading:
    return take(make_reader(Command(run=words, of=of, timeout_ms=timeout_ms), Machine()), lambda: 0)


def test_a_command_says_its_exit_code_or_a_number() -> None:
    assert command("/bin/sh", "-c", "echo lagging; exit 3") == Reading(0, 3, "", "lagging")
    assert command("/bin/echo", "12.5", of=CommandOf.NUMBER).value == 12.5
    assert command("/bin/sh", "-c", "echo 1; exit 3", of=CommandOf.NUMBER).failure == "'/bin/sh' ended with 3"
    assert command("/bin/sh", "-c", "kill -9 $$").value == -9
    assert "No such file" in command("/nowhere/program").failure


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + LONG_S
    while not gone(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        threading.Event().wait(0.01)


def test_a_hung_command_is_ended_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    said = command("/bin/sh", "-c", f"sleep 600 & echo $! > {pid}; wait", timeout_ms=1500)
    assert said.failure == "'/bin/sh' did not end within 1.5 s"
    wait_gone(int(pid.read_text()))


def test_a_child_that_holds_the_pipe_neither_delays_nor_survives(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    ended = run_command(("/bin/sh", "-c", f"sleep 600 & echo $! > {pid}; echo 5"), LONG_S)
    assert (ended.code, ended.output) == (0, b"5\n")
    wait_gone(int(pid.read_text()))


def test_a_flood_of_output_is_cut() -> None:
    ended = run_command(("/bin/sh", "-c", "head -c 3000000 /dev/zero; exit 4"), LONG_S)
    assert (ended.code, len(ended.output)) == (4, OUTPUT_BYTES_MAX)


@pytest.mark.parametrize(
    ("text", "measure"),
    [
        ("LoadState=loaded\nActiveState=active\nSubState=running\n", Measure(1, "active running")),
        ("LoadState=loaded\nActiveState=failed\nSubState=failed\n", Measure(0, "failed failed")),
        ("LoadState=not-found\nActiveState=inactive\nSubState=dead\n", Measure(0, "not-found")),
    ],
)
def test_states_of_units(text: str, measure: Measure) -> None:
    assert systemd_measure(text) == measure


# --- pages ---------------------------------------------------------------------------------------------------


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        pages = {"/status": b'{"idle": 3}', "/metrics": b'queue{name="a"} 5\n'}
        body = pages.get(self.path, b"none")
        self.send_response(200 if self.path in pages else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_pages(site: str) -> None:
    machine = Machine()
    assert make_reader(Json(url=f"{site}/status", path="idle"), machine)() == Measure(3)
    assert make_reader(Prometheus(url=f"{site}/metrics", metric="queue", labels={"name": "a"}), machine)() == Measure(5)
    failed = take(make_reader(Json(url=f"{site}/other", path="idle"), machine), lambda: 0)
    assert failed.failure == "HTTP status 404"


def test_no_page(free_port: int) -> None:
    failed = take(make_reader(Json(url=f"http://127.0.0.1:{free_port}/", path="a"), Machine()), lambda: 0)
    assert failed.failure == "Connection refused"
