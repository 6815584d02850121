"""`vrrp_script`, `track_file`, `vrrp_track_process`, `bfd_instance`, `track_group`, and the entries of `track_*` blocks.

Source: spec/keepalived-track.md §1.1, §1.2, §2; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from risefall.config.keepalived import numbers
from risefall.config.keepalived.blocks import (
    Draft,
    Keyword,
    Skip,
    Table,
    Values,
    Walk,
    command_of,
    flag,
    number,
    seconds,
    word,
)
from risefall.config.keepalived.model import Bfd, Line, Match, Process, Script, TrackFile, TrackGroup

BFD_NAME_MAX = 31
BFD_MS_MAX = numbers.UINT_MAX // 1000


class Known:
    """What was defined so far; where a name stands twice, the first is found."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.files: list[TrackFile] = []
        self.processes: list[Process] = []
        self.bfds: list[Bfd] = []
        self.bfd_names: list[Bfd] = []
        """Those too that are dropped: what tracks one does not know of it, and never sees it up."""
        self.groups: list[TrackGroup] = []

    def find(self, kind: str, name: str) -> Any:
        """The definition of a name, None without one."""
        return next((one for one in self.all(kind) if one.name == name), None)

    def all(self, kind: str) -> list[Any]:
        lists: Mapping[str, list[Any]] = {
            "script": self.scripts,
            "file": self.files,
            "process": self.processes,
            "bfd": self.bfd_names,
        }
        return lists[kind]


def weight_of(walk: Walk, line: Line, limit: int, message: str, option: str, *, keep: bool = False) -> None:
    """`weight N [reverse]` of a definition. keep: a number out of range is said to be wrong, and used (spec §1.1)."""
    given = word(line)
    name = walk.draft.name
    read = numbers.signed(given, -limit, limit)
    value = walk.judge(line, 1, read, message.format(name=name, value=given))
    if value is None and keep:
        value = max(-numbers.INT_MAX - 1, min(numbers.INT_MAX, numbers.signed(given, -(2**62), 2**62).value or 0))
    if value is not None:
        walk.set(line, "weight", value)
    if len(line.words) > 2:
        if line.words[2] == "reverse":
            walk.set(line, "reverse", True)
        else:
            walk.warn(line, option.format(name=name, value=line.words[2]), "write reverse, or nothing", 2)
    walk.leftover(line, 3)


# --- vrrp_script --------------------------------------------------------------------------------------------------------


def _script_begin(walk: Walk, line: Line) -> None:
    walk.open.append(Draft(word(line), line))


def _script_command(walk: Walk, line: Line) -> None:
    if len(line.words) < 2:
        return
    found = command_of(walk, line, user=False)
    if found is not None:
        walk.set(line, "command", found)


def _script_weight(walk: Walk, line: Line) -> None:
    weight_of(
        walk,
        line,
        253,
        "vrrp_script {name} weight {value} must be in [-253, 253]",
        "vrrp_script {name} unknown weight option {value}",
        keep=True,
    )


def user_read(walk: Walk, line: Line) -> None:
    """`user USER [GROUP]` of a script or of MISC_CHECK."""
    walk.set(line, "user", (word(line), line.words[2] if len(line.words) > 2 else None))
    walk.leftover(line, 3)


def _init_fail(walk: Walk, line: Line) -> None:
    walk.set(line, "init_fail", True)
    walk.warn(line, "init_fail has no effect since keepalived 2.2.5", "take it out: the first run decides anyhow")


SCRIPT: Table = {
    "script": Keyword(_script_command),
    "interval": seconds(
        "interval_ms",
        f"({{name}}): vrrp script interval '{{value}}' must be between 1 and {numbers.SECONDS_MAX} - ignoring",
        zero="({name}): vrrp script interval must be greater than 0, setting to 1",
    ),
    "timeout": seconds(
        "timeout_ms",
        "({name}): vrrp script timeout '{value}' invalid - ignoring",
        zero="({name}): vrrp script timeout must be greater than 0, setting to 1",
    ),
    "weight": Keyword(_script_weight),
    "rise": number(
        "rise", 1, numbers.INT_MAX, "({name}): vrrp script rise value '{value}' invalid, defaulting to 1", instead=1
    ),
    "fall": number(
        "fall", 1, numbers.INT_MAX, "({name}): vrrp script fall value '{value}' invalid, defaulting to 1", instead=1
    ),
    "user": Keyword(user_read),
    "init_fail": Keyword(_init_fail),
}


def _script_end(walk: Walk, known: Known) -> None:
    draft = walk.draft
    values = dict(draft.values)
    user, group = values.pop("user", (None, None))
    command = values.pop("command", None)
    if command is None:
        walk.warn(
            draft.line,
            f"No script set for vrrp_script {draft.name} - removing",
            "add 'script \"/path/of/command arguments\"': what tracks it now never fails",
        )
        return
    if known.find("script", draft.name):
        walk.warn(
            draft.line,
            f"vrrp_script {draft.name} stands here for the second time: the first one is used",
            "use distinct names",
            1,
        )
    command = type(command)(command.argv, user, group)
    known.scripts.append(Script(draft.name, command, place=draft.place, **values))


# --- track_file -----------------------------------------------------------------------------------------------------------


def _file_begin(walk: Walk, line: Line) -> None:
    walk.open.append(Draft(word(line), line))
    if line.words[0] == "vrrp_track_file":
        walk.warn(line, '"vrrp_track_file" is deprecated, please use "track_file"', "write track_file", 0)


def _file_path(walk: Walk, line: Line) -> None:
    name = walk.draft.name
    if len(line.words) < 2:
        walk.warn(line, "track file file name missing", "write the path behind it", 1)
    elif "path" in walk.draft.values:
        text = f"File already set for track file {name} - ignoring {line.words[1]}"
        walk.warn(line, text, "the first one stays; take one out", 0)
    else:
        walk.set(line, "path", line.words[1])
        walk.leftover(line, 2)


def _file_weight(walk: Walk, line: Line) -> None:
    name = walk.draft.name
    if len(line.words) < 2:
        walk.warn(line, f"No weight specified for track file {name} - ignoring", "write a number behind it", 1)
        return
    if walk.draft.values.get("weight", 1) != 1:
        text = f"Weight already set for track file {name} - ignoring {line.words[1]}"
        walk.warn(line, text, "the first one stays; take one out", 0)
        return
    weight_of(
        walk,
        line,
        254,
        "Weight ({value}) for track_file {name} must be between [-254..254] inclusive. Ignoring...",
        "track_file {name} unknown weight option {value}",
    )


def _file_init(walk: Walk, line: Line) -> None:
    walk.set(line, "init", 0)
    name = walk.draft.name
    for at in range(1, len(line.words)):
        given = line.words[at].lstrip(" \t")
        if given[:1].isdigit() or given[:1] == "-":
            read = numbers.signed(given, -numbers.INT_MAX - 1, numbers.INT_MAX, lenient=False)
            value = walk.judge(line, at, read, f"Track file {name} init value {given} is invalid") or 0
            if not -254 <= value <= 254:
                text = f"Track file {name} init value {value} is outside sensible range [-254, 254]"
                walk.warn(line, text, "write a number from -254 to 254", at)
            walk.set(line, "init", value)
        elif given == "overwrite":
            walk.set(line, "overwrite", True)
        else:
            walk.warn(line, f"Unknown track file init option {given}", "write a number, or overwrite", at)


FILE: Table = {"file": Keyword(_file_path), "weight": Keyword(_file_weight), "init_file": Keyword(_file_init)}


def _file_end(walk: Walk, known: Known) -> None:
    draft = walk.draft
    if "path" not in draft.values:
        walk.warn(draft.line, f"No file set for track_file {draft.name} - ignoring", "add 'file /path'")
        return
    known.files.append(TrackFile(draft.name, place=draft.place, **draft.values))


# --- vrrp_track_process -----------------------------------------------------------------------------------------------------


def _process_path(walk: Walk, line: Line) -> None:
    values = walk.draft.values
    if "path" in values:
        text = f"Process already set for track process {walk.draft.name} - ignoring {word(line)}"
        walk.warn(line, text, "the first one stays; take one out", 0)
        return
    walk.set(line, "path", word(line))
    if len(line.words) > 2:
        values["arguments"] = line.words[2:]
        values["full_command"] = True
        values.setdefault("match", Match.EXACT)


def _process_match(walk: Walk, line: Line) -> None:
    kinds = {"initial": Match.INITIAL, "partial": Match.PARTIAL}
    if len(line.words) > 1 and line.words[1] not in kinds:
        walk.warn(line, f"Invalid param_match type {line.words[1]} - ignoring", "write initial or partial", 1)
        return
    walk.set(line, "match", kinds[line.words[1]] if len(line.words) > 1 else Match.EXACT)
    walk.draft.values["full_command"] = True


def _process_weight(walk: Walk, line: Line) -> None:
    name = walk.draft.name
    if len(line.words) < 2:
        walk.warn(line, f"No weight specified for track process {name} - ignoring", "write a number behind it", 1)
        return
    if walk.draft.values.get("weight"):
        text = f"Weight already set for track process {name} - ignoring {line.words[1]}"
        walk.warn(line, text, "the first one stays; take one out", 0)
        return
    weight_of(
        walk,
        line,
        254,
        "Weight ({value}) for vrrp_track_process {name} must be between [-254..254] inclusive. Ignoring...",
        "vrrp_track_process {name} unknown weight option {value}",
    )


def _quorum(walk: Walk, line: Line) -> None:
    given, values = word(line), walk.draft.values
    message = (
        f"Quorum ({given}) for vrrp_track_process {walk.draft.name} must be between [1..65535] inclusive. Ignoring..."
    )
    value = walk.judge(line, 1, numbers.unsigned(given, 1, 65535), message)
    if value is None:
        return
    high = values.get("quorum_max")
    if high is not None and value > high:
        walk.warn(line, "Quorum is greater than quorum_max - ignoring", f"quorum_max is {high}", 1)
        return
    walk.set(line, "quorum", value)
    walk.leftover(line, 2)


def _quorum_max(walk: Walk, line: Line) -> None:
    given, values = word(line), walk.draft.values
    message = f"quorum_max ({given}) for vrrp_track_process {walk.draft.name} must be between [0..65535] inclusive. Ignoring..."
    value = walk.judge(line, 1, numbers.unsigned(given, 0, 65535), message)
    if value is None:
        return
    quorum = values.get("quorum", 1)
    if (value or quorum > 1) and value < quorum:
        walk.warn(line, "quorum_max is less than quorum - ignoring", f"quorum is {quorum}", 1)
        return
    walk.set(line, "quorum_max", value)
    values["quorum"] = quorum or 1 if value else 0
    walk.leftover(line, 2)


def _delay(*fields: str, prefix: str = "") -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        message = (
            f"{prefix}delay ({word(line)}) for vrrp_track_process {walk.draft.name} must be between"
            " [0.000001..3600] inclusive. Ignoring..."
        )
        value = walk.judge(line, 1, numbers.decimal(word(line), 1, 3_600_000_000), message)
        if value is not None:
            for field in fields:
                walk.set(line, field, numbers.ms(value))
        walk.leftover(line, 2)

    return Keyword(read)


PROCESS: Table = {
    "process": Keyword(_process_path),
    "param_match": Keyword(_process_match),
    "weight": Keyword(_process_weight),
    "quorum": Keyword(_quorum),
    "quorum_max": Keyword(_quorum_max),
    "delay": _delay("fork_delay_ms", "terminate_delay_ms"),
    "terminate_delay": _delay("terminate_delay_ms", prefix="terminate_"),
    "fork_delay": _delay("fork_delay_ms", prefix="fork_"),
    "full_command": flag("full_command"),
}


def _process_end(walk: Walk, known: Known) -> None:
    draft = walk.draft
    if "path" not in draft.values:
        text = f"track process '{draft.name}' process name not specified"
        walk.warn(draft.line, text, "add 'process NAME': it is left out")
        return
    known.processes.append(Process(draft.name, place=draft.place, **draft.values))


# --- bfd_instance -----------------------------------------------------------------------------------------------------------


def is_address(given: str) -> int:
    """4 or 6 for an address; 0 for anything else. What follows `-` or `/` does not count."""
    try:
        return ipaddress.ip_address(given.partition("-")[0].partition("/")[0]).version if "%" not in given else 0
    except ValueError:
        return 0


def _bfd_begin(walk: Walk, line: Line, known: Known) -> None:
    name = word(line)
    if len(name) > BFD_NAME_MAX:
        walk.warn(line, f"BFD name {name} too long", f"the most are {BFD_NAME_MAX} characters", 1)
        raise Skip
    if known.find("bfd", name):
        walk.warn(line, f"BFD {name} already specified", "use distinct names", 1)
        raise Skip
    walk.open.append(Draft(name, line))


def _bfd_neighbor(walk: Walk, line: Line) -> None:
    given = word(line)
    if not is_address(given):
        text = (
            f"Configuration error: BFD instance {walk.draft.name} has malformed neighbor address {given},"
            " ignoring instance"
        )
        walk.warn(line, text, "write a numeric address", 1)
        walk.draft.dead = True
        raise Skip(inner=True)
    walk.set(line, "neighbor_ip", given)
    walk.leftover(line, 2)


def _bfd_source(walk: Walk, line: Line) -> None:
    given = word(line)
    if not is_address(given):
        text = f"Configuration error: BFD instance {walk.draft.name} has malformed source address {given}, ignoring"
        walk.warn(line, text, "write a numeric address", 1)
        return
    walk.set(line, "source_ip", given)
    walk.leftover(line, 2)


def _bfd_ms(keyword: str, low: int) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        message = (
            f"Configuration error: BFD instance {walk.draft.name} {keyword} value {word(line)} is not valid"
            f" (must be in range [{low}-{BFD_MS_MAX}]), ignoring"
        )
        read_ = numbers.decimal(word(line), low * 1000, BFD_MS_MAX * 1000, places=3, lenient=False)
        value = walk.judge(line, 1, read_, message)
        if value is not None:
            walk.set(line, f"{keyword}_ms", numbers.ms(value))
        walk.leftover(line, 2)

    return Keyword(read)


def _bfd_number(field: str, low: int, high: int, what: str) -> Keyword:
    ends = f"[{low}-{high}]"
    message = f"Configuration error: BFD instance {{name}} {what} value {{value}} not valid (must be in range {ends}), ignoring"
    return number(field, low, high, message, lenient=False, plus=low < 0)


def _bfd_weight(walk: Walk, line: Line) -> None:
    weight_of(
        walk,
        line,
        253,
        "Configuration error: BFD instance {name} weight value {value} not valid (must be in range [-253-253]), ignoring",
        "Configuration error: BFD instance {name} unknown weight option {value}",
    )


BFD: Table = {
    "source_ip": Keyword(_bfd_source),
    "neighbor_ip": Keyword(_bfd_neighbor),
    "neighbour_ip": Keyword(_bfd_neighbor),
    "min_rx": _bfd_ms("min_rx", 1),
    "min_tx": _bfd_ms("min_tx", 1),
    "idle_tx": _bfd_ms("idle_tx", 1000),
    "multiplier": _bfd_number("multiplier", 1, 255, "multiplier"),
    "passive": flag("passive"),
    "ttl": _bfd_number("ttl", 1, 255, "ttl/hoplimit"),
    "hoplimit": _bfd_number("ttl", 1, 255, "ttl/hoplimit"),
    "max_hops": _bfd_number("max_hops", -1, 255, "max_hops"),
    "weight": Keyword(_bfd_weight),
    "vrrp": flag("for_vrrp"),
    "checker": flag("for_checker"),
}


def _bfd_end(walk: Walk, known: Known) -> None:
    draft = walk.draft
    values: Values = dict(draft.values)
    name, line = draft.name, draft.line
    vrrp, checker = values.pop("for_vrrp", False), values.pop("for_checker", False)
    values["vrrp"], values["checker"] = vrrp or not checker, checker or not vrrp
    known.bfd_names.append(Bfd(name, **{"neighbor_ip": "", **values}))
    head = f"Configuration error: BFD instance {name}"
    neighbor, source = values.get("neighbor_ip"), values.get("source_ip")
    if neighbor is None:
        walk.warn(line, f"{head} has no neighbor address set, disabling instance", "add 'neighbor_ip <address>'")
        return
    if source and is_address(source) != is_address(neighbor):
        text = f"{head} source address {source} and neighbor address {neighbor} are not of the same family, disabling instance"
        walk.warn(draft.at("source_ip"), text, "use addresses of one family", 1)
        return
    if any(one.neighbor_ip == neighbor and one.source_ip == source for one in known.bfds):
        pair = f"source/neighbor address {source}/{neighbor}" if source else f"neighbor address {neighbor}"
        walk.warn(line, f"{head} has duplicate {pair}, ignoring instance", "use distinct addresses")
        return
    ttl = values.get("ttl") or (1 if is_address(neighbor) == 4 else 64)
    if values.get("max_hops", 0) > ttl:
        text = f"BFD instance {name}: max_hops exceeds ttl/hoplimit - setting to ttl/hoplimit"
        walk.warn(draft.at("max_hops"), text, f"the most is {ttl}", 1)
        values["max_hops"] = ttl
    known.bfds.append(Bfd(name, place=draft.place, **values))


# --- track_group ------------------------------------------------------------------------------------------------------------


def _track_group_begin(walk: Walk, line: Line, known: Known) -> None:
    if len(line.words) != 2:
        walk.warn(line, "track_group must have a name - skipping", "write track_group NAME {", 1)
        raise Skip
    if any(group.name == line.words[1] for group in known.groups):
        walk.warn(line, f"track_group {line.words[1]} already defined", "use distinct names", 1)
        raise Skip
    walk.open.append(Draft(line.words[1], line))


def members_read(walk: Walk, line: Line, kind: str) -> None:
    """`group { NAME … }`, one or more names a line."""
    if "members" in walk.draft.values:
        text = f"Group list already specified for sync group {walk.draft.name}"
        walk.warn(line, text, "write all names into one group block", 0)
        raise Skip
    found = tuple((name, inner) for inner in walk.value_lines(line) for name in inner.words)
    if not found:
        text = f"Warning - {kind} {walk.draft.name} has empty group block"
        walk.warn(line, text, "write the names of instances into it")
        return
    walk.set(line, "members", found)


def tables(known: Known) -> Table:
    """The entries of this module for the outermost table."""

    def group_end(walk: Walk) -> None:
        names = tuple(name for name, _ in walk.draft.values.get("members", ()))
        known.groups.append(TrackGroup(walk.draft.name, names, walk.draft.place))

    group = {"group": Keyword(lambda walk, line: members_read(walk, line, "track group"))}
    file_ = Keyword(_file_begin, FILE, lambda walk: _file_end(walk, known))
    return {
        "vrrp_script": Keyword(_script_begin, SCRIPT, lambda walk: _script_end(walk, known)),
        "track_file": file_,
        "vrrp_track_file": file_,
        "vrrp_track_process": Keyword(_script_begin, PROCESS, lambda walk: _process_end(walk, known)),
        "bfd_instance": Keyword(
            lambda walk, line: _bfd_begin(walk, line, known), BFD, lambda walk: _bfd_end(walk, known)
        ),
        "track_group": Keyword(lambda walk, line: _track_group_begin(walk, line, known), group, group_end),
    }
