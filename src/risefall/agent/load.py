"""agent.toml into settings: every error of the file in one run, each with its line, its key and the next step.

The walk knows no key. It takes keys, types, ranges and next steps from the structs of `settings.py`, converts each
value alone, so that one wrong value hides no other, and then looks at what only several values together can get wrong.
"""

from __future__ import annotations

import json
import re
import tomllib
import types
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from risefall.agent import settings as sheet
from risefall.agent.sense import findings
from risefall.agent.settings import Settings, Signal
from risefall.agent.tables import Spot, Where, find_places, nearest_place, spelled
from risefall.config.haproxy.units import TIME_HELP, long_ms, time_ms
from risefall.config.text import Diagnostics, Wrong, decode, nearest
from risefall.errors import ConfigError

BYTES_MAX = 1 << 20
KINDS = {str(kind.__struct_config__.tag): kind for kind in get_args(sheet.AnySignal)}
TOML_PLACE = re.compile(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)
SAID_PLACE = re.compile(r" - at `\$(.*)`$")
QUOTE = "'"
MEANT = {"=": "=="}
HOMES: dict[str, type[msgspec.Struct]] = {"[agent]": sheet.Agent, "[service.NAME]": sheet.Service}
TYPE_NAMES = {"str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false", "array": "a list"}


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong, with its key, and the next step."""

    where: Where
    message: str
    help: str = ""


def load_settings(path: str) -> Settings:
    """The settings of a file. Raises ConfigError with all that is wrong in it."""
    return parse_settings(read_text(path, "this is no agent.toml"), path)


def read_text(path: str, too_long: str) -> str:
    """A file's text. Raises ConfigError where it cannot be read, or is longer than such a file can be."""
    try:
        with open(path, "rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: error: cannot be read: {error.strerror}\n  help: check the path and its permissions"
        ) from error
    if len(data) > BYTES_MAX:
        raise ConfigError(f"{path}: error: longer than {BYTES_MAX} bytes\n  help: {too_long}")
    return decode(data, path)


def parse_settings(text: str, name: str = "agent.toml") -> Settings:
    """The settings of a text. Raises ConfigError with all that is wrong in it, in the order of its lines."""
    made: Settings = parse_struct(text, name, Settings, findings)
    return named(made)


def parse_struct(text: str, name: str, kind: type[msgspec.Struct], look: Callable[[Any], Iterable[Any]]) -> Any:
    """A TOML text as a struct. Raises ConfigError with all that is wrong in it, in the order of its lines.

    look: what only several values together can get wrong: where, message and next step of each.
    """
    text = text.replace("\r\n", "\n")
    lines = text.split("\n")
    notes = Diagnostics()
    notes.files([name])

    def note(spot: Spot | None, message: str, help: str) -> None:
        raw = lines[spot.line - 1] if spot and spot.line <= len(lines) else ""
        wrong = Wrong(message, help=help, column=spot.column if spot else 0)
        notes.add(wrong, name, spot.line if spot else 0, raw, error=True)

    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = TOML_PLACE.match(str(error))
        spot = Spot(int(found[2]), int(found[3])) if found and found[2] else Spot(len(lines), 0)
        note(spot, f"this is no TOML: {found[1] if found else error}", "see https://toml.io for how a value is written")
        notes.check()
        raise AssertionError("an error was noted") from error
    places = find_places(text)
    wrong: list[Finding] = []
    clean = walk(raw, kind, (), wrong)
    if not wrong:
        made = msgspec.convert(clean, kind)
        wrong = [Finding(*finding) for finding in look(made)]
        if not wrong:
            return made
    for finding in wrong:
        key = spelled(finding.where)
        note(
            nearest_place(places, finding.where), f"{key}: {finding.message}" if key else finding.message, finding.help
        )
    notes.check()
    raise AssertionError("an error was noted")


def named(made: Settings) -> Settings:
    """Settings with the names that were left out: a signal's is its kind, a service's word is its table's name."""
    services = {}
    for name, service in made.service.items():
        signals = tuple(msgspec.structs.replace(each, name=signal_name(each)) for each in service.signal)
        services[name] = msgspec.structs.replace(service, send=service.send or name, signal=signals)
    return msgspec.structs.replace(made, service=services)


def signal_name(signal: Signal) -> str:
    """The name by which rules speak of a signal."""
    return signal.name or str(signal.__struct_config__.tag)


def walk(raw: Any, kind: Any, where: Where, wrong: list[Finding]) -> Any:
    """A raw value as msgspec will take it; notes all that is wrong with it and what it holds."""
    plain, meta = bare(kind)
    if get_origin(plain) is dict and isinstance(raw, dict):
        return {key: walk(value, get_args(plain)[1], (*where, key), wrong) for key, value in raw.items()}
    if get_origin(plain) is tuple and isinstance(raw, list) and (inner := element(plain)) is not None:
        return [walk(value, inner, (*where, index), wrong) for index, value in enumerate(raw)]
    if plain is sheet.AnySignal:
        return walk_signal(raw, where, wrong)
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        return walk_struct(raw, plain, where, wrong)
    return walk_value(raw, kind, meta, where, wrong)


def bare(kind: Any) -> tuple[Any, list[msgspec.Meta]]:
    """A type without its notes and without None, which TOML cannot write, and the notes."""
    notes: list[msgspec.Meta] = []
    while True:
        if get_origin(kind) is Annotated:
            notes = [*notes, *(note for note in kind.__metadata__ if isinstance(note, msgspec.Meta))]
            kind = get_args(kind)[0]
        elif get_origin(kind) in (Union, types.UnionType) and len(rest := without_none(kind)) == 1:
            kind = rest[0]
        else:
            return kind, notes


def without_none(kind: Any) -> list[Any]:
    return [each for each in get_args(kind) if each is not type(None)]


def element(kind: Any) -> Any:
    """The struct or the time that a tuple is made of, or nothing: other lists are converted whole."""
    inner = get_args(kind)[0]
    timed = any((note.extra or {}).get("unit") for note in bare(inner)[1])
    whole = timed or inner is sheet.AnySignal or (isinstance(inner, type) and issubclass(inner, msgspec.Struct))
    return inner if whole else None


def walk_signal(raw: Any, where: Where, wrong: list[Finding]) -> Any:
    """A signal by its `kind`."""
    if not isinstance(raw, dict):
        wrong.append(Finding(where, "this must be a table", "write [[service.NAME.signal]] and its keys below"))
        return raw
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        message = f"there is no signal of kind {kind!r}" if "kind" in raw else "a signal needs a 'kind'"
        at = (*where, "kind") if "kind" in raw else where
        wrong.append(Finding(at, message, suggest(str(kind), list(KINDS), "kinds")))
        return raw
    return walk_struct(raw, KINDS[kind], where, wrong)


def walk_struct(raw: Any, kind: type[msgspec.Struct], where: Where, wrong: list[Finding]) -> Any:
    """The keys of a table: unknown ones, missing ones, and the value of each."""
    if not isinstance(raw, dict):
        wrong.append(Finding(where, "this must be a table", f"write [{spelled(where)}] and its keys below"))
        return raw
    fields = {each.encode_name: each for each in msgspec.structs.fields(kind)}
    tag = kind.__struct_config__.tag_field
    hints = get_type_hints(kind, include_extras=True)
    clean: dict[str, Any] = {}
    for key, value in raw.items():
        if key == tag:
            clean[key] = value
        elif key not in fields:
            help = belongs(key, kind) or suggest(key, list(fields), "keys")
            wrong.append(Finding((*where, key), "there is no such key here", help))
        else:
            clean[key] = walk(value, hints[fields[key].name], (*where, key), wrong)
    for key, each in fields.items():
        if each.required and key not in raw:
            wrong.append(
                Finding(where, f"'{key}' is missing", first_step(bare(hints[each.name])[1]) or f"add {key} = ...")
            )
    return clean


def walk_value(raw: Any, kind: Any, notes: list[msgspec.Meta], where: Where, wrong: list[Finding]) -> Any:
    """One value: a time with its unit, or what msgspec makes of it."""
    units = {(note.extra or {}).get("unit") for note in notes}
    if units & {"ms", "long ms"} and isinstance(raw, str):
        try:
            value, rest = time_ms(raw) if "ms" in units else (long_ms(raw), "")
        except (ValueError, OverflowError):
            value, rest = 0, raw
        if rest:
            wrong.append(Finding(where, f"'{raw}' is no time", TIME_HELP))
            return raw
        raw, shown = value, f"'{raw}'"
    else:
        shown = f"'{raw}'" if isinstance(raw, str) else str(raw).lower() if isinstance(raw, bool) else str(raw)
    try:
        msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        wrong.append(explained(error, shown, kind, notes, where))
    return raw


def explained(
    error: msgspec.ValidationError, shown: str, kind: Any, notes: list[msgspec.Meta], where: Where
) -> Finding:
    """What msgspec found, in words for an operator."""
    said = str(error)
    at = SAID_PLACE.search(said)
    said = SAID_PLACE.sub("", said)
    place = f" (element {at[1]})" if at else ""
    plain = bare(kind)[0]
    words = [str(each.value) for each in members(plain)]
    if words:
        close = MEANT.get(shown.strip(QUOTE)) or nearest(shown.strip(QUOTE), words)
        listed = ", ".join(words)
        return Finding(
            where,
            f"{shown} is not one of: {listed}",
            f"did you mean '{close}'?" if close else f"write one of: {listed}",
        )
    for short, name in TYPE_NAMES.items():
        said = said.replace(f"`{short}`", name)
    if "regex" in said:
        return Finding(where, f"{shown} cannot stand here{place}", first_step(notes))
    message = said[:1].lower() + said[1:].replace("`", "'")
    tail = "" if ", got " in message else f", not {shown}"
    help = first_step(notes) or shape(plain, shown, where) or "see docs/agent.md"
    return Finding(where, f"{message}{tail}{place}", help)


def shape(plain: Any, shown: str, where: Where) -> str:
    """How a list is written, where there should be one."""
    if where[-1:] == ("curve",):
        return "write points: [[50, 100], [90, 10]]"
    if get_origin(plain) is not tuple:
        return ""
    if get_args(plain)[0] is str:
        return f"write {where[-1]} = [{json.dumps(shown.strip(QUOTE))}]"
    return f"write [[{spelled(where)}]] and its keys below"


def members(plain: Any) -> Iterator[Any]:
    """The words of an enum."""
    if isinstance(plain, type) and issubclass(plain, StrEnum):
        yield from plain


def first_step(notes: list[msgspec.Meta]) -> str:
    """The next step that stands beside a range."""
    return next((note.description for note in notes if note.description), "")


def belongs(key: str, kind: type[msgspec.Struct]) -> str:
    """Where a key belongs that stands in another one of the tables that people mix up."""
    for place, home in HOMES.items():
        if (
            kind in (Settings, *HOMES.values())
            and home is not kind
            and key in {each.encode_name for each in msgspec.structs.fields(home)}
        ):
            return f"it belongs under {place}"
    return ""


def suggest(word: str, known: list[str], what: str) -> str:
    """The nearest key, or all of them."""
    close = nearest(word, known)
    return f"did you mean '{close}'?" if close else f"{what}: {', '.join(known)}"
