"""What an operator may do to a server, and how HAProxy refuses it.

Each command returns its effects, or raises `Refused` and changes nothing. Whoever reads the words off a socket finds
the server; a name that is none is refused there. Source: spec/haproxy-checks.md §4.2, §5.2-5.4, §1.5, traps 27, 57.
"""

from __future__ import annotations

import re

from risefall.errors import RisefallError
from risefall.state.exchange import AdminWord
from risefall.state.fleet import WEIGHT_MAX, Effects, Fleet, Work, relative_weight
from risefall.state.lines import CLI
from risefall.state.server import AGENT, HEALTH, MAINT, Admin
from risefall.state.table import ADMIN, COPIED, Move, first_health, first_op

STATES = {"ready": AdminWord.READY, "drain": AdminWord.DRAIN, "maint": AdminWord.MAINT}
HEALTHS = {"up": Move.RUN, "stopping": Move.UNLOAD, "down": Move.STOP}
AGENTS = {"up": Move.RUN, "down": Move.STOP}
CHECKS = {HEALTH: "Health check", AGENT: "Agent"}

NUMBER = re.compile(r"\s*([+-]?[0-9]+)(.*)", re.ASCII | re.DOTALL)


class Refused(RisefallError):
    """A command that changes nothing. short: 2.6 ends this text with one line feed instead of two.

    warning: it counts as a warning where severities are shown, not as an error.
    """

    def __init__(self, text: str, *, short: bool = False, warning: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.short = short
        self.warning = warning


def set_state(fleet: Fleet, index: int, word: str, now_ms: int) -> Effects:
    """`set server b/s state ready|drain|maint`; `enable server` is ready, `disable server` is maint."""
    work = begin(fleet, index, now_ms)
    if word not in STATES:
        raise Refused("'set server <srv> state' expects 'ready', 'drain' and 'maint'.")
    fleet.administer(work, index, ADMIN[STATES[word]])
    return work.finish()


def set_health(fleet: Fleet, index: int, word: str, now_ms: int) -> Effects:
    """`set server b/s health up|stopping|down`: the counter and the state at once; the next checks count on from there."""
    work = begin(fleet, index, now_ms)
    server = fleet.servers[index]
    if server.tracks >= 0:
        raise Refused("cannot change health on a tracking server.")
    if word not in HEALTHS:
        raise Refused("'set server <srv> health' expects 'up', 'stopping', or 'down'.")
    if server.health is None:
        server.idle_health = 0 if word == "down" else server.idle_full
    else:
        work.force(index, HEALTH, health=0 if word == "down" else server.health.full)
    fleet.move(work, index, HEALTHS[word], CLI)
    return work.finish()


def set_agent(fleet: Fleet, index: int, word: str, now_ms: int) -> Effects:
    """`set server b/s agent up|down`: as if the agent had said so, but whatever the health check says."""
    work = begin(fleet, index, now_ms)
    agent = fleet.servers[index].agent
    if agent is None or not agent.enabled:
        raise Refused("agent checks are not enabled on this server.")
    if word not in AGENTS:
        raise Refused("'set server <srv> agent' expects 'up' or 'down'.")
    work.force(index, AGENT, health=0 if word == "down" else agent.full)
    fleet.move(work, index, AGENTS[word], CLI)
    return work.finish()


def set_weight(fleet: Fleet, index: int, text: str, now_ms: int) -> Effects:
    """`set weight b/s 0..256` or `n%` of the file's weight."""
    work = begin(fleet, index, now_ms)
    fleet.weigh(work, index, parse_weight(fleet, index, text))
    return work.finish()


def parse_weight(fleet: Fleet, index: int, text: str) -> int:
    """The weight that a text means for this server. Raises: Refused."""
    if not text:
        raise Refused("Require <weight> or <weight%>.")
    match = NUMBER.match(text)
    if match is None:
        raise Refused("Empty weight string empty or preceded by garbage", short=True)
    # More digits than these make no difference, and Python refuses to read thousands of them.
    weight, rest = int(match[1][:12]), match[2]
    if rest == "%":
        if weight < 0:
            raise Refused("Relative weight must be positive.")
        weight = relative_weight(fleet.servers[index], weight)
    elif not 0 <= weight <= WEIGHT_MAX:
        raise Refused("Absolute weight can only be between 0 and 256 inclusive.")
    elif rest:
        raise Refused("Trailing garbage in weight string", short=True)
    if not fleet.accepts(index, weight):
        raise Refused("Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.")
    return weight


def enable_check(fleet: Fleet, index: int, which: int, now_ms: int) -> Effects:
    """`enable health|agent b/s`. The counter is as it was, or as `init-state` says."""
    work = begin(fleet, index, now_ms)
    server = fleet.servers[index]
    check = server.agent if which == AGENT else server.health
    if check is None or not check.configured:
        raise Refused(f"{CHECKS[which]} was not configured on this server, cannot enable.")
    if check.enabled:
        return work.finish()
    work.force(index, which, enabled=True)
    init = fleet.init_state(server)
    if which == HEALTH and init not in ("", "none") and not server.admin & MAINT:
        work.force(index, HEALTH, health=first_health(init, check.rise, check.fall))
        fleet.move(work, index, COPIED[first_op(init)], CLI)
    return work.finish()


def disable_check(fleet: Fleet, index: int, which: int, now_ms: int) -> Effects:
    """`disable health|agent b/s`: it stands against nothing any more, and changes nothing by itself."""
    work = begin(fleet, index, now_ms)
    server = fleet.servers[index]
    check = server.agent if which == AGENT else server.health
    if check is not None and check.enabled:
        work.force(index, which, enabled=False)
    return work.finish()


def lose_address(fleet: Fleet, index: int, cause: str, now_ms: int) -> Effects:
    """The server's name no longer resolves. cause: a text of spec §6.3, such as `DNS NX status`."""
    work = Work(fleet, now_ms)
    fleet.administer(work, index, ((True, Admin.RMAINT),), cause)
    return work.finish()


def find_address(fleet: Fleet, index: int, now_ms: int) -> Effects:
    """The server's name resolves again."""
    work = Work(fleet, now_ms)
    fleet.administer(work, index, ((False, Admin.RMAINT),))
    return work.finish()


def begin(fleet: Fleet, index: int, now_ms: int) -> Work:
    """A command on a server; whatever comes of it, an agent's next line acts again."""
    if fleet.proxies[fleet.servers[index].proxy].disabled:
        raise Refused("Proxy is disabled.")
    work = Work(fleet, now_ms)
    work.touch(index)
    return work
