"""What leaves the daemon as text: the terminal's lines as HAProxy prints them there, and objects with stable keys."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_kit import loaded

from risefall.daemon import report as report_module
from risefall.daemon.assemble import Seed
from risefall.daemon.report import EMERG, Report
from risefall.engine.native import Event, Handle
from risefall.engine.targets import TargetBuilder
from risefall.state.exchange import CheckResult
from risefall.state.fleet import Fleet
from risefall.state.server import AGENT, HEALTH
from risefall.status import Status, Verdict

ALERT, WARNING, NOTICE = 1, 4, 5
TEXT = "backend b\n  server s1 127.0.0.1:80 check weight 7\nlisten l\n  bind :1\n  server s2 127.0.0.1:81\n"


class Ends:
    """A report whose stdout and stderr are files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out, self.err = folder / "out", folder / "err"
        self._files = [self.out.open("wb"), self.err.open("wb")]
        monkeypatch.setattr(report_module, "STDOUT", self._files[0].fileno())
        monkeypatch.setattr(report_module, "STDERR", self._files[1].fileno())

    def report(self, text: str = TEXT, where: str = "stderr", *, as_json: bool = False) -> Report:
        return Report(loaded(text).config, where, as_json=as_json)

    def told(self) -> list[str]:
        """Lines on the terminal, the pid left out."""
        return re.sub(rf"\({os.getpid()}\)", "(PID)", self.err.read_text()).splitlines()

    def objects(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def close(self) -> None:
        for file in self._files:
            file.close()


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    made = Ends(tmp_path, monkeypatch)
    yield made
    made.close()


def fleet_of(text: str = TEXT) -> Fleet:
    one = loaded(text)
    targets = TargetBuilder(one.config, one.dialect, {}, node="n").build(one.planned, now_ns=0)
    return Seed(one.config, targets, one.dialect, 0).grow()


# --- the terminal ---------------------------------------------------------------------------------------


def test_every_line_is_a_warning_but_the_last_server(ends: Ends) -> None:
    """As HAProxy writes them to stderr: only emerg is an ALERT, whatever level the log target gets."""
    report = ends.report()
    report.line(0, ALERT, "Server b/s1 is DOWN.")
    report.line(0, NOTICE, "Server b/s1 is UP.")
    report.line(0, WARNING, "Proxy b stopped.")
    report.line(0, EMERG, "backend b has no server available!")
    report.close()
    assert ends.told() == [
        "[WARNING]  (PID) : Server b/s1 is DOWN.",
        "[WARNING]  (PID) : Server b/s1 is UP.",
        "[WARNING]  (PID) : Proxy b stopped.",
        "[ALERT]    (PID) : backend 'b' has no server available!",
    ]


def test_a_listen_section_is_a_proxy(ends: Ends) -> None:
    report = ends.report()
    report.line(1, EMERG, "proxy l has no server available!")
    report.close()
    assert ends.told() == ["[ALERT]    (PID) : proxy 'l' has no server available!"]


def test_a_name_that_reads_like_the_sentence(ends: Ends) -> None:
    report = ends.report("backend backend\n  server s1 127.0.0.1:80 check\n")
    report.line(0, EMERG, "backend backend has no server available!")
    report.close()
    assert ends.told() == ["[ALERT]    (PID) : backend 'backend' has no server available!"]


def test_bytes_of_a_configuration_go_out_as_they_came_in(ends: Ends) -> None:
    report = ends.report()
    report.line(0, NOTICE, "Server b/caf\udce9 is UP.")
    report.say("caf\udce9")
    report.close()
    assert b"b/caf\xe9 is UP.\n" in ends.err.read_bytes()


@pytest.mark.parametrize("where", ["config", "stderr", "none"])
def test_where_lines_go(ends: Ends, tmp_path: Path, where: str) -> None:
    """`none` silences HAProxy's lines, never risefall's own words."""
    path = tmp_path / "log"
    path.touch()
    with path.open("r+b") as file:
        text = f"global\n  log fd@{file.fileno()} format raw local0\ndefaults\n  log global\n{TEXT}"
        report = ends.report(text, where)
        report.line(0, NOTICE, "Server b/s1 is UP.")
        report.say("a word")
        report.close()
    assert (ends.told()[:-1] != []) == (where != "none")
    assert ends.told()[-1] == "risefall: a word"
    assert path.read_text() == ("Server b/s1 is UP.\n" if where == "config" else "")


def test_the_tag_is_the_proxys_the_globals_or_risefall(ends: Ends, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    with path.open("r+b") as file:
        log = f"  log fd@{file.fileno()} format short local0\n"
        for head, told in (("", "risefall"), ("global\n  log-tag mine\n", "mine")):
            report = ends.report(f"{head}backend b\n{log}backend c\n{log}  log-tag own\n", "config")
            report.line(0, NOTICE, "x")
            report.line(1, NOTICE, "y")
            report.close()
            assert told in report.logger._tags if report.logger else False
            assert report.logger is not None
            assert "own" in report.logger._tags


def test_a_log_target_that_cannot_be_is_told(ends: Ends) -> None:
    text = f"global\n  log nowhere.invalid local0\ndefaults\n  log global\n{TEXT}"
    report = ends.report(text, "config")
    report.line(0, NOTICE, "Server b/s1 is UP.")
    report.close()
    assert ends.told()[0].startswith("risefall: ")
    assert "nowhere.invalid" in ends.told()[0]
    assert report.dropped == 1


# --- objects --------------------------------------------------------------------------------------------


def event(status: Status, verdict: Verdict, code: int = 0, text: bytes = b"") -> Event:
    return Event(Handle(1), 0, 1234, CheckResult(0, status, verdict, code, 3, 12, text))


def test_a_result_is_an_object(ends: Ends) -> None:
    report, fleet = ends.report(as_json=True), fleet_of()
    report.check(fleet, 0, HEALTH, event(Status.L7STS, Verdict.FAILED, 503, b"Busy"))
    report.check(fleet, 0, AGENT, event(Status.L4CON, Verdict.FAILED, 7))
    report.close()
    first, second = ends.objects()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(first.pop("time")))
    assert first == {
        "event": "check", "backend": "b", "server": "s1", "check": "health", "status": "L7STS", "code": 503,
        "duration_ms": 12, "health": 3, "text": "Busy", "late_us": 1234,
    }  # fmt: skip
    assert (second["check"], second["status"], second["code"]) == ("agent", "L4CON", None)


def test_what_a_server_says_cannot_break_a_line(ends: Ends) -> None:
    report, fleet = ends.report(as_json=True), fleet_of()
    report.check(fleet, 0, HEALTH, event(Status.L7STS, Verdict.FAILED, 503, b'a\nb"\xff\x1b[2J'))
    report.close()
    (told,) = ends.objects()
    assert told["text"] == 'a\nb"\ufffd\x1b[2J'


def test_a_state_is_an_object(ends: Ends) -> None:
    report, fleet = ends.report(as_json=True), fleet_of()
    report.states(fleet, [1, 0])
    report.close()
    first, second = ends.objects()
    assert (first["backend"], first["server"], first["status"]) == ("l", "s2", "no check")
    second.pop("time")
    assert second == {
        "event": "state", "backend": "b", "server": "s1", "status": "UP 1/3", "op": "RUNNING", "admin": 0, "weight": 7,
    }  # fmt: skip


def test_a_line_is_an_object_also_where_no_line_is_printed(ends: Ends) -> None:
    report = ends.report(where="none", as_json=True)
    report.line(0, EMERG, "backend b has no server available!")
    report.close()
    (told,) = ends.objects()
    told.pop("time")
    assert told == {"event": "log", "backend": "b", "level": 0, "line": "backend b has no server available!"}
    assert ends.told() == []


def test_names_that_are_no_utf8_are_objects_too(ends: Ends, tmp_path: Path) -> None:
    """Beside a template's mark any byte may stand in the name of a proxy; an object line must be JSON all the same."""
    text = "backend caf\udce9{{x}}\n  server s1 127.0.0.1:80 check\n"
    report, fleet = ends.report(text, as_json=True), fleet_of(text)
    report.states(fleet, [0])
    report.check(fleet, 0, HEALTH, event(Status.L4OK, Verdict.PASSED))
    report.line(0, NOTICE, "Server caf\udce9{{x}}/s1 is UP.")
    report.close()
    assert len(ends.objects()) == 3


def test_without_json_there_is_no_object(ends: Ends) -> None:
    report, fleet = ends.report(), fleet_of()
    report.check(fleet, 0, HEALTH, event(Status.L4OK, Verdict.PASSED))
    report.states(fleet, [0])
    report.close()
    assert ends.out.read_bytes() == b""
    assert len(report.outboxes) == 1
