"""One virtual server: which of its real servers are in the pool, its quorum, its sorry server, and what is said and called.

It decides, and puts what follows into a list; nothing is done here, and IPVS hears nothing. The order of lines and calls is
keepalived 2.2.7's, as observed beside it. Sums are C's: the threshold of a quorum is an unsigned number.
Source: spec/keepalived-track.md §11.4; run on 2.2.7.
"""

from __future__ import annotations

from collections.abc import Callable

from risefall.checkers.plan import PlannedPool, PlannedServer
from risefall.checkers.words import Due, Line, Out
from risefall.config.keepalived.model import Command, Global
from risefall.vrrp.notify import FifoLine, Mail, Run

UINT = 1 << 32
WEIGHT_MAX = 65535
"""What IPVS takes."""


def real_weight(weight: int) -> int:
    """The weight that counts."""
    return max(0, min(weight, WEIGHT_MAX))


class Server:
    """One real server. failed: how many of its checkers are down. weight: the effective one."""

    def __init__(self, planned: PlannedServer) -> None:
        self.planned = planned
        self.name = planned.name
        self.config = planned.config
        self.alive = False
        self.failed = 0
        self.weight = planned.config.weight


class Pool:
    """Feed it `start`, what checkers turn to, weights, and `stop`. hear: is told what follows, in order."""

    def __init__(self, planned: PlannedPool, global_: Global, hear: Callable[[Out], None]) -> None:
        self.planned = planned
        self.name = planned.name
        self.config = planned.config
        self.servers = [Server(one) for one in planned.servers]
        self.quorum_up = False
        self.sorry_alive = False
        self._global = global_
        self._hear = hear
        self._fifo = bool(global_.lvs_notify_fifo or global_.notify_fifo)
        self._mails = bool(global_.smtp_server and global_.emails)

    @property
    def weight(self) -> int:
        """The weights of the servers that are alive."""
        return sum(real_weight(server.weight) for server in self.servers if server.alive)

    def in_pool(self, server: Server) -> bool:
        """Whether a client could reach it: alive, with a weight, and not displaced by the sorry server."""
        return server.alive and real_weight(server.weight) > 0 and not self.sorry_alive

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Puts up what no checker holds down; checkers that begin down have been counted in `failed`."""
        for server in self.servers:
            if not server.failed:
                server.alive = True
                if self._global.rs_init_notifies:
                    self.notify_server(server)
        self._update_quorum(init=True)

    def stop(self) -> None:
        """As at the end of keepalived; calls only with `omega`."""
        for server in self.servers:
            inhibited = "(inhibited) " if server.config.inhibit_on_failure and not server.alive else ""
            self._say(f"Shutting down {inhibited}service {server.name} from VS {self.name}")
            if not server.alive or (self.sorry_alive and not server.config.inhibit_on_failure):
                continue  # it is not in the pool now, so nothing is taken out
            server.alive = False
            if self.config.omega:
                self.notify_server(server)
                if server.config.smtp_alert:
                    self._mail_server(server, "=> Shutting down <=")
        self.quorum_up = False
        if self.config.omega:
            self._notify_pool("=> Shutting down <=")

    # --- what checkers turn to ---------------------------------------------------------------------------------------

    def up(self, server: Server) -> None:
        """A checker that was down passes; `failed` still counts it."""
        if server.failed <= 1:
            self._turn(server, alive=True)
        server.failed = max(0, server.failed - 1)

    def down(self, server: Server) -> None:
        """A checker that was up fails."""
        if server.failed == 0:
            self._turn(server, alive=False)
        server.failed += 1

    def weigh(self, server: Server, weight: int) -> None:
        """A dynamic MISC_CHECK gives another weight."""
        old, new = real_weight(server.weight), real_weight(weight)
        server.weight = weight
        if old == new:
            return
        active = "active" if server.alive else "inactive"
        self._say(f"Changing weight from {old} to {new} for {active} service {server.name} of VS {self.name}")
        self._update_quorum()

    def mail_checker(self, server: Server, was_alive: bool, text: str) -> None:
        """The mail of a checker that has turned. was_alive: the server, before it."""
        if server.config.smtp_alert and (was_alive is not server.alive or not self._global.no_checker_emails):
            self._mail_server(server, text)

    def _turn(self, server: Server, *, alive: bool) -> None:
        if server.alive is alive:
            return
        inhibit = server.config.inhibit_on_failure
        verb = ("Enabling" if alive else "Disabling") if inhibit else ("Adding" if alive else "Removing")
        link = "of" if inhibit else "to" if alive else "from"
        self._say(f"{verb} service {server.name} {link} VS {self.name}")
        server.alive = alive
        self.notify_server(server)
        self._update_quorum()

    # --- quorum -------------------------------------------------------------------------------------------------------

    def _update_quorum(self, *, init: bool = False) -> None:
        weight, sorry = self.weight, self.config.sorry_server
        quorum, hysteresis = self.config.quorum, self.config.hysteresis
        threshold = (quorum + (-hysteresis if self.quorum_up else hysteresis)) % UINT
        if not self.quorum_up and weight >= threshold:
            self.quorum_up = True
            gained = f"Gained quorum {quorum}+{hysteresis}={threshold} <= {weight}"
            self._say(f"{gained} for VS {self.name}")
            if sorry is not None and self.sorry_alive:
                verb = "Disabling" if sorry.inhibit else "Removing"
                self._say(f"{verb} sorry server {self.planned.sorry} from VS {self.name}")
                self.sorry_alive = False
                self._say(f"Adding alive servers to the pool for VS {self.name}")
            self._notify_pool(f"=> {'Starting with quorum up' if init else 'Gained quorum'} {gained[14:]} <=")
        elif (self.quorum_up and (not weight or weight < threshold)) or (
            init and not self.quorum_up and sorry is not None and not self.sorry_alive
        ):
            self.quorum_up = False
            what = f"{quorum}-{hysteresis}={threshold} > {weight}"
            if not init:
                self._say(f"Lost quorum {what} for VS {self.name}")
            if sorry is not None and not self.sorry_alive:
                verb = "Enabling" if sorry.inhibit else "Adding"
                self._say(f"{verb} sorry server {self.planned.sorry} to VS {self.name}")
                self._say(f"Removing alive servers from the pool for VS {self.name}")
                self.sorry_alive = True
            told = f"{quorum}+{hysteresis}={threshold} <= {weight}"
            self._notify_pool(f"=> {'Starting with quorum down' if init else 'Lost quorum'} {told} <=")

    # --- what is called -----------------------------------------------------------------------------------------------

    def notify_server(self, server: Server) -> None:
        """The program of its state, and the FIFO."""
        self._run(server.config.notify_up if server.alive else server.config.notify_down)
        self._write(f"RS {server.name} {self.name} {'UP' if server.alive else 'DOWN'}")

    def _notify_pool(self, text: str) -> None:
        state = "UP" if self.quorum_up else "DOWN"
        self._run(self.config.quorum_up if self.quorum_up else self.config.quorum_down)
        self._write(f"VS {self.name} {state}")
        if self.config.smtp_alert:
            self._mail(f"Virtualserver {self.name} - {state}", text)

    def _mail_server(self, server: Server, text: str) -> None:
        state = "UP" if server.alive else "DOWN"
        self._mail(f"Realserver {server.name} of virtual server {self.name} - {state}", text)

    def _mail(self, subject: str, text: str) -> None:
        if self._mails:
            self._hear(Due(Mail(subject=f"[{self._global.router_id}] {subject}", body=text)))

    def _run(self, command: Command | None) -> None:
        if command is not None:
            self._hear(Due(Run(command.argv)))

    def _write(self, text: str) -> None:
        if self._fifo:
            self._hear(Due(FifoLine(f"{text}\n")))

    def _say(self, text: str) -> None:
        self._hear(Line(text))
