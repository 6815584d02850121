"""Samples of /proc, of cgroup files and of pages, and the numbers in them."""

from __future__ import annotations

import pytest

from risefall.agent import procfs
from risefall.agent.pages import json_number, prometheus_number

STAT = "cpu  100 20 30 800 50 0 10 5 7 0\ncpu0 1 2 3 4\nintr 5\n"
PRESSURE = "some avg10=0.27 avg60=1.16 avg300=0.94 total=702426552\nfull avg10=0.05 avg60=0.00 avg300=0.00 total=0\n"
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 0100007F:D431 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
   3: 0100007F:1F90 0100007F:D432 06 00000000:00000000 03:00000F9B 00000000     0        0 0 3 0
"""
TCP6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:AB12 01 0:0 0:0 0 0 0 9
"""


def test_cpu_of_the_machine() -> None:
    assert procfs.parse_stat(STAT) == procfs.CpuTimes(1_650_000, 10_150_000)
    assert procfs.busy_pct(procfs.CpuTimes(0, 0), procfs.CpuTimes(30, 120)) == 25
    assert procfs.busy_pct(procfs.CpuTimes(5, 0), procfs.CpuTimes(0, 10)) == 0
    with pytest.raises(ValueError, match="no time has passed"):
        procfs.busy_pct(procfs.CpuTimes(1, 1), procfs.CpuTimes(1, 1))


@pytest.mark.parametrize(("text", "count"), [("0-3,8\n", 5), ("7", 1), ("\n", 0)])
def test_a_list_of_cpus(text: str, count: int) -> None:
    assert procfs.count_cpus(text) == count


def test_cpu_of_a_cgroup() -> None:
    assert procfs.parse_cpu_usage("usage_usec 123\nuser_usec 100\nsystem_usec 23\n") == 123
    assert procfs.parse_cpu_max("max 100000\n", 8) == 8
    assert procfs.parse_cpu_max("150000 100000\n", 8) == 1.5
    assert procfs.parse_cpu_max("1600000 100000\n", 8) == 8


def test_load() -> None:
    assert [procfs.parse_load("0.50 1.25 2.00 3/456 789\n", each) for each in (1, 5, 15)] == [0.5, 1.25, 2]


def test_memory() -> None:
    assert procfs.parse_meminfo("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n") == 75
    assert procfs.cgroup_memory_pct("600\n", "1000\n", "anon 1\ninactive_file 100\n") == 50
    assert procfs.cgroup_memory_pct("600\n", "max\n", "") is None
    assert procfs.cgroup_memory_pct("600\n", "0\n", "") == 100


def test_pressure() -> None:
    assert procfs.parse_psi(PRESSURE, "some", 60) == 1.16
    assert procfs.parse_psi(PRESSURE, "full", 10) == 0.05
    with pytest.raises(ValueError, match="only since Linux"):
        procfs.parse_psi(PRESSURE.split("\n")[0], "full", 10)


def test_where_a_process_is() -> None:
    assert procfs.parse_cgroup_path("1:cpu:/\n0::/system.slice/x.service\n") == "/system.slice/x.service"
    assert procfs.parse_cgroup_path("1:cpu:/\n") is None


def test_files() -> None:
    assert procfs.parse_file_nr("600\t100\t1000\n") == 50
    limits = "Limit                     Soft Limit           Hard Limit           Units\n"
    assert (
        procfs.parse_files_limit(limits + "Max open files            1024                 4096                 files\n")
        == 1024
    )


def test_when_a_process_started() -> None:
    assert procfs.parse_start_ns("1 (a) b) c) S " + "0 " * 18 + "250 0 0") == 2_500_000_000


def test_connections() -> None:
    assert procfs.count_established(TCP, 8080) == 1
    assert procfs.count_established(TCP6, 8080) == 1
    assert procfs.count_established(TCP, 80) == 0


@pytest.mark.parametrize(("text", "number"), [("12\n", 12), (" -1.5e2 rest", -150), ("75%", 75), ("+3", 3)])
def test_a_number_at_the_beginning(text: str, number: float) -> None:
    assert procfs.parse_number(text) == number


@pytest.mark.parametrize("text", ["", "  \n", "abc", "nan", "inf", "1e999", "--1", "7;"])
def test_no_number_at_the_beginning(text: str) -> None:
    with pytest.raises(ValueError, match="no number"):
        procfs.parse_number(text)


@pytest.mark.parametrize(
    "parse",
    [
        procfs.parse_stat, procfs.parse_cpu_usage, procfs.parse_meminfo, procfs.parse_file_nr, procfs.parse_files_limit,
        lambda text: procfs.parse_cpu_max(text, 2), lambda text: procfs.parse_load(text, 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("text", ["", "x", "cpu\n", "a b c d\n"])
def test_another_text_is_no_number(parse, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


PAGE = b'{"pool": [{"idle": 3}, {"idle": "4.5"}], "ok": true, "a.b": {"c": 7}, "none": null}'


@pytest.mark.parametrize(
    ("path", "number"), [("pool.0.idle", 3), ("pool.-1.idle", 4.5), ("ok", 1), ("a.b.c", 7), ("$.pool.0.idle", 3)]
)
def test_a_number_of_a_json_page(path: str, number: float) -> None:
    assert json_number(PAGE, path) == number


@pytest.mark.parametrize(
    ("path", "message"),
    [("pool.5.idle", "only 2 elements"), ("pool.x", "nothing can be inside"), ("nope", "there is no 'nope'"),
     ("none", "is no number"), ("pool", "is no number")],
)  # fmt: skip
def test_no_number_in_a_json_page(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        json_number(PAGE, path)


METRICS = """\
# HELP http_requests_total The total.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3
http_requests_total_other 9
msdos_file_access_time_seconds{path="C:\\\\DIR\\\\FILE.TXT",error="Cannot find:\\n\\"x\\""} 1.458255915e9
metric_without_labels 12.47
bad NaN
"""


@pytest.mark.parametrize(
    ("metric", "labels", "number"),
    [
        ("http_requests_total", {}, 1030), ("http_requests_total", {"code": "400"}, 3), ("metric_without_labels", {}, 12.47),
        ("msdos_file_access_time_seconds", {"path": "C:\\DIR\\FILE.TXT", "error": 'Cannot find:\n"x"'}, 1.458255915e9),
    ],
)  # fmt: skip
def test_a_number_of_a_prometheus_page(metric: str, labels: dict[str, str], number: float) -> None:
    assert prometheus_number(METRICS, metric, labels) == number


@pytest.mark.parametrize(
    ("metric", "labels"), [("http_requests", {}), ("http_requests_total", {"code": "1"}), ("bad", {})]
)
def test_no_number_in_a_prometheus_page(metric: str, labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"no sample|not finite"):
        prometheus_number(METRICS, metric, labels)
