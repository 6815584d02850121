"""A keepalived.conf cut in two: its scripts for `risefall run --scripts`, and the rest, which asks risefall-track for each.

The scripts keep their words as they stand. In the other file a vrrp_script keeps its name and its weight; the counting of rise and
fall is done once, by risefall, so there the answer acts at once. That file keeps its lines, comments included, unless a script comes
from an included file, a definition or a repeater: then all of these are written out. Both are read again before they are written:
what would not come out the same is refused.
"""

from __future__ import annotations

import os
import re
import shlex
from collections import deque

import msgspec

from risefall.config.keepalived import read
from risefall.config.keepalived.lexer import Lines
from risefall.config.keepalived.model import Config, Script
from risefall.config.text import Diagnostics, Source, read_file
from risefall.errors import ConfigError

BLOCK = re.compile(r"[ \t]*vrrp_script[ \t]")
INCLUDE = re.compile(r"^([ \t]*include[rmwba]?[ \t]+)([^/ \t].*)$")
"""A relative one, which begins at the folder of its file."""
NAMES = ("scripts.conf", "keepalived.conf")


class Apart(Exception):
    """A script does not stand in lines of its own in the file itself."""


def split(config: Config, path: str, folder: str, track: str, config_id: str = "localhost") -> list[str]:
    """Writes both files into a folder that has neither. config_id: with which it was read. Raises: ConfigError."""
    source = read_file(path)
    try:
        asking = asking_text(config, source, track)
    except Apart:
        asking = flat_text(config, source, track, config_id)
    texts = (scripts_text(config), asking)
    _compare(config, texts, path, config_id)
    written = [os.path.join(folder, name) for name in NAMES]
    for one in written:
        if os.path.exists(one):
            raise ConfigError(f"{one}: error: is there already\n  help: name another folder by --into")
    try:
        os.makedirs(folder, exist_ok=True)
        for one, text in zip(written, texts, strict=True):
            with open(one, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
    except OSError as error:
        raise ConfigError(
            f"{folder}: error: cannot be written: {error.strerror}\n  help: name another folder by --into"
        ) from error
    return written


def scripts_text(config: Config) -> str:
    """All scripts, each with what it was given; whoever runs them is told as well."""
    global_ = config.global_
    lines = ["global_defs {"]
    if global_.script_user:
        lines.append(
            " ".join(["  script_user", global_.script_user, *([global_.script_group] if global_.script_group else [])])
        )
    if global_.script_security:
        lines.append("  enable_script_security")
    if global_.umask is not None:
        lines.append(f"  umask 0{global_.umask:o}")
    lines.append("}")
    for one in first_ones(config):
        lines += ["", *_script_lines(one)]
    return "\n".join(lines) + "\n"


def first_ones(config: Config) -> list[Script]:
    """Of scripts with one name, keepalived uses the first."""
    found: dict[str, Script] = {}
    for one in config.scripts:
        found.setdefault(one.name, one)
    return [*found.values()]


def _script_lines(one: Script) -> list[str]:
    lines = [
        f"vrrp_script {_word(one.name)} {{",
        f'  script "{" ".join(_argument(word) for word in one.command.argv)}"',
    ]
    lines.append(f"  interval {_seconds(one.interval_ms)}")
    if one.timeout_ms is not None:
        lines.append(f"  timeout {_seconds(one.timeout_ms)}")
    if one.weight or one.reverse:
        lines.append(f"  weight {one.weight}{' reverse' if one.reverse else ''}")
    lines += [f"  rise {one.rise}", f"  fall {one.fall}"]
    if one.command.user is not None:
        lines.append("  user " + " ".join([one.command.user, *([one.command.group] if one.command.group else [])]))
    return [*lines, "}"]


def _seconds(ms: int) -> str:
    return f"{ms / 1000:g}"


def _word(name: str) -> str:
    return f'"{name}"' if re.search(r"\s", name) else name


def _argument(word: str) -> str:
    """One argument within the double quotes of the line. What no quoting can say shows when the file is read again."""
    return word if word and not re.search(r"[\s'\"\\]", word) else shlex.quote(word)


def asking_text(config: Config, source: Source, track: str) -> str:
    """The file itself, with the body of every vrrp_script replaced. Raises: Apart."""
    lines = source.text.split("\n")
    names: dict[int, Script] = {}
    for one in config.scripts:
        if one.place.file != source.name or one.place.line in names:
            raise Apart
        names[one.place.line] = one
    for line in sorted(names, reverse=True):
        end = _end_of(lines, line - 1)
        if not BLOCK.match(lines[line - 1]) or "$" in lines[line - 1] or end is None:
            raise Apart
        lines[line - 1 : end + 1] = _asking(names[line], track)
    folder = os.path.dirname(os.path.abspath(source.name))
    return "\n".join(INCLUDE.sub(lambda told: f"{told[1]}{folder}/{told[2]}", line) for line in lines)


def flat_text(config: Config, source: Source, track: str, config_id: str) -> str:
    """The same with includes, definitions, repeaters and conditions written out, and without comments."""
    scripts: dict[str, deque[Script]] = {}
    for one in config.scripts:
        scripts.setdefault(one.name, deque()).append(one)
    lines = Lines(source, config_id, Diagnostics())
    out = [f"# made of {source.name} for config id {config_id}: includes and definitions are written out"]
    depth, skipped = 0, False
    while (line := lines.next()) is not None:
        named = line.words[0] == "vrrp_script" and scripts.get(line.words[1] if len(line.words) > 1 else "")
        if depth == 0 and named:
            out += _asking(named.popleft(), track)
            skipped = True
        elif line.text == "{":
            depth += 1
            if not skipped:
                out[-1] += " {"
        elif line.text == "}":
            depth -= 1
            if not skipped:
                out.append("  " * depth + "}")
            skipped = skipped and depth > 0
        elif not skipped:
            out.append("  " * depth + line.text)
    return "\n".join(out) + "\n"


def _end_of(lines: list[str], start: int) -> int | None:
    """The line of the `}` that ends the block of this line."""
    for at in range(start, len(lines)):
        bare = re.sub(r'"[^"]*"', "", lines[at])
        bare = re.split(r"[#!]", bare)[0].strip()
        if bare.endswith("}"):
            return at if bare == "}" or at == start else None
    return None


def _asking(one: Script, track: str) -> list[str]:
    lines = [
        f"vrrp_script {_word(one.name)} {{",
        f'  script "{track} script {_argument(one.name)}"',
        "  interval 1",
        "  timeout 1",
    ]
    if one.weight or one.reverse:
        lines.append(f"  weight {one.weight}{' reverse' if one.reverse else ''}")
    return [*lines, "}"]


def _compare(config: Config, texts: tuple[str, str], path: str, config_id: str) -> None:
    """The scripts are the same, and so is everything else. Raises: ConfigError."""
    scripts = first_ones(read(Source(path, texts[0]), config_id=config_id))
    for mine, wanted in zip(scripts, first_ones(config), strict=True):
        if _meaning(mine) != _meaning(wanted):
            raise ConfigError(
                f"{path}: error: {wanted.name} cannot be written again\n  help: put its command into a file of its own"
            )
    asking = read(Source(path, texts[1]), config_id=config_id)
    weights = [[(one.name, one.weight, one.reverse) for one in each.scripts] for each in (asking, config)]
    rest = [_meaning(msgspec.structs.replace(each, scripts=(), warnings=())) for each in (asking, config)]
    if weights[0] != weights[1] or rest[0] != rest[1]:
        raise ConfigError(
            f"{path}: error: its scripts cannot be replaced\n  help: give each vrrp_script lines of its own"
        )


def _meaning(value: object) -> object:
    """What is said, wherever it stands."""
    told = msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
    if isinstance(told, dict):
        return {key: _meaning(one) for key, one in told.items() if key != "place"}
    return [_meaning(one) for one in told] if isinstance(told, (list, tuple)) else told
