"""The machine of one checker: what an attempt does to its state, what is logged, and when the next one is due.

Each kind counts in a way of its own, which keepalived's manual does not tell and runs beside 2.2.7 show:

- all but SMTP_CHECK begin with their retries used up: the first failure ever is DOWN at once;
- TCP_CHECK and SMTP_CHECK retry a server that is down too, at `delay_before_retry`; the others only at `delay_loop`;
- HTTP_GET and SSL_GET ask one url at a time. One that failed must pass, and then all of them in turn, before UP;
- MISC_CHECK counts its pauses from start to start, the others from end to start.

A machine knows its server and its pool, and tells them; it reads no clock and does nothing.
Source: spec/keepalived-track.md §11.2, §11.3; run on 2.2.7.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from risefall.checkers.plan import PlannedChecker
from risefall.checkers.pool import Pool, Server
from risefall.checkers.words import Attempt, Line, Out, Verdict
from risefall.config.keepalived.model import Global

US_PER_MS = 1000


class Ended(msgspec.Struct, frozen=True):
    """How a program ended: by its status, or by a signal. timed_out: by the signal that was sent to end it."""

    status: int | None = None
    signal: int = 0
    timed_out: bool = False


class Paced:
    """What all kinds have in common. due_us: when the next attempt begins; infinite while one is under way."""

    def __init__(
        self, planned: PlannedChecker, server: Server, pool: Pool, global_: Global, hear: Callable[[Out], None]
    ) -> None:
        self.planned = planned
        self.config = planned.config
        self.server = server
        self.pool = pool
        self.up = not self.config.alpha
        self.has_run = False
        self.retries = self.config.retry
        """How many of the retries are used."""
        self.due_us = 0
        self.runs = 0
        self.last = ""
        """How the last attempt ended, for people."""
        self._log_all = self.config.log_all_failures or global_.checker_log_all_failures
        self._hear = hear
        if self.config.alpha:
            server.failed += 1

    @property
    def name(self) -> str:
        return self.server.name

    def begin(self, now_us: int) -> None:
        """An attempt begins."""

    def done(self, attempt: Attempt, now_us: int) -> None:
        """It has ended."""
        for text in attempt.said:
            self._say(text)
        self.last = attempt.told
        if attempt.verdict is Verdict.UNMADE:
            self._unmade(now_us)
            return
        self.runs += 1
        self._count(attempt, attempt.verdict is Verdict.PASS, now_us)

    def _count(self, attempt: Attempt, passed: bool, now_us: int) -> None:
        raise NotImplementedError

    def _unmade(self, now_us: int) -> None:
        self._wait(now_us, self.config.delay_loop_ms)

    def _wait(self, now_us: int, delay_ms: int) -> None:
        self.due_us = now_us + delay_ms * US_PER_MS

    def _turn(self, up: bool, mail: str, *, always: bool = False) -> None:
        """UP or DOWN, which may have been so already; the first time tells anyhow. always: a mail even when it was so."""
        was_up, was_alive = self.up, self.server.alive
        if was_up is up:
            if not self.has_run and (self.config.alpha or not up):
                self.pool.notify_server(self.server)
            self.has_run = True
        else:
            self.has_run = True
            (self.pool.up if up else self.pool.down)(self.server)
            self.up = up
        if always or was_up is not up:
            self.pool.mail_checker(self.server, was_alive, mail)

    @property
    def _open(self) -> bool:
        """Whether a failure could still turn something."""
        return self.up or not self.has_run

    def _say(self, text: str) -> None:
        self._hear(Line(text))


class Tcp(Paced):
    """TCP_CHECK."""

    def _count(self, attempt: Attempt, passed: bool, now_us: int) -> None:
        config = self.config
        if attempt.why and not passed and self.up and self._log_all:
            self._say(f"TCP connection to {self.name} {attempt.why}.")
        if not passed and self.retries < config.retry:
            self.retries += 1
            self.has_run = True
            self._wait(now_us, config.delay_before_retry_ms)
            return
        self.retries = 0
        if passed and (not self.up or not self.has_run):
            self._say(f"TCP connection to {self.name} success.")
            self._turn(True, "=> TCP CHECK succeed on service <=")
        elif not passed and self._open:
            tail = f" after {config.retry} retries" if config.retry and self.has_run else ""
            self._say(f"TCP_CHECK on service {self.name} failed{tail}.")
            self._turn(False, "=> TCP CHECK failed on service <=")
        self.has_run = True
        self._wait(now_us, config.delay_loop_ms)


class Http(Paced):
    """HTTP_GET and SSL_GET. at: which url is asked now; failed: which one has to pass before all are gone through."""

    def __init__(
        self, planned: PlannedChecker, server: Server, pool: Pool, global_: Global, hear: Callable[[Out], None]
    ) -> None:
        super().__init__(planned, server, pool, global_, hear)
        self.at = 0
        self.failed: int | None = None
        self._mismatches = [0] * len(self.config.urls)

    def _count(self, attempt: Attempt, passed: bool, now_us: int) -> None:
        url = self.config.urls[self.at]
        if attempt.length is not None:
            self._compare(*attempt.length)
        if passed:
            if not self.up:
                self._say(f"{attempt.why} success to {self.name} url({url.path})")
            self._passed(now_us)
        elif self._open:
            if self._log_all:
                self._say(f"{attempt.why} server {self.name}.")
            self.has_run = True
            self._failed(now_us)
        else:
            self._later(now_us)

    def _compare(self, declared: int, came: int) -> None:
        """A length that is not what was said is told when it changes."""
        differs = declared - came
        if differs and self._mismatches[self.at] != differs:
            url = self.config.urls[self.at]
            self._say(
                f"http_check for RS {self.name} VS {self.pool.name} url {url.virtualhost or ''}{url.path}:"
                f" content_length ({declared}) does not match received bytes ({came})"
            )
        self._mismatches[self.at] = differs

    def _passed(self, now_us: int) -> None:
        self.retries = 0
        is_last = self.at == len(self.config.urls) - 1
        if is_last and self.failed is None:
            if not self.up or not self.has_run:
                self._say(f"Remote Web server {self.name} succeed on service.")
                self._turn(True, "=> CHECK succeed on service <=")
                self.has_run = True
            self.at = 0
        elif self.failed is not None:
            self.failed = None
            self.at = 0
        else:
            self.at += 1
        if not self.has_run:
            self.retries = self.config.retry
        self._next(now_us, self.config.delay_loop_ms)

    def _failed(self, now_us: int) -> None:
        self.retries += 1
        if self.retries > self.config.retry:
            if self._open:
                tail = f" after {self.retries - 1} retries" if self.config.retry else ""
                self._say(f"HTTP_CHECK on service {self.name} failed{tail}.")
                self._turn(False, "=> CHECK failed on service : HTTP request failed <=")
            self.failed = self.at
        self._later(now_us)

    def _later(self, now_us: int) -> None:
        config = self.config
        loop_ms = config.delay_loop_ms if self.failed is not None else 0
        self._next(now_us, max(config.delay_before_retry_ms, loop_ms))

    def _next(self, now_us: int, delay_ms: int) -> None:
        hurry = self.config.fast_recovery and (not self.has_run or (not self.up and self.failed is None))
        self._wait(now_us, 0 if hurry else delay_ms)


class Smtp(Paced):
    """SMTP_CHECK. Its first failure is no other than the later ones."""

    def __init__(
        self, planned: PlannedChecker, server: Server, pool: Pool, global_: Global, hear: Callable[[Out], None]
    ) -> None:
        super().__init__(planned, server, pool, global_, hear)
        self.retries = 0

    def _unmade(self, now_us: int) -> None:
        self.retries = 0
        super()._unmade(now_us)

    def _count(self, attempt: Attempt, passed: bool, now_us: int) -> None:
        config = self.config
        if passed:
            if not self.up or not self.has_run:
                self._say(f"Remote SMTP server {self.name} succeed on service.")
                self._turn(True, "=> CHECK succeed on service <=")
            self.has_run = True
        else:
            if self._open and (self._log_all or self.retries >= config.retry):
                self._say(f"SMTP_CHECK {attempt.why}")
            self.retries += 1
            if self.retries <= config.retry:
                self._wait(now_us, config.delay_before_retry_ms)
                return
            if self._open:
                self._turn(False, f"=> CHECK failed on service : {attempt.why} <=")
        self.retries = 0
        self._wait(now_us, config.delay_loop_ms)


class Dns(Paced):
    """DNS_CHECK. Of what passes it says nothing."""

    def _count(self, attempt: Attempt, passed: bool, now_us: int) -> None:
        config = self.config
        if passed and (not self.up or not self.has_run):
            self._turn(True, "=> DNS_CHECK: succeed on service <=")
        elif not passed and self._open:
            last = self.retries >= config.retry
            if self._log_all or last:
                tail = f" after {config.retry} retries" if self.has_run and last else ""
                self._say(f"DNS_CHECK ({self.name}) {attempt.why}{tail}")
            if not last:
                self.retries += 1
                self.has_run = True
                self._wait(now_us, config.delay_before_retry_ms)
                return
            self._turn(False, "=> DNS_CHECK: failed on service <=")
        self.retries = 0
        self._wait(now_us, config.delay_loop_ms)


class Udp(Paced):
    """UDP_CHECK."""

    SHORT, LONG = "UDP", "UDP_CHECK"

    def _count(self, attempt: Attempt, passed: bool, now_us: int) -> None:
        config, delay_ms = self.config, self.config.delay_loop_ms
        if not passed and self.up and self._log_all and attempt.why:
            self._say(self._missed(attempt.why))
        if passed:
            self.retries = 0
            if not self.up or not self.has_run:
                self._say(f"{self.SHORT} connection to {self.name} success.")
                self._turn(True, f"=> {self.SHORT} CHECK succeed on service <=")
        elif self._open and self.retries >= config.retry:
            self.retries = 0
            tail = f"{self._of()} failed after {config.retry} retries" if config.retry and self.has_run else " failed"
            self._say(f"{self.LONG} on service {self.name}{tail}.")
            self._turn(False, f"=> {self.SHORT} CHECK failed on service <=")
        elif self.up:
            self.retries += 1
            delay_ms = config.delay_before_retry_ms
        self.has_run = True
        self._wait(now_us, delay_ms)

    def _missed(self, why: str) -> str:
        return f"UDP {'connection' if why == 'failed' else 'check'} to {self.name} {why}."

    def _of(self) -> str:
        return ""


class Ping(Udp):
    """PING_CHECK, which counts alike."""

    SHORT, LONG = "ICMP", "ICMP CHECK"

    def _missed(self, why: str) -> str:
        if why == "timeout":
            return f"ICMP connection to address {self.name} timeout."
        return f"ICMP connection to {self.name}{self._of()} failed."

    def _of(self) -> str:
        return f" of {self.pool.name}"


class Misc(Paced):
    """MISC_CHECK, which ends in a status and not in an attempt.

    given: what a dynamic one has added to its server's weight. When a signal or a time-out brings it down, 2.2.7 forgets that
    without taking it back, so that later weights are too high or too low by as much.
    """

    def __init__(
        self, planned: PlannedChecker, server: Server, pool: Pool, global_: Global, hear: Callable[[Out], None]
    ) -> None:
        super().__init__(planned, server, pool, global_, hear)
        self.last_status = 0
        self.given = 0
        self._began_us = 0

    def begin(self, now_us: int) -> None:
        self._began_us = now_us

    def ended(self, ended: Ended, now_us: int) -> None:
        """Its program has ended."""
        self.runs += 1
        config, status = self.config, ended.status
        self.last = (
            f"exit {status}" if status is not None else "timed out" if ended.timed_out else f"signal {ended.signal}"
        )
        if status == 0 or (status is not None and status >= 2 and config.dynamic):
            self._well(status)
        elif self._open:
            if status is not None:
                self._ill("failed", f"exited with status {status}", status)
            elif ended.timed_out:
                self._ill("timed out", "", None)
            else:
                self._ill("failed", f"due to signal {ended.signal}", None)
        self.has_run = True
        delay_ms = config.delay_before_retry_ms if self.retries else config.delay_loop_ms
        self.due_us = max(now_us + 1, self._began_us + delay_ms * US_PER_MS)

    def _well(self, status: int) -> None:
        if self.config.dynamic and status != self.last_status:
            gives = status - 2 - self.server.config.weight if status >= 2 else 0
            self.pool.weigh(self.server, self.server.weight + gives - self.given)
            self.given, self.last_status = gives, status
        if not self.up or not self.has_run:
            self._told("succeeded", "", "")
            self._turn(True, "=> MISC CHECK succeeded on service <=", always=True)
        self.retries = 0

    def _ill(self, how: str, reason: str, status: int | None) -> None:
        retry = self.config.retry
        if self.retries < retry:
            self.retries += 1
            if self._log_all:
                first = f", will do {retry} {'retry' if retry == 1 else 'retries'}"
                self._told(how, first if self.retries == 1 else f" on retry {self.retries - 1}/{retry}", reason)
            return
        self.retries = 0
        if self.config.dynamic and status is not None:
            self.last_status = status
            self.server.weight -= self.given  # without a word, and before it is taken out
        self.given = 0
        tail = f" after {retry} {'retry' if retry == 1 else 'retries'}" if retry else " with retry disabled"
        self._told(how, tail, reason)
        self._turn(False, f"=> MISC CHECK {how} on service <=", always=True)

    def _told(self, how: str, tail: str, reason: str) -> None:
        command = self.config.command
        assert command is not None
        by = f"[{self.name} VS {self.pool.name}] by [{command.argv[0]}]"
        self._say(f"Misc check for {by} {how}{tail}{f' ({reason})' if reason else ''}.")


MACHINES: dict[str, type[Paced]] = {
    "TCP_CHECK": Tcp,
    "HTTP_GET": Http,
    "SSL_GET": Http,
    "SMTP_CHECK": Smtp,
    "DNS_CHECK": Dns,
    "UDP_CHECK": Udp,
    "PING_CHECK": Ping,
    "MISC_CHECK": Misc,
}
