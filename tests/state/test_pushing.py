"""What a real HAProxy is told: whatever happens to both sides, once all is quiet they agree, and nothing is said twice."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risefall.state.exchange import AdminWord
from risefall.state.pushing import (
    CONFIGURED,
    ENABLED,
    Command,
    Ledger,
    Own,
    Process,
    There,
    Verb,
    Want,
    chunks,
    parse_info,
    parse_rows,
)
from risefall.state.server import Admin, Op

CHECKED, UNCHECKED = CONFIGURED | ENABLED, 0
UP = There(Op.RUNNING, Admin(0), 1, 1, 4, CHECKED, 0)
FIRST = Process("100", "1")


class Peer:
    """HAProxy as far as it matters here: rows, and what commands and operators do to them."""

    def __init__(self, **rows: There) -> None:
        self.first = {f"b/{name}": row for name, row in rows.items()}
        self.restart()
        self.starts = 0
        self.told: list[str] = []

    def restart(self) -> None:
        self.rows = dict(self.first)
        self.starts = getattr(self, "starts", 0) + 1

    @property
    def process(self) -> Process:
        return Process("100", str(self.starts))

    def set(self, name: str, **values: object) -> None:
        self.rows[name] = msgspec.structs.replace(self.rows[name], **values)

    def do(self, text: str) -> str:
        """One command as 2.6.12 carries it out; the tracking server is called `b/t`."""
        self.told.append(text)
        words = text.split()
        name, row = words[2], self.rows[words[2]]
        match words[0], words[1], words[3:]:
            case "disable", "health", _:
                self.set(name, check=row.check & ~ENABLED)
            case "disable", "agent", _:
                self.set(name, agent=row.agent & ~ENABLED)
            case "enable", "health", _:
                if not row.check & CONFIGURED:
                    return "Health check was not configured on this server, cannot enable."
                self.set(name, check=row.check | ENABLED)
            case "enable", "agent", _:
                if not row.agent & CONFIGURED:
                    return "Agent was not configured on this server, cannot enable."
                self.set(name, agent=row.agent | ENABLED)
            case "set", "server", ["health", word]:
                if name == "b/t":
                    return "cannot change health on a tracking server."
                self.set(name, health=0 if word == "down" else 4)
                if not row.admin & Admin.FMAINT:
                    self.set(name, op={"up": Op.RUNNING, "down": Op.STOPPED, "stopping": Op.STOPPING}[word])
            case "set", "server", ["weight", value]:
                self.set(name, uweight=int(value))
            case "set", "server", ["state", word]:
                admin = {"ready": Admin(0), "drain": Admin.FDRAIN, "maint": Admin.FMAINT}[word]
                leaves = row.admin & Admin.FMAINT and not admin & Admin.FMAINT
                op = Op.STOPPED if admin & Admin.FMAINT else Op.RUNNING if leaves else row.op
                self.set(name, admin=admin, op=op)
            case _:
                raise AssertionError(text)
        return ""


def look(ledger: Ledger, peer: Peer, wants: dict[str, Want | None]) -> int:
    """Reads everything, and says what has to be said. Returns how many commands that took."""
    ledger.read(peer.process, dict(peer.rows))
    commands = [command for name in peer.rows for command in ledger.plan(name, wants.get(name))]
    for command in commands:
        ledger.done(command, peer.do(command.text))
    return len(commands)


def settle(ledger: Ledger, peer: Peer, wants: dict[str, Want | None]) -> None:
    """Looks until there is nothing left to say."""
    for _ in range(5):
        if not look(ledger, peer, wants):
            return
    raise AssertionError(f"it does not come to rest: {peer.told[-12:]}")


# --- one thing after the other ------------------------------------------------------------------------------


def test_checks_are_taken_before_the_state_is_set() -> None:
    ledger, peer = Ledger(), Peer(s=UP)
    settle(ledger, peer, {"b/s": Want("down")})
    assert peer.told == ["disable health b/s", "set server b/s health down"]
    assert ledger.ours == 1
    settle(ledger, peer, {"b/s": Want("stopping")})
    settle(ledger, peer, {"b/s": Want("up")})
    assert peer.told[2:] == ["set server b/s health stopping", "set server b/s health up"]


@pytest.mark.parametrize("word", ["up", "down", "stopping"])
def test_the_checks_are_given_back(word: str) -> None:
    ledger, peer = Ledger(), Peer(s=UP)
    settle(ledger, peer, {"b/s": Want(word)})
    settle(ledger, peer, {})
    assert peer.told[-1] == "enable health b/s"
    assert ledger.ours == 0
    assert peer.rows["b/s"].check == CHECKED


def test_nothing_is_taken_before_there_is_a_result() -> None:
    ledger, peer = Ledger(), Peer(s=UP)
    settle(ledger, peer, {"b/s": Want("")})
    assert peer.told == []


def test_what_is_unknown_for_a_while_stays_as_it_was_set() -> None:
    ledger, peer = Ledger(), Peer(s=UP)
    settle(ledger, peer, {"b/s": Want("down")})
    peer.told.clear()
    settle(ledger, peer, {"b/s": Want("")})
    assert peer.told == []


def test_a_restarted_haproxy_is_told_all_again() -> None:
    ledger, peer = Ledger(), Peer(s=UP)
    settle(ledger, peer, {"b/s": Want("down")})
    peer.restart()
    peer.told.clear()
    settle(ledger, peer, {"b/s": Want("down")})
    assert peer.told == ["disable health b/s", "set server b/s health down"]


def test_checks_that_an_operator_enables_there_are_left_to_it_until_disabled() -> None:
    ledger, peer = Ledger(), Peer(s=UP)
    settle(ledger, peer, {"b/s": Want("down")})
    peer.do("enable health b/s")
    peer.do("set server b/s health up")
    peer.told.clear()
    assert "left to that" in ledger.read(peer.process, dict(peer.rows))[0]
    settle(ledger, peer, {"b/s": Want("down")})
    assert peer.told == []
    peer.do("disable health b/s")
    assert "from here again" in ledger.read(peer.process, dict(peer.rows))[0]
    settle(ledger, peer, {"b/s": Want("down")})
    assert peer.rows["b/s"].op is Op.STOPPED


def test_a_new_ledger_goes_on_where_a_killed_one_was() -> None:
    peer = Peer(s=UP, n=msgspec.structs.replace(UP, check=UNCHECKED))
    settle(Ledger(), peer, dict.fromkeys(peer.rows, Want("down")))
    after = Ledger()
    peer.told.clear()
    settle(after, peer, dict.fromkeys(peer.rows, Want("down")))
    assert peer.told == []
    settle(after, peer, {})
    assert peer.told == ["enable health b/s", "set server b/n health up"]


def test_in_maintenance_there_nothing_is_set_and_all_of_it_after() -> None:
    ledger, peer = Ledger(), Peer(s=UP)
    settle(ledger, peer, {"b/s": Want("up")})
    peer.do("set server b/s state maint")
    peer.told.clear()
    settle(ledger, peer, {"b/s": Want("down")})
    assert peer.told == []
    peer.do("set server b/s state ready")
    assert peer.rows["b/s"].op is Op.RUNNING
    settle(ledger, peer, {"b/s": Want("down")})
    assert peer.rows["b/s"].op is Op.STOPPED


def test_drain_there_is_the_operators() -> None:
    ledger, peer = Ledger(), Peer(s=UP)
    peer.do("set server b/s state drain")
    for word in ("up", "down", "up"):
        settle(ledger, peer, {"b/s": Want(word, asked=True, admin=AdminWord.READY)})
        assert peer.rows["b/s"].admin is Admin.FDRAIN
    settle(ledger, peer, {})
    assert peer.rows["b/s"].admin is Admin.FDRAIN


def test_a_refusal_is_told_once_and_not_tried_again() -> None:
    ledger, peer = Ledger(), Peer(t=msgspec.structs.replace(UP, check=UNCHECKED))
    ledger.read(peer.process, dict(peer.rows))
    [command] = ledger.plan("b/t", Want("down"))
    assert ledger.done(command, peer.do(command.text))
    assert ledger.plan("b/t", Want("down")) == []
    peer.restart()
    ledger.read(peer.process, dict(peer.rows))
    assert ledger.plan("b/t", Want("down")) == [command]


def test_an_agents_words() -> None:
    """Its weight and drain are set; its `ready` ends its own drain; the agent there is disabled, and enabled in the end."""
    ledger, peer = Ledger(), Peer(s=msgspec.structs.replace(UP, agent=CHECKED))
    settle(ledger, peer, {"b/s": Want("up", asked=True, weight=7, admin=AdminWord.DRAIN)})
    assert (peer.rows["b/s"].uweight, peer.rows["b/s"].admin, peer.rows["b/s"].agent) == (7, Admin.FDRAIN, CONFIGURED)
    settle(ledger, peer, {"b/s": Want("up", asked=True, weight=9, admin=AdminWord.READY)})
    assert (peer.rows["b/s"].uweight, peer.rows["b/s"].admin) == (9, Admin(0))
    settle(ledger, peer, {})
    assert peer.rows["b/s"].agent == CHECKED


def test_without_an_agent_there_its_words_are_undone_in_the_end() -> None:
    ledger, peer = Ledger(), Peer(s=UP)
    settle(ledger, peer, {"b/s": Want("up", asked=True, weight=7, admin=AdminWord.MAINT)})
    assert peer.rows["b/s"].admin is Admin.FMAINT
    settle(ledger, peer, {})
    assert peer.rows["b/s"] == UP


def test_an_agent_that_is_asked_only_there_may_keep_a_server_down() -> None:
    ledger, peer = Ledger(), Peer(s=msgspec.structs.replace(UP, agent=CHECKED))
    settle(ledger, peer, {"b/s": Want("up")})
    peer.set("b/s", op=Op.STOPPED)
    peer.told.clear()
    settle(ledger, peer, {"b/s": Want("up")})
    assert peer.told == []


def test_a_server_with_only_an_agent_here_keeps_its_checks_there() -> None:
    ledger, peer = Ledger(), Peer(s=UP)
    settle(ledger, peer, {"b/s": Want("down", checked=False, asked=True)})
    assert peer.told == []


# --- whatever happens ---------------------------------------------------------------------------------------

NAMES = ["b/s", "b/n", "b/a", "b/t"]
WANTS = st.one_of(
    st.none(),
    st.builds(
        Want,
        st.sampled_from(["", "up", "down", "stopping"]),
        st.booleans(),
        st.booleans(),
        st.one_of(st.none(), st.integers(0, 3)),
        st.sampled_from(list(AdminWord)),
    ),
)
OPERATORS = st.sampled_from(
    [
        *(f"{word} {kind}" for word in ("enable", "disable") for kind in ("health", "agent")),
        *(f"state {word}" for word in ("ready", "drain", "maint")),
        *(f"health {word}" for word in ("up", "down", "stopping")),
        "weight 2",
    ]
)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.sampled_from(NAMES), WANTS),
        st.tuples(st.just("operator"), st.sampled_from(NAMES), OPERATORS),
        st.tuples(st.sampled_from(["look", "restart", "push"]), st.just(""), st.none()),
        st.tuples(st.just("lost"), st.just(""), st.integers(0, 4)),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(EVENTS)
def test_once_all_is_quiet_both_agree(events: list[tuple[str, str, object]]) -> None:
    """Events of both sides, restarts, and connections lost amid a batch, with its answers lost too."""
    change = msgspec.structs.replace
    peer = Peer(s=UP, n=change(UP, check=UNCHECKED), a=change(UP, agent=CHECKED), t=change(UP, check=UNCHECKED))
    ledger = Ledger()
    wants: dict[str, Want | None] = dict.fromkeys(NAMES, Want("up"))
    for event, name, value in events:
        match event, value:
            case "want", Want() | None as want:
                wants[name] = want
            case "operator", str(text):
                first, last = text.split()
                peer.do(f"{first} {last} {name}" if first in ("enable", "disable") else f"set server {name} {text}")
            case "look", _:
                look(ledger, peer, wants)
            case "push", _:
                for one in NAMES:
                    for command in ledger.plan(one, wants[one]):
                        ledger.done(command, peer.do(command.text))
            case "lost", int(count):
                ledger.read(peer.process, dict(peer.rows))
                for command in [command for one in NAMES for command in ledger.plan(one, wants[one])][:count]:
                    peer.do(command.text)
            case _:
                peer.restart()
    settle(ledger, peer, wants)
    for name in NAMES:
        row, want = peer.rows[name], wants[name]
        held = ledger._held.get(name)
        theirs = held is not None and held.health is Own.THEIRS
        if want is None or theirs or (row.check & ENABLED and not want.checked):
            assert held is None or theirs or Own.OURS not in (held.health, held.agent)
            continue
        if not want.health:
            continue
        assert not (want.checked and row.check & ENABLED)
        by_agent = row.agent & ENABLED and row.op is Op.STOPPED
        if name != "b/t" and not row.admin & Admin.FMAINT and not by_agent:
            assert {Op.STOPPED: "down", Op.RUNNING: "up", Op.STOPPING: "stopping"}[row.op] == want.health
    ours = {name for name, held in ledger._held.items() if held.health is Own.OURS}
    settle(ledger, peer, {})
    assert all(peer.rows[name].check == CHECKED for name in ours)
    assert ledger.ours == 0


# --- bytes --------------------------------------------------------------------------------------------------

STATE = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state\n"
    "3 b 1 s 127.0.0.1 2 8 5 1 9 6 3 4 6 22\n3 b 2 cut 127.0.0.1 2\n3 b 3 odd 127.0.0.1 9 0 1 1 0 1 0 2 0 0\n\n"
)


def test_rows_are_read_by_the_names_of_their_columns() -> None:
    there = There(Op.RUNNING, Admin.FDRAIN, 5, 1, 4, 6, 22)
    assert list(parse_rows(f"Name: HAProxy\nPid: 7\n\n{STATE}")) == [("b/s", there)]


@given(st.text(max_size=200))
def test_what_is_no_state_is_refused_or_empty(text: str) -> None:
    parse_info(text)
    with pytest.raises(ValueError, match="show servers state"):
        list(parse_rows(text))


def test_the_process_is_known_by_number_and_start() -> None:
    assert parse_info("Name: HAProxy\nVersion: 2.6.12\nPid: 7\nStart_time_sec: 9\n") == Process("7", "9", "2.6.12")
    assert parse_info("Permission denied\n") is None


@given(st.lists(st.integers(1, 50), max_size=60))
def test_chunks_hold_all_commands_in_order(lengths: list[int]) -> None:
    commands = [Command(Verb.TAKE_HEALTH, "x" * length) for length in lengths]
    made = list(chunks(commands, 60))
    assert [command for chunk in made for command in chunk] == commands
    assert all(len(chunk) == 1 or len(";".join(one.text for one in chunk)) <= 60 for chunk in made)
