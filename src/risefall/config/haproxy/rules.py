"""`http-check` and `tcp-check` lines and check options to rules; how they merge with each other and with defaults.

A draft belongs to one proxy, `defaults` or `healthcheck` section while its lines come in. The rules of §3.2: the last option
decides the kind; the first rule of one's own drops the whole inherited list, the request included.
Source: spec/haproxy-checks.md §3.2, §3.6-3.11; haproxy configuration manual 2.6, §4.2 http-check, tcp-check, option httpchk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from risefall.config.haproxy.check_options import KINDS, OPTION_READERS, Warn, httpchk_request
from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.expects import expect_rule
from risefall.config.haproxy.model import CheckKind, ConnectRule, ExpectRule, Line, Place, Rule, RuleSet, VarRule
from risefall.config.haproxy.rule_lines import (
    Sends,
    argument,
    check_expression,
    check_format,
    connect_rule,
    http_send,
    no_more,
    tcp_send,
)
from risefall.config.text import Wrong, nearest

HTTP_WORDS = (
    "disable-on-404",
    "send-state",
    "comment",
    "connect",
    "send",
    "expect",
    "set-var-fmt(*)",
    "set-var(*)",
    "unset-var(*)",
)
TCP_WORDS = (
    "comment", "connect", "send", "send-lf", "send-binary", "send-binary-lf", "expect", "set-var-fmt(*)", "set-var(*)",
    "unset-var(*)",
)  # fmt: skip
VARIABLE_RULE = re.compile(r"(set-var|set-var-fmt|unset-var)\(([^)]*)\)")
CONDITIONS = ("ifexists", "ifnotexists", "ifempty", "ifnotempty", "ifset", "ifnotset", "ifgt", "iflt")
VARIABLE_NAME = re.compile(r"(proc|sess|txn|req|res|check)\.[A-Za-z0-9_.]+")


class Step(msgspec.Struct, frozen=True):
    """One rule line: a finished rule, a request that may still merge, or a comment (which only counts)."""

    place: Place
    rule: Rule | None = None
    sends: Sends | None = None


class RuleDraft:
    """The check rules of one section while its lines come in. `parent`: those of its defaults, finished."""

    def __init__(self, dialect: Dialect, parent: RuleDraft | None = None) -> None:
        self._dialect = dialect
        self.kind: CheckKind | None = parent.kind if parent else None
        self._request: Sends | None = parent._request if parent else None
        self._request_place: Place | None = parent._request_place if parent else None
        self._http: list[Step] = parent._http if parent else []
        self._tcp: list[Step] = parent._tcp if parent else []
        self._own_http = False
        self._own_tcp = False
        self._own_flags: set[str] = set()
        self.options: tuple[str, ...] = parent.options if parent else ()
        self.disable_on_404: bool = parent.disable_on_404 if parent else False
        self.send_state: bool = parent.send_state if parent else False
        self.command: str = parent.command if parent else ""
        self.path: str = parent.path if parent else ""
        self._comment = ""

    # --- options --------------------------------------------------------------------------------------

    def option(self, line: Line, words: Sequence[str], warn: Warn) -> None:
        """`option <preset> ...`; words begin with the name of the preset. Raises Wrong; word numbers count from `option`."""
        kind = KINDS[words[0]]
        place = Place(line.file, line.line)
        options = OPTION_READERS[kind](words, self._dialect)
        if kind is CheckKind.HTTP:
            self._take_http()
            self._request = httpchk_request(words, self._dialect, warn)
            self._request_place = place
            first = self._first_send()
            if first is not None:
                earlier = self._http[first]
                assert earlier.sends is not None
                self._http[first] = Step(earlier.place, sends=self._request.over(earlier.sends))
                self._request = None
        elif kind is CheckKind.TCP_CHECK and (
            self.kind is not CheckKind.TCP_CHECK or self._dialect.tcp_check_drops_rules
        ):
            self._take_tcp()  # 2.6 keeps inherited rules where they were those that held till now
        self.kind = kind
        self.options = options

    def _take_http(self) -> None:
        """The first word of one's own drops what was inherited."""
        if not self._own_http:
            self._own_http = True
            self._http = []
            self._request = None
            self._comment = ""
            if self._dialect.check_flags_in_rules:
                self.disable_on_404 = "disable-on-404" in self._own_flags
                self.send_state = "send-state" in self._own_flags

    def _take_tcp(self) -> None:
        if not self._own_tcp:
            self._own_tcp = True
            self._tcp = []
            self._comment = ""

    # --- rules ------------------------------------------------------------------------------------------

    def http_check(self, line: Line) -> None:
        """One `http-check` line. Raises Wrong."""
        words = line.words
        word = words[1] if len(words) > 1 else ""
        if word in ("disable-on-404", "send-state"):
            no_more(words, 2)
            self._own_flags.add(word)
            self.disable_on_404 |= word == "disable-on-404"
            self.send_state |= word == "send-state"
            return
        self._take_http()
        step = self._rule(line, word, HTTP_WORDS, http=True)
        if self.kind is CheckKind.HTTP:
            self._order(step)
        elif isinstance(step.rule, ConnectRule):
            self._first_connect(self._http)
        self._http.append(step)
        if self._request is not None and step.sends and self._first_send() == len(self._http) - 1:
            self._http[-1] = Step(step.place, sends=step.sends.over(self._request))
            self._request = None

    def _first_send(self) -> int | None:
        """The send that merges with `option httpchk`: the first real step, a connect apart (spec §3.8)."""
        real = real_steps(self._http)
        if real and isinstance(self._http[real[0]].rule, ConnectRule):
            real = real[1:]
        return real[0] if real and self._http[real[0]].sends else None

    def tcp_check(self, line: Line) -> None:
        """One `tcp-check` line. Raises Wrong."""
        words = line.words
        word = words[1] if len(words) > 1 else ""
        self._take_tcp()
        step = self._rule(line, word, TCP_WORDS, http=False)
        if isinstance(step.rule, ConnectRule):
            self._first_connect(self._tcp)
        self._tcp.append(step)

    def _first_connect(self, steps: Sequence[Step]) -> None:
        """If there is a connect at all, the first rule must be one."""
        real = real_steps(steps)
        if real and not isinstance(steps[real[0]].rule, ConnectRule):
            raise Wrong(
                "first step MUST also be a 'connect', optionally preceded by a 'set-var', an 'unset-var' or a 'comment', "
                "when there is a 'connect' step in the tcp-check ruleset",
                1,
                help="add a connect line before the first send or expect",
            )

    def _order(self, step: Step) -> None:
        """What may follow what in an http-check list (spec §3.2); comments and variables do not count.

        HAProxy asks only for lines behind `option httpchk`, its own or inherited; before it, they are just kept.
        """
        before = [self._http[index] for index in real_steps(self._http)]
        if isinstance(step.rule, VarRule) or (step.rule is None and step.sends is None):
            return
        new = "send" if step.sends else "connect" if isinstance(step.rule, ConnectRule) else "expect"
        last = before[-1] if before else None
        missing = ""
        if last is None:
            pass
        elif last.sends and new != "expect":
            missing = "expect"
        elif isinstance(last.rule, ConnectRule) and new != "send":
            missing = "send"
        elif isinstance(last.rule, ExpectRule) and new == "send":
            missing = "connect"
        if missing:
            raise Wrong(
                f"unable to add http-check {new} rule at step {len(self._http) + 1} (missing {missing} rule)",
                1,
                help=f"add 'http-check {missing}' before it",
            )
        if new == "connect":
            self._first_connect(before)

    def _rule(self, line: Line, word: str, known: Sequence[str], *, http: bool) -> Step:
        """One rule line as a step; `line.words[0]` is http-check or tcp-check."""
        words, place = line.words, Place(line.file, line.line)
        comment, self._comment = self._comment, ""  # of the rule in front, and for this one alone
        if word == "comment":
            self._comment = argument(words, 1, "a text")  # HAProxy passes over what stands behind it
            return Step(place)
        variable = VARIABLE_RULE.fullmatch(word)
        if variable:
            name = variable.group(2).partition(",")[0]
            if not VARIABLE_NAME.fullmatch(name):
                raise Wrong(
                    f"invalid variable name '{name}', it must begin with its scope",
                    1,
                    help="the scope is proc, sess, txn, req, res or check, such as check.name",
                )
            unknown = [word for word in variable.group(2).split(",")[1:] if word not in CONDITIONS]
            if unknown and variable.group(1) != "unset-var":
                raise Wrong(f"unknown condition '{unknown[0]}'", 1, help="known are " + ", ".join(CONDITIONS))
            if variable.group(1) == "set-var" and len(words) < 3:
                raise Wrong(f"'{word}' wants an expression", len(words), help=f"write {word} <expression>")
            return Step(place, variable_rule(place, variable.group(1), variable.group(2), words))
        if word == "connect":
            return Step(place, connect_rule(words, place, comment))
        if word == "expect":
            return Step(place, expect_rule(words, place, comment, http=http))
        if http and word == "send":
            return Step(place, sends=http_send(words, comment))
        if not http and word in TCP_WORDS and word.startswith("send"):
            return Step(place, tcp_send(words, place, comment))
        meant = nearest(word, known) if word else ""
        raise Wrong(
            f"'{words[0]}' does not know '{word}'" if word else f"'{words[0]}' wants a rule",
            1,
            help=f"did you mean '{meant}'?" if meant else "known are " + ", ".join(known),
        )

    # --- the result -------------------------------------------------------------------------------------

    def finish(self, place: Place) -> RuleSet:
        """The rule set that applies."""
        kind = self.kind or CheckKind.TCP
        rules: tuple[Rule, ...] = ()
        if kind is CheckKind.HTTP:
            rules = self._http_rules(place)
        elif kind is CheckKind.TCP_CHECK:
            rules = tuple(
                msgspec.structs.replace(step.rule, step=number) for number, step in enumerate(self._tcp, 1) if step.rule
            )
        return RuleSet(
            kind=kind,
            rules=rules,
            options=self.options,
            disable_on_404=self.disable_on_404,
            send_state=self.send_state,
            command=self.command,
            path=self.path,
            place=place,
        )

    def _http_rules(self, place: Place) -> tuple[Rule, ...]:
        """The list, with the request of `option httpchk` in front or behind the first connect, unless it merged."""
        steps = list(self._http)
        if self._request is not None:
            real = real_steps(steps)
            behind = bool(real) and isinstance(steps[real[0]].rule, ConnectRule)
            steps.insert(real[0] + 1 if behind else 0, Step(self._request_place or place, sends=self._request))
        rules: list[Rule] = []
        for number, step in enumerate(steps, 1):
            if step.sends:
                rules.append(step.sends.rule(step.place, number))
            elif step.rule:
                rules.append(msgspec.structs.replace(step.rule, step=number))
        return tuple(rules)

    @property
    def ignored(self) -> str:
        """Which rules are there without the option that they need: `http-check`, `tcp-check` or nothing."""
        if self._own_http and self._http and self.kind is not CheckKind.HTTP:
            return "http-check"
        if self._own_tcp and self._tcp and self.kind is not CheckKind.TCP_CHECK:
            return "tcp-check"
        return ""


# --- words ----------------------------------------------------------------------------------------------


def variable_rule(place: Place, kind: str, name: str, words: Sequence[str]) -> VarRule:
    """`set-var(name) expr`, `set-var-fmt(name) fmt` or `unset-var(name)`."""
    text = words[2] if len(words) > 2 else ""
    match kind:
        case "set-var":
            return VarRule(place, 0, kind, name, check_expression(text, 2), tuple(words[3:]))
        case "set-var-fmt":
            return VarRule(place, 0, kind, name, check_format(text, 2))
    return VarRule(place, 0, kind, name, text)


def real_steps(steps: Sequence[Step]) -> list[int]:
    """Where the steps stand that do something on the wire: neither comments nor variables."""
    return [
        index for index, step in enumerate(steps) if step.sends or (step.rule and not isinstance(step.rule, VarRule))
    ]
