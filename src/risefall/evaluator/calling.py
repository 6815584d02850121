"""Notifications for real: programs, FIFOs and mails, as keepalived calls and writes them, when asked.

Programs are not waited for, may overlap, and their exit code is ignored; those that run at the end get a second. A line that
does not fit into a FIFO is lost. A mail that does not get through is told and dropped.
Source: spec/keepalived-track.md §6.2-§6.5.
"""

from __future__ import annotations

import os
import smtplib
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import formatdate

import msgspec
import trio

from risefall.config.keepalived.model import Command, Config, Instance, Notify, SyncGroup
from risefall.engine.spawning import Children, Program
from risefall.errors import NativeError
from risefall.evaluator.commands import Dropped, Ready, prepared
from risefall.vrrp.notify import Call, FifoLine, Mail, Run

LAST_S = 1.0
MAILS_MAX = 64
ARGUMENTS = 4
"""What `notify` gets besides its own: what, name, state, priority."""


Fifos = Sequence[tuple[str | None, Command | None]]
"""Each with the program that reads it."""


def shown(call: Call) -> str:
    """A call in one line, for those who only want to see it."""
    match call:
        case Run():
            return "run " + " ".join(call.argv)
        case FifoLine():
            return "fifo " + call.text.rstrip("\n")
        case Mail():
            return "mail " + call.subject


class Fifo:
    """One FIFO: made when it is missing, and then removed at the end."""

    def __init__(self, path: str, umask: int | None) -> None:
        self.path = path
        self.made = False
        if not os.path.exists(path):
            os.mkfifo(path, 0o666 & ~(0o177 if umask is None else umask))
            self.made = True
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def write(self, text: str) -> bool:
        """False when it is full: the line is lost."""
        try:
            os.write(self._fd, text.encode("utf-8", "surrogateescape"))
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        os.close(self._fd)
        if self.made:
            os.unlink(self.path)


class Caller:
    """Does what is due. `run` for ever; `close` at the end."""

    def __init__(
        self,
        config: Config,
        env: Mapping[str, str],
        say: Callable[[str], None],
        *,
        commands: Iterable[Command] | None = None,
        fifos: Fifos | None = None,
    ) -> None:
        """say: is told what keepalived logs. commands, fifos: each FIFO with its program; without, those of VRRP.

        Raises: OSError when a FIFO cannot be made.
        """
        self._env = dict(env)
        self._say = say
        self._children = Children()
        self._mails, self._letters = trio.open_memory_channel[Mail](MAILS_MAX)
        self._fifos: list[Fifo] = []
        self.follow(config, commands=commands, fifos=fifos)

    def follow(self, config: Config, *, commands: Iterable[Command] | None = None, fifos: Fifos | None = None) -> None:
        """Calls what another configuration says; FIFOs end and are made again, as keepalived does.

        Raises: OSError when one cannot be made; the rest is in place then.
        """
        self._config = config
        self._ready: dict[tuple[str, ...], Ready] = {}
        global_ = config.global_
        if fifos is None:
            fifos = (
                (global_.vrrp_notify_fifo, global_.vrrp_notify_fifo_script),
                (global_.notify_fifo, global_.notify_fifo_script),
            )
        for command in _commands(config) if commands is None else commands:
            made = prepared(command, global_, self._env)
            for line in made.said:
                self._say(line)
            if not isinstance(made, Dropped):
                self._ready[command.argv] = made
        self._close_fifos()
        self._fifos += [Fifo(path, global_.umask) for path in dict.fromkeys(path for path, _ in fifos if path)]
        for path, command_ in fifos:
            if path and command_ is not None and command_.argv in self._ready:
                self._start(self._ready[command_.argv], (path,))

    @property
    def programs(self) -> int:
        """How many different ones it may have to run."""
        return len(self._ready)

    @property
    def insecure(self) -> bool:
        """Whether somebody else may write one that root runs."""
        return any(one.insecure for one in self._ready.values())

    async def run(self) -> None:
        """Buries programs that have ended, and sends mails, one after the other."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._bury)
            nursery.start_soon(self._send_mails)

    async def _bury(self) -> None:
        while True:
            await self._children.wait()
            self._children.ended()

    def call(self, call: Call) -> None:
        """Begins one; nothing of it waits."""
        match call:
            case Run():
                self._run(call.argv)
            case FifoLine():
                for fifo in self._fifos:
                    if not fifo.write(call.text):
                        self._say(f"notify fifo {fifo.path} is full: lost {call.text.rstrip()}")
            case Mail():
                try:
                    self._mails.send_nowait(call)
                except trio.WouldBlock:
                    self._say(f"too many mails wait: lost {call.subject}")

    def _run(self, argv: tuple[str, ...]) -> None:
        if argv in self._ready:
            self._start(self._ready[argv])
        elif argv[:-ARGUMENTS] in self._ready:
            self._start(self._ready[argv[:-ARGUMENTS]], argv[-ARGUMENTS:])

    def _start(self, ready: Ready, more: tuple[str, ...] = ()) -> None:
        if not self._children.room:
            self._say(f"{len(self._children)} notify programs still run: {ready.path} is not started")
            return
        program: Program = msgspec.structs.replace(ready, argv=(*ready.argv, *more)).program(
            self._env, self._config.global_.umask
        )
        try:
            self._children.start(program, group=False)
        except NativeError as error:
            self._say(f"{ready.path} could not be started: {error}")

    async def _send_mails(self) -> None:
        async for mail in self._letters:
            try:
                await trio.to_thread.run_sync(send, mail, self._config, abandon_on_cancel=True)
            except (OSError, smtplib.SMTPException) as error:
                self._say(f"mail '{mail.subject}' was not delivered: {error}")

    async def last(self) -> None:
        """Gives what still runs a second."""
        with trio.move_on_after(LAST_S):
            while len(self._children):
                await self._children.wait()
                self._children.ended()

    def close(self) -> None:
        self._children.close()
        self._close_fifos()

    def _close_fifos(self) -> None:
        while self._fifos:
            self._fifos.pop().close()


def _commands(config: Config) -> Iterable[Command]:
    """Every command that a notification may run, each once."""
    found: dict[tuple[str, ...], Command] = {}
    owners: list[Instance | SyncGroup] = [*config.instances, *config.groups]
    for owner in owners:
        for field in Notify.__struct_fields__:
            command = getattr(owner.notify, field)
            if command is not None:
                found.setdefault(command.argv, command)
    for command in (config.global_.vrrp_notify_fifo_script, config.global_.notify_fifo_script):
        if command is not None:
            found.setdefault(command.argv, command)
    return found.values()


def send(mail: Mail, config: Config) -> None:
    """Delivers one mail. Raises: OSError, smtplib.SMTPException."""
    global_ = config.global_
    if not global_.smtp_server or not global_.emails:
        return
    host = socket.gethostname()
    sender = global_.email_from or f"keepalived@{host}"
    body = (
        f"Date: {formatdate(localtime=True)}\r\nFrom: {sender}\r\nSubject: {mail.subject}\r\nX-Mailer: Keepalived\r\n"
        f"To: {', '.join(global_.emails)}\r\n\r\n{mail.body}\r\n"
    )
    with smtplib.SMTP(timeout=global_.smtp_connect_timeout_ms / 1000) as smtp:
        smtp.connect(global_.smtp_server, global_.smtp_port)
        smtp.helo(global_.smtp_helo_name or host)
        smtp.mail(sender)
        for address in global_.emails:
            smtp.rcpt(address)
        smtp.data(body.encode("utf-8", "replace"))
