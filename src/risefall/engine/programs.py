"""Rule sets of the configuration to check programs of the native machine, or the reason why not.

A program is immutable and shared by every server with the same rules. What can be known now is decided now: the bytes of
a request, the default rule, status numbers. Every preset is a list of rules, as in HAProxy (`presets.py`).
Source: spec/haproxy-checks.md §3.2, §3.6-§3.11, §4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import CheckKind, ConnectRule, ProcessVariable, RuleSet
from risefall.engine import native
from risefall.engine._native import lib
from risefall.engine.around import Around
from risefall.engine.formats import Formats
from risefall.engine.http_rules import http_rules, literal_host
from risefall.engine.layout import NativeRule, NotChecked, lay_out, raw, text_op
from risefall.engine.names import Found
from risefall.engine.presets import PRESETS
from risefall.engine.tcp_rules import implicit_connect, tcp_rules

__all__ = ["Compiled", "Compiler", "NotChecked"]


class Compiled(msgspec.Struct, frozen=True):
    """A program, and what it has to be told of each server.

    facts: names of the texts of the server's site, in order (`targets.fact_text`). host: the Host that its first request
    names in plain text, or nothing. connects: whether it has connect rules of its own. external: it is a process.
    """

    program: native.Program
    facts: tuple[str, ...] = ()
    host: str = ""
    connects: bool = False
    external: bool = False


def agent_rules(send: str) -> list[NativeRule]:
    """Connect, say what `agent-send` says, read one line. The line is step 2 in messages, with or without a send."""
    sends = [NativeRule(lib.RF_RULE_SEND, 1, format=text_op(raw(send)))] if send else []
    return [implicit_connect(), *sends, NativeRule(lib.RF_RULE_EXPECT, 2, expect=lib.RF_EXP_AGENT)]


def first_rules(formats: Formats) -> list[NativeRule]:
    """What its formats want to be known from the start: the process's variables, and the id of this check."""
    return [
        NativeRule(lib.RF_RULE_SET, 0, lib.RF_RULE_TEXT if known.text else 0, variable=known.variable, format=known.ops)
        for known in formats.known
    ]


def dialect_flags(dialect: Dialect) -> int:
    """The texts and readings in which the two HAProxys differ, as bits."""
    bits = {
        "os_errno_text": lib.RF_PROG_OS_ERRNO_TEXT,
        "no_reason_text": lib.RF_PROG_NO_REASON_TEXT,
        "agent_weight_word": lib.RF_PROG_AGENT_WEIGHT,
        "bare_comment": lib.RF_PROG_BARE_COMMENT,
        "hex_pattern": lib.RF_PROG_HEX_PATTERN,
        "spop_capabilities": lib.RF_PROG_SPOP_CAPABILITIES,
        "comment_captures": lib.RF_PROG_CAPTURES,
    }
    return sum(bit for name, bit in bits.items() if getattr(dialect, name))


class Compiler:
    """Makes each distinct program once. One for each configuration that is loaded.

    found: addresses of the names that connect rules may hold.
    """

    def __init__(
        self,
        dialect: Dialect,
        bufsize: int,
        found: Found | None = None,
        process: Sequence[ProcessVariable] = (),
        around: Around | None = None,
    ) -> None:
        """process: what `global` sets for the whole process. around: what expressions may name, None: anything."""
        self._around = around
        self._process = process
        self.dialect = dialect
        self.flags = dialect_flags(dialect)
        self.bufsize = bufsize
        self._found: Found = found or {}
        self._made: dict[tuple[str, object], Compiled | NotChecked] = {}
        self._kept: list[RuleSet] = []  # keeps ids of `_made` from being used again

    def health(self, rules: RuleSet, unique_id: str = "") -> Compiled:
        """The program of a rule set. Raises NotChecked.

        unique_id: the format of `unique-id` where it is checked.
        """
        unique_id = unique_id if self.dialect.unique_id_in_checks else ""
        key = ("health", (id(rules), unique_id))
        if key not in self._made:
            self._kept.append(rules)
        return self._once(key, lambda: self._health(rules, self._formats(unique_id)))

    def _formats(self, unique_id: str) -> Formats:
        newer = self.dialect.newer_converters
        return Formats(unique_id=unique_id, process=self._process, around=self._around, newer=newer)

    def agent(self, send: str) -> Compiled:
        """The program of an agent-check. Raises NotChecked."""
        flags = self.flags | lib.RF_PROG_AGENT
        return self._once(("agent", send), lambda: Compiled(lay_out(agent_rules(send), flags, self.bufsize)))

    def _once(self, key: tuple[str, object], make: Callable[[], Compiled]) -> Compiled:
        if key not in self._made:
            try:
                self._made[key] = make()
            except NotChecked as why:
                self._made[key] = why
        made = self._made[key]
        if isinstance(made, NotChecked):
            raise made
        return made

    def _health(self, rules: RuleSet, formats: Formats) -> Compiled:
        flags = self.flags
        host = ""
        match rules.kind:
            case CheckKind.HTTP:
                flags |= lib.RF_PROG_HTTP | (lib.RF_PROG_DISABLE404 if rules.disable_on_404 else 0)
                made = http_rules(rules, formats, self._found)
                host = literal_host(rules)
            case CheckKind.TCP:
                made = [implicit_connect()]
            case CheckKind.TCP_CHECK:
                flags |= lib.RF_PROG_TCPCHECK
                made = tcp_rules(rules.rules, formats, self._found)
            case CheckKind.EXTERNAL:
                made = [NativeRule(lib.RF_RULE_PROCESS, 0)]
            case preset:
                made = PRESETS[preset](rules.options, self.dialect, self.bufsize)
        made = [*first_rules(formats), *made]
        return Compiled(
            lay_out(made, flags, self.bufsize),
            tuple(formats.facts),
            host,
            any(isinstance(rule, ConnectRule) for rule in rules.rules),
            rules.kind is CheckKind.EXTERNAL,
        )
