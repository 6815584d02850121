"""Log-formats and sample expressions of one program, as operations of the native evaluator.

What is constant for a server is a *fact*: a format only names it, and whoever adds a check gives its text (`Formats.facts`,
in order). Variables are numbered over the whole program. What cannot be run is refused by name: NotChecked.
Source: spec/haproxy-checks.md §3.2, §3.6 to §3.8; haproxy configuration manual 2.6, §7.3, §8.2.4.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from risefall.config.haproxy.formats import (
    Expression,
    Flags,
    FormatError,
    Text,
    Variable,
    parse_expression,
    parse_format,
)
from risefall.engine._native import lib
from risefall.engine.converters import CONVERTERS
from risefall.engine.fetches import FETCHES
from risefall.engine.layout import NotChecked, Op, raw, text_op
from risefall.engine.samples import Kind, compile_call

VARIABLE = re.compile(r"([a-z]+)\.([A-Za-z0-9_.]+)", re.ASCII)
SCOPES = ("proc", "sess", "txn", "req", "res", "check")
EMITTED = {
    Flags.QUOTE: lib.RF_EMIT_QUOTE,
    Flags.ESCAPE: lib.RF_EMIT_ESCAPE,
    Flags.MANDATORY: lib.RF_EMIT_DASH,
}

CLOCK = b"%d/%b/%Y:%H:%M:%S"
LOG_VARIABLES: dict[str, str | bytes | list[Op]] = {
    "s": "srv_name",
    "b": "be_name",
    "f": b"CHECKS-FE",
    "ft": b"CHECKS-FE",
    "H": os.fsencode(os.uname().nodename),
    "T": [Op(lib.RF_FETCH_DATE), Op(lib.RF_CONV_UTIME, text=CLOCK + b" +0000")],
    "Tl": [Op(lib.RF_FETCH_DATE), Op(lib.RF_CONV_LTIME, text=CLOCK + b" %z")],
    "Ts": [Op(lib.RF_FETCH_DATE)],
    **dict.fromkeys(("ID", "ci", "cp", "fi", "fp", "hr", "hs", "sslc", "sslv"), b""),
}
"""`%name`: a fact, a text, or an expression. What 2.6 gives for one in a check, where nothing is behind it."""
WITHOUT_HEX = frozenset(("s", "b", "f", "ft", "H", "ID", "hr", "hs", "sslc", "sslv", "T", "Tl"))
"""Those that `%{+X}` leaves alone."""


class Formats:
    """Shared by all rules of one program: its variables by number, and the facts of a server that it reads."""

    def __init__(
        self, env: Mapping[bytes, bytes] | None = None, *, unique_id: str = "", own: tuple[str, str] = ("", "")
    ) -> None:
        """env: what `env(NAME)` reads; None: the environment of this process.

        unique_id: what `unique-id` is made of. own: backend and server that are checked.
        """
        self._unique_id = unique_id
        self.own = own
        self.names_own = False
        """Whether something was made of `own`, so that it fits no other server."""
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
            return self._expression(parse_expression(text))
        except (FormatError, NotChecked) as error:
            raise NotChecked(f"{what}: {error}") from error

    def variable(self, name: str) -> int:
        """The number of a variable, in the order of first use. Raises NotChecked: no such scope in a check, or no name."""
        found = VARIABLE.fullmatch(name)
        if not found or found.group(1) not in SCOPES:
            raise NotChecked(f"'{name}' is no variable: it begins with its scope, such as 'check.'")
        if found.group(1) != "check":
            raise NotChecked(f"variable '{name}': only the scope 'check' is supported")
        return self._variables.setdefault(name, len(self._variables))

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
            case Expression() if piece.fetch.name == "unique-id":
                if piece.converters:
                    raise NotChecked("'unique-id' with converters is not supported")
                return self._unique()
            case Expression():
                return [*self._expression(piece), Op(lib.RF_OP_EMIT, emitted(piece.flags))]
            case Variable():
                return self._log_variable(piece)

    def _unique(self) -> list[Op]:
        """The value of `unique-id`: another one for each request; nothing without a format."""
        made, self._unique_id = self._unique_id, ""  # a format that names itself ends there
        try:
            return self.format(made, "unique-id-format") if made else []
        finally:
            self._unique_id = made

    def _log_variable(self, variable: Variable) -> list[Op]:
        if variable.name == "ID" and self._unique_id:
            if emitted(variable.flags):
                raise NotChecked("'%ID' in quotes is not supported")
            return self._unique()
        if variable.name not in LOG_VARIABLES:
            raise NotChecked(f"the log variable '%{variable.name}' is not supported")
        if variable.flags & Flags.HEX.value and variable.name not in WITHOUT_HEX:
            raise NotChecked(f"the log variable '%{variable.name}' in hexadecimal is not supported")
        emit = Op(lib.RF_OP_EMIT, emitted(variable.flags))
        match LOG_VARIABLES[variable.name]:
            case str(name):
                return (
                    [Op(lib.RF_FETCH_FACT, self.fact(name)), emit]
                    if emit.number
                    else [Op(lib.RF_OP_FACT, self.fact(name))]
                )
            case bytes(text):
                return [Op(lib.RF_FETCH_TEXT, text=text), emit] if emit.number else text_op(text)
            case ops:
                return [*ops, emit]

    def _expression(self, expression: Expression) -> list[Op]:
        ops, before = compile_call(FETCHES, "fetch", expression.fetch, self)
        gives, name = before.gives, expression.fetch.name
        for call in expression.converters:
            more, converter = compile_call(CONVERTERS, "converter", call, self)
            if gives is Kind.BIN and converter.takes in (Kind.INT, Kind.BOOL):
                raise NotChecked(f"converter '{call.name}' cannot be applied to what '{name}' gives")
            ops += more
            if converter.gives is not Kind.ANY:
                gives, name = converter.gives, call.name
        return ops


def emitted(flags: int) -> int:
    """Flags of a piece, as those of RF_OP_EMIT; hexadecimal changes nothing that an expression gives."""
    return sum(bit for flag, bit in EMITTED.items() if flags & flag.value)
