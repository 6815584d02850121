"""What a real HAProxy must be told so that its servers are what this fleet knows: its rows and our wishes in, commands out.

HAProxy keeps what `set server health` says only while the server's own checks are disabled, so those are taken first
and given back in the end. Who may decide is asked of each server by itself (`Own`): an operator who enables its checks
there has taken it back. Maintenance and drain there are the operator's; only words of an agent that is asked here
touch them, and only what they have set themselves.

Run on 2.6.12: `set server health` works with and without a check, in drain, and with slowstart; on a tracking server it
is refused. In maintenance it moves the counter alone, and whoever leaves maintenance with its check disabled is UP
whatever the counter says. `disable health` is accepted by servers without a check, `enable health` is not. A restart or
reload forgets all of it, unless a server state file brings it back: that holds disabled checks as well.
Source: spec/haproxy-checks.md §5.4, §7.5. Convergence: tests/state/test_pushing.py.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from risefall.state.exchange import AdminWord
from risefall.state.server import Admin, Op

CONFIGURED, ENABLED = 0x02, 0x04
"""Bits of srv_check_state and srv_agent_state."""

FORCED = Admin.FMAINT | Admin.FDRAIN
STILL = Admin.FMAINT | Admin.IMAINT | Admin.RMAINT
"""While one of them is set, health has nothing to say."""

FLAG = {
    AdminWord.NONE: Admin(0),
    AdminWord.READY: Admin(0),
    AdminWord.DRAIN: Admin.FDRAIN,
    AdminWord.MAINT: Admin.FMAINT,
}

WORD = {Op.STOPPED: "down", Op.STARTING: "up", Op.RUNNING: "up", Op.STOPPING: "stopping"}
"""The word of `set server health` for each operational state."""

OP = {"down": Op.STOPPED, "up": Op.RUNNING, "stopping": Op.STOPPING}


class There(msgspec.Struct, frozen=True, gc=False):
    """One server as that HAProxy has it. health: its counter. check, agent: the bits of its two checks."""

    op: Op
    admin: Admin
    uweight: int
    iweight: int
    health: int
    check: int
    agent: int


class Want(msgspec.Struct, frozen=True, gc=False):
    """What is known here of one server; None instead of it where nothing is.

    health: a word of `set server health`, or "" while nothing can be said (maintenance here, no result yet).
    checked, asked: its health check, or its agent, runs here, so that it need not run there.
    weight, admin: what its agent has said last of them; None and NONE for nothing.
    """

    health: str
    checked: bool = True
    asked: bool = False
    weight: int | None = None
    admin: AdminWord = AdminWord.NONE


class Verb(enum.Enum):
    """The commands there are; `{}` is `<backend>/<server>`."""

    TAKE_HEALTH = "disable health {}"
    TAKE_AGENT = "disable agent {}"
    GIVE_HEALTH = "enable health {}"
    GIVE_AGENT = "enable agent {}"
    HEALTH = "set server {} health"
    STATE = "set server {} state"
    WEIGHT = "set server {} weight"


class Command(msgspec.Struct, frozen=True, gc=False):
    """One line of the runtime API. name: `<backend>/<server>`. value: of the `set` ones."""

    verb: Verb
    name: str
    value: str = ""

    @property
    def text(self) -> str:
        return f"{self.verb.value.format(self.name)} {self.value}".rstrip()


class Own(enum.Enum):
    """Who has one check of a server there."""

    FREE = 0
    """HAProxy; nobody has said anything."""
    TAKING = 1
    """Its disabling is on the way; whether that was heard is known once it is answered, or read."""
    OURS = 2
    RETURNING = 3
    """The same of its enabling."""
    THEIRS = 4
    """An operator, who has enabled a check that was ours."""


class Held(msgspec.Struct, gc=False):
    """What was done to one server. told, weighed: health and weight were set, or were about to be. admin: the agent's word that holds there.

    refused: what it does not take; not tried again in the life of that process.
    """

    health: Own = Own.FREE
    agent: Own = Own.FREE
    told: bool = False
    weighed: bool = False
    admin: AdminWord = AdminWord.NONE
    refused: frozenset[Verb] = frozenset()


class Process(msgspec.Struct, frozen=True):
    """One HAProxy process, from `show info`; another one has forgotten all."""

    pid: str
    start: str
    version: str = ""


def parse_info(text: str) -> Process | None:
    """The process that wrote this `show info`; None where it is none."""
    values = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    if "Pid" not in values:
        return None
    return Process(values["Pid"], values.get("Start_time_sec", ""), values.get("Version", ""))


def parse_rows(text: str) -> Iterator[tuple[str, There]]:
    """The servers of a `show servers state`, whatever stands before it; lines that are none are passed over.

    Raises: ValueError at once where there is no header.
    """
    lines = iter(text.splitlines())
    head = next((line for line in lines if line.startswith("# be_id ")), "")
    columns = head.removeprefix("# ").split()
    try:
        places = [columns.index(name) for name in COLUMNS]
    except ValueError:
        raise ValueError("no `show servers state`") from None
    return _rows(lines, places)


COLUMNS = (
    "be_name",
    "srv_name",
    "srv_op_state",
    "srv_admin_state",
    "srv_uweight",
    "srv_iweight",
    "srv_check_health",
    "srv_check_state",
    "srv_agent_state",
)


def _rows(lines: Iterable[str], places: Sequence[int]) -> Iterator[tuple[str, There]]:
    most = max(places)
    for line in lines:
        words = line.split()
        if len(words) <= most:
            continue
        backend, server, *numbers = (words[place] for place in places)
        try:
            op, admin, uweight, iweight, health, check, agent = map(int, numbers)
            yield f"{backend}/{server}", There(Op(op), Admin(admin), uweight, iweight, health, check, agent)
        except ValueError:
            continue


def after(there: There, command: Command) -> There:
    """The server once it has carried out a command."""
    change = msgspec.structs.replace
    match command.verb:
        case Verb.TAKE_HEALTH:
            return change(there, check=there.check & ~ENABLED)
        case Verb.TAKE_AGENT:
            return change(there, agent=there.agent & ~ENABLED)
        case Verb.GIVE_HEALTH:
            return change(there, check=there.check | ENABLED)
        case Verb.GIVE_AGENT:
            return change(there, agent=there.agent | ENABLED)
        case Verb.WEIGHT:
            return change(there, uweight=int(command.value))
        case Verb.HEALTH:
            health = 0 if command.value == "down" else max(there.health, 1)
            return change(there, health=health, op=there.op if there.admin & STILL else OP[command.value])
        case Verb.STATE:
            admin = there.admin & ~FORCED | FLAG[AdminWord[command.value.upper()]]
            op = Op.STOPPED if admin & STILL else Op.RUNNING if there.admin & STILL else there.op
            return change(there, admin=admin, op=op)


class Ledger:
    """One HAProxy: what its servers were when they were read last, and what was done to them since."""

    def __init__(self) -> None:
        self.there: dict[str, There] = {}
        self.process: Process | None = None
        self.tracking: frozenset[str] = frozenset()
        """Servers that follow others there, and so take no health; known from `show stat`."""
        self._held: dict[str, Held] = {}

    @property
    def ours(self) -> int:
        """Servers that have no check of their own now because of us."""
        return sum(held.health is Own.OURS or held.agent is Own.OURS for held in self._held.values())

    # --- what is read -----------------------------------------------------------------------------------

    def read(self, process: Process, rows: dict[str, There]) -> list[str]:
        """Takes what the HAProxy says of all its servers. Returns: what an operator should hear."""
        if process != self.process:
            self._held.clear()
        self.process = process
        self.there = rows
        for name in self._held.keys() - rows.keys():
            del self._held[name]
        news = []
        for name, held in self._held.items():
            there = rows[name]
            was = held.health, held.agent
            held.health = _owner(held.health, there.check)
            held.agent = _owner(held.agent, there.agent)
            for kind, before, now in (("health", was[0], held.health), ("agent", was[1], held.agent)):
                if now is Own.THEIRS and before is not now:
                    news.append(
                        f"{name}: somebody has enabled its {kind} check there: it is left to that, until disabled"
                    )
                elif before is Own.THEIRS and before is not now:
                    news.append(f"{name}: its {kind} check is disabled there: set from here again")
        return news

    # --- what must be said --------------------------------------------------------------------------------

    def plan(self, name: str, want: Want | None) -> list[Command]:
        """What makes one server as wanted, in this order; nothing for a server that is not there."""
        there = self.there.get(name)
        if there is None:
            return []
        held = self._held.get(name)
        if want is None or (not want.checked and there.check & ENABLED):
            return [] if held is None else _give(name, there, held)
        if held is None:
            if not want.health:
                return []
            held = self._held[name] = Held()
        if held.health is Own.THEIRS:
            return _give(name, there, held)
        if name in self.tracking:
            held.refused |= {Verb.HEALTH}
        return _Plan(name, there, held, want).make()

    def plan_farewell(self) -> list[Command]:
        """What gives everything back."""
        return [command for name in list(self._held) for command in self.plan(name, None)]

    def done(self, command: Command, refusal: str = "") -> bool:
        """A command was carried out, or refused. Returns whether a refusal is news."""
        held, there = self._held.get(command.name), self.there.get(command.name)
        if held is None or there is None:
            return False
        if refusal:
            new = command.verb not in held.refused
            held.refused |= {command.verb}
            if command.verb is Verb.TAKE_HEALTH:
                held.health = Own.FREE
            elif command.verb is Verb.TAKE_AGENT:
                held.agent = Own.FREE
            return new
        self.there[command.name] = after(there, command)
        match command.verb:
            case Verb.TAKE_HEALTH:
                held.health = Own.OURS
            case Verb.TAKE_AGENT:
                held.agent = Own.OURS
            case Verb.GIVE_HEALTH:
                held.health = Own.FREE
            case Verb.GIVE_AGENT:
                held.agent = Own.FREE
            case Verb.HEALTH | Verb.WEIGHT:
                pass
            case Verb.STATE:
                word = AdminWord[command.value.upper()]
                held.admin = AdminWord.NONE if word is AdminWord.READY else word
        return False


def _owner(own: Own, bits: int) -> Own:
    """Who has a check whose bits were just read."""
    enabled = bool(bits & ENABLED)
    if own is Own.OURS:
        return Own.THEIRS if enabled else own
    if own in (Own.TAKING, Own.THEIRS) and not enabled:
        return Own.OURS
    return Own.FREE if own in (Own.TAKING, Own.RETURNING) and enabled else own


class _Plan:
    """The commands for one server that is set from here, one step after the other."""

    def __init__(self, name: str, there: There, held: Held, want: Want) -> None:
        self._name, self._there, self._held, self._want = name, there, held, want
        self._commands: list[Command] = []

    def make(self) -> list[Command]:
        want, held = self._want, self._held
        if want.checked:
            held.health = self._take(Verb.TAKE_HEALTH, held.health, self._there.check)
        if want.asked:
            held.agent = self._take(Verb.TAKE_AGENT, held.agent, self._there.agent)
            if held.agent is not Own.THEIRS:
                self._set_admin()
                self._set_weight()
        self._set_health()
        return self._commands

    def _say(self, verb: Verb, value: str = "") -> None:
        if verb not in self._held.refused:
            command = Command(verb, self._name, value)
            self._commands.append(command)
            self._there = after(self._there, command)

    def _take(self, verb: Verb, own: Own, bits: int) -> Own:
        """Disables a check; one that is disabled already is taken to be so by an earlier run of ours."""
        if own in (Own.OURS, Own.THEIRS) or not bits & CONFIGURED:
            return own
        if not bits & ENABLED:
            return Own.OURS
        if not self._want.health or verb in self._held.refused:
            return own
        self._say(verb)
        return Own.TAKING

    def _set_health(self) -> None:
        there, word = self._there, self._want.health
        if not word or there.admin & STILL or there.check & ENABLED:
            return
        if WORD[there.op] == word:
            # without a check, nothing but us would ever move it
            self._held.told = self._held.told or not there.check & CONFIGURED
            return
        by_agent = there.agent & ENABLED and there.op is Op.STOPPED and there.health > 0
        if not by_agent:
            self._held.told = True
            self._say(Verb.HEALTH, word)

    def _set_weight(self) -> None:
        if self._want.weight is not None and self._want.weight != self._there.uweight:
            self._held.weighed = True
            self._say(Verb.WEIGHT, str(self._want.weight))

    def _set_admin(self) -> None:
        """An agent's `drain` or `maint` is set where an operator has set neither; its `ready` ends only those."""
        word, flags = self._want.admin, self._there.admin & FORCED
        if word is AdminWord.NONE:
            return
        if flags == FLAG[word]:
            self._held.admin = AdminWord.NONE if word is AdminWord.READY else word
        elif not flags or flags == FLAG[self._held.admin]:
            self._say(Verb.STATE, word.name.lower())


def _give(name: str, there: There, held: Held) -> list[Command]:
    """Enables what was disabled, and undoes what no check there would ever undo."""
    commands = []
    if not there.agent & CONFIGURED:
        if held.admin is not AdminWord.NONE and there.admin & FORCED == FLAG[held.admin]:
            commands.append(Command(Verb.STATE, name, "ready"))
        if held.weighed and there.uweight != there.iweight:
            commands.append(Command(Verb.WEIGHT, name, str(there.iweight)))
    if not there.check & CONFIGURED and held.told and there.op in (Op.STOPPED, Op.STOPPING) and not there.admin & STILL:
        commands.append(Command(Verb.HEALTH, name, "up"))
    if held.agent in (Own.OURS, Own.RETURNING) and not there.agent & ENABLED:
        held.agent = Own.RETURNING
        commands.append(Command(Verb.GIVE_AGENT, name))
    if held.health in (Own.OURS, Own.RETURNING) and not there.check & ENABLED:
        held.health = Own.RETURNING
        commands.append(Command(Verb.GIVE_HEALTH, name))
    return [command for command in commands if command.verb not in held.refused]


def chunks(commands: Iterable[Command], chars_max: int) -> Iterator[list[Command]]:
    """Commands that go together on one line; at least one each."""
    chunk: list[Command] = []
    size = 0
    for command in commands:
        length = len(command.text) + 1
        if chunk and size + length > chars_max:
            yield chunk
            chunk, size = [], 0
        chunk.append(command)
        size += length
    if chunk:
        yield chunk
