"""Log-formats and sample expressions of one program, as operations of the native evaluator.

What is constant for a server is a *fact*: a format only names it, and whoever adds a check gives its text (`Formats.facts`,
in order). Variables are numbered over the whole program. What cannot be run is refused by name: NotChecked.
Source: spec/haproxy-checks.md §3.2, §3.6 to §3.8; haproxy configuration manual 2.6, §7.3, §8.2.4.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from risefall.config.haproxy.formats import (
    Expression,
    Flags,
    FormatError,
    Text,
    Variable,
    parse_expression,
    parse_format,
)
from risefall.config.haproxy.model import ProcessVariable
from risefall.engine._native import lib
from risefall.engine.around import Around
from risefall.engine.converters import CONVERTERS
from risefall.engine.converters_more import MORE
from risefall.engine.fetches import FETCHES
from risefall.engine.fetches_connection import CONNECTION
from risefall.engine.fetches_idle import IDLE
from risefall.engine.layout import NotChecked, Op, raw, text_op
from risefall.engine.live import LIVE, LOOK_UPS
from risefall.engine.maps import MAPS
from risefall.engine.messages import MESSAGES, TOKENS, TOKENS_BEFORE
from risefall.engine.newer import NEWER
from risefall.engine.samples import NO_CAST, Kind, compile_call, kept_method

ALL_FETCHES = FETCHES | LIVE | IDLE | CONNECTION
ALL_CONVERTERS = CONVERTERS | LOOK_UPS | MORE | MAPS | MESSAGES | TOKENS_BEFORE
ALL_NEWER = ALL_CONVERTERS | TOKENS | NEWER

VARIABLE = re.compile(r"([a-z]+)\.([A-Za-z0-9_.]+)", re.ASCII)
SCOPES = ("proc", "sess", "txn", "req", "res", "check")
EMITTED = {
    Flags.QUOTE: lib.RF_EMIT_QUOTE,
    Flags.ESCAPE: lib.RF_EMIT_ESCAPE,
    Flags.MANDATORY: lib.RF_EMIT_DASH,
}

CLOCK = b"%d/%b/%Y:%H:%M:%S"
LOG_VARIABLES: dict[str, str | bytes | int | list[Op]] = {
    "s": "srv_name",
    "b": "be_name",
    "f": b"CHECKS-FE",
    "ft": b"CHECKS-FE",
    "H": os.fsencode(os.uname().nodename),
    "T": [Op(lib.RF_FETCH_DATE), Op(lib.RF_CONV_UTIME, text=CLOCK + b" +0000")],
    "Tl": [Op(lib.RF_FETCH_DATE), Op(lib.RF_CONV_LTIME, text=CLOCK + b" %z")],
    "Ts": [Op(lib.RF_FETCH_DATE)],
    "ms": [Op(lib.RF_FETCH_DATE_US), Op(lib.RF_CONV_DIV, 1000)],
    "rt": [Op(lib.RF_FETCH_COUNT)],
    "pid": os.getpid(),
    "ID": [],
    "tsc": b"PR--",
    **dict.fromkeys(("B", "Tt", "Tu"), b"+0"),
    **dict.fromkeys(("Tc", "Td", "Th", "Tw"), -1),
    **dict.fromkeys(("ST", "U", "ac", "bc", "bq", "fc", "lc", "rc", "sc", "sq"), 0),
    **dict.fromkeys(("ci", "cp", "fi", "fp", "hr", "hrl", "hs", "hsl", "sslc", "sslv"), b""),
}
"""`%name`: a fact, a text, a number, or an expression. What 2.6 gives for one in a check, where nothing is behind it."""
HEX_DIGITS = {"ms": lib.RF_EMIT_HEX2, **dict.fromkeys(("Ts", "lc", "pid", "rt"), lib.RF_EMIT_HEX4)}
"""Those that `%{+X}` changes."""
QUOTED = frozenset(("s", "b", "f", "ft", "H", "ID", "ci", "cp", "fi", "fp", "sslc", "sslv"))
"""Those that flags other than `%{+X}` change."""
STREAM_SCOPES = ("txn", "req", "res")
"""A check has no stream: what is set there is lost."""
RF_FETCHES, CONVERTERS_FROM = lib.RF_FETCH_TEXT, lib.RF_CONV_ADD
CONSTANT = frozenset((lib.RF_FETCH_TEXT, lib.RF_FETCH_BIN, lib.RF_FETCH_INT, lib.RF_FETCH_BOOL, lib.RF_FETCH_VAR))


class Known(NamedTuple):
    """A variable that is set before the first rule. text: as a format, else as an expression."""

    variable: int
    ops: list[Op]
    text: bool


class Formats:
    """Shared by all rules of one program: its variables by number, and the facts of a server that it reads."""

    def __init__(
        self,
        env: Mapping[bytes, bytes] | None = None,
        *,
        unique_id: str = "",
        process: Sequence[ProcessVariable] = (),
        around: Around | None = None,
        newer: bool = False,
    ) -> None:
        """env: what `env(NAME)` reads; None: the environment of this process.

        unique_id: what `unique-id` is made of. process: what `global` sets. around: names that may be said.
        newer: converters that HAProxy has since 2.6 are known.
        """
        self.newer = newer
        self._unique_id = unique_id
        self._unique_variable: int | None = None
        self._process = process
        self.known: list[Known] = []
        """What has to be set before the first rule, in this order."""
        self.around = around
        self.facts: list[str] = []
        """Names of the texts that every server has to give, in the order of their numbers."""
        self._env = os.environb if env is None else env
        self._variables: dict[str, int] = {}

    def format(self, text: str, what: str) -> list[Op]:
        """A log-format. what: the rule that holds it, for messages. Raises NotChecked."""
        try:
            ops: list[Op] = []
            for piece in parse_format(text):
                ops += self._piece(piece)
            return ops
        except (FormatError, NotChecked) as error:
            raise NotChecked(f"{what}: {error}") from error

    def expression(self, text: str, what: str) -> list[Op]:
        """A sample expression alone: its value is not written anywhere. Raises NotChecked."""
        try:
            return self._expression(parse_expression(text), written=False)
        except (FormatError, NotChecked) as error:
            raise NotChecked(f"{what}: {error}") from error

    def continued(self, text: str, more: Sequence[str]) -> str:
        """An expression with the converters that the words behind it name, up to the first that names none."""
        known = ALL_NEWER if self.newer else ALL_CONVERTERS
        for word in more:
            if word.partition("(")[0].partition(",")[0] not in known:
                break
            text = f"{text.rstrip(',')},{word}"
        return text

    def variable(self, name: str) -> int:
        """The number of a variable, in the order of first use. Raises NotChecked: no such scope in a check, or no name."""
        found = VARIABLE.fullmatch(name)
        if not found or found.group(1) not in SCOPES:
            raise NotChecked(f"'{name}' is no variable: it begins with its scope, such as 'check.'")
        scope = found.group(1)
        if scope in STREAM_SCOPES:
            return int(lib.RF_VARIABLE_NONE)
        if scope == "proc" and name not in self._variables:
            return self._of_process(name)
        return self._variables.setdefault(name, len(self._variables))

    def writable(self, name: str) -> int:
        """The number of a variable that a rule sets. Raises NotChecked for what outlives a check."""
        if name.startswith("proc."):
            raise NotChecked(
                f"variable '{name}': a check reads what 'global' sets, but cannot set what all servers share"
            )
        return self.variable(name)

    def _of_process(self, name: str) -> int:
        """A variable that `global` sets: the same for each check, so that what it is made of must be constant."""
        said = [variable for variable in self._process if variable.name == name]
        if not said:
            return int(lib.RF_VARIABLE_NONE)
        number = self._variables.setdefault(name, len(self._variables))
        for variable in said:
            make = self.format if variable.is_format else self.expression
            ops = make(variable.text, f"global set-var {name}")
            if any(RF_FETCHES <= op.code < CONVERTERS_FROM and op.code not in CONSTANT for op in ops):
                raise NotChecked(f"variable '{name}': only what is constant can be set in 'global'")
            self.known.append(Known(number, ops, variable.is_format))
        return number

    def unique_id(self) -> int:
        """The variable that holds `unique-id`: another one for each check, the same within one; unset without a format."""
        if not self._unique_id:
            return int(lib.RF_VARIABLE_NONE)
        if self._unique_variable is None:
            self._unique_variable = lib.RF_VARIABLE_NONE  # a format that names itself ends there
            ops = self.format(self._unique_id, "unique-id-format")
            self._unique_variable = self._variables.setdefault("unique-id", len(self._variables))
            self.known.append(Known(self._unique_variable, ops, True))
        return self._unique_variable

    def fact(self, name: str) -> int:
        """The number of a text that every server has one of."""
        if name not in self.facts:
            self.facts.append(name)
        return self.facts.index(name)

    def environment(self, name: str) -> bytes | None:
        """A variable of the environment; None: unset."""
        return self._env.get(raw(name))

    def _piece(self, piece: Text | Expression | Variable) -> list[Op]:
        match piece:
            case Text():
                return text_op(raw(piece.text))
            case Expression():
                return [*self._expression(piece), Op(lib.RF_OP_EMIT, emitted(piece.flags))]
            case Variable():
                return self._log_variable(piece)

    def _log_variable(self, variable: Variable) -> list[Op]:
        name = variable.name
        if name not in LOG_VARIABLES:
            raise NotChecked(f"the log variable '%{name}' is not supported")
        number = emitted(variable.flags) if name in QUOTED else 0
        if variable.flags & Flags.HEX.value:
            number |= HEX_DIGITS.get(name, 0)
        match [Op(lib.RF_FETCH_VAR, self.unique_id())] if name == "ID" else LOG_VARIABLES[name]:
            case str(fact):
                op = Op(lib.RF_FETCH_FACT if number else lib.RF_OP_FACT, self.fact(fact))
                return [op, Op(lib.RF_OP_EMIT, number)] if number else [op]
            case bytes(text):
                return [Op(lib.RF_FETCH_TEXT, text=text), Op(lib.RF_OP_EMIT, number)] if number else text_op(text)
            case int(constant):
                return [Op(lib.RF_FETCH_INT, constant), Op(lib.RF_OP_EMIT, number)]
            case ops:
                return [*ops, Op(lib.RF_OP_EMIT, number)]

    def _expression(self, expression: Expression, *, written: bool = True) -> list[Op]:
        """written: False where a variable keeps its value."""
        ops, before = compile_call(ALL_FETCHES, "fetch", expression.fetch, self)
        gives, name = before.gives, expression.fetch.name
        for call in expression.converters:
            more, converter = compile_call(ALL_NEWER if self.newer else ALL_CONVERTERS, "converter", call, self)
            if converter.takes in NO_CAST.get(gives, ()):
                raise NotChecked(f"converter '{call.name}' cannot be applied to what '{name}' gives")
            if gives is Kind.METH and call.name == "set-var":
                more = [op._replace(text=kept_method(ops)) for op in more]
            ops += more
            if converter.gives is not Kind.ANY:
                gives, name = converter.gives, call.name
        if gives is Kind.METH and not written:
            ops.append(Op(lib.RF_FETCH_BIN, text=kept_method(ops)))
        return ops


def emitted(flags: int) -> int:
    """Flags of a piece, as those of RF_OP_EMIT; hexadecimal changes nothing that an expression gives."""
    return sum(bit for flag, bit in EMITTED.items() if flags & flag.value)
