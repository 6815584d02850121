"""What `--sweep` says: which words take which values, and the settings that follow from all of them together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product

import msgspec

from risefall.config.haproxy.plan import Loaded, PlannedServer
from risefall.config.haproxy.units import TIME_MS_MAX, long_ms
from risefall.config.text import nearest, render
from risefall.errors import ConfigError

SETTINGS_MAX = 10_000
VALUES_MAX = 1000
USUAL_STEPS = 9
"""A range without a step is cut in as many, where its own unit would make more of them than VALUES_USUAL."""
VALUES_USUAL = 20
COUNT_MAX = 1000
UNIT = re.compile(r"\d+(us|ms|s|m|h|d)$")
UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

FIELDS = {
    "inter": ("inter_ms",),
    "fastinter": ("fastinter_ms",),
    "downinter": ("downinter_ms",),
    "agent_inter": ("agent_inter_ms",),
    "rise": ("rise",),
    "fall": ("fall",),
    "timeout_check": ("timeout_check_ms",),
    "timeout_connect": ("timeout_connect_ms",),
}
"""The words that can be swept, and what of a planned server each is."""
COUNTS = ("rise", "fall")
HELP = "write WORD=LOW..HIGH, WORD=LOW..HIGH/STEP or WORD=ONE|OTHER, by comma, such as inter=1s..10s,fall=2..5"
USUAL = "inter=1s..10s,fall=2..5"


class Setting(msgspec.Struct, frozen=True):
    """A word and its value each: times in ms."""

    values: tuple[tuple[str, int], ...]

    @property
    def words(self) -> str:
        """As a `server` line says it; timeouts, which have lines of their own, follow."""
        said = [
            f"{name.replace('_', '-')} {shown(name, value)}" for name, value in self.values if "timeout" not in name
        ]
        lines = [f"{name.replace('_', ' ')} {shown(name, value)}" for name, value in self.values if "timeout" in name]
        return "; ".join([*([" ".join(said)] if said else []), *lines])

    @property
    def lines(self) -> tuple[str, ...]:
        """As a configuration says it, for a backend or its defaults."""
        server, *timeouts = self.words.split("; ")
        return (server, *timeouts) if server.startswith("timeout") else (f"default-server {server}", *timeouts)


def time_text(ms: int) -> str:
    """A time in the largest unit that holds it whole."""
    for unit in ("d", "h", "m", "s"):
        if ms and ms % UNIT_MS[unit] == 0:
            return f"{ms // UNIT_MS[unit]}{unit}"
    return f"{ms}ms"


def shown(name: str, value: int) -> str:
    return str(value) if name in COUNTS else time_text(value)


def refusal(option: str, text: str, at: int, message: str, help: str) -> ConfigError:
    """An option's text that cannot be taken, with its place."""
    return ConfigError(render("error", option, 1, text, at + 1, message, help))


def parts_of(text: str) -> Iterator[tuple[int, str]]:
    """What stands between commas, with its place."""
    at = 0
    for part in text.split(","):
        yield at + len(part) - len(part.lstrip()), part.strip()
        at += len(part) + 1


def parse_sweep(text: str) -> list[Setting]:
    """Every setting of a grid. Raises ConfigError with the place and what may stand there."""
    axes: dict[str, list[int]] = {}
    for at, part in parts_of(text):
        name, equals, values = part.partition("=")
        name = name.strip().replace(" ", "_").replace("-", "_")
        if name not in FIELDS:
            close = nearest(name, FIELDS)
            hint = f"did you mean '{close}'? " if close else ""
            raise refusal("--sweep", text, at, f"'{name}' cannot be swept", f"{hint}known are {', '.join(FIELDS)}")
        if name in axes:
            raise refusal("--sweep", text, at, f"'{name}' stands here twice", "write ONE|OTHER for single values")
        if not equals or not values.strip():
            raise refusal("--sweep", text, at, f"'{name}' wants values", HELP)
        axes[name] = values_of(name, values.strip(), text, at + part.index("=") + 1)
    total = 1
    for values_ in axes.values():
        total *= len(values_)
    if total > SETTINGS_MAX:
        raise refusal(
            "--sweep",
            text,
            0,
            f"{total:,} settings are too many, at most {SETTINGS_MAX:,}",
            "take a larger step: 1s..10s/3s",
        )
    return [Setting(tuple(zip(axes, each, strict=True))) for each in product(*axes.values())]


def values_of(name: str, said: str, text: str, at: int) -> list[int]:
    """The values of one word, rising."""
    found: list[int] = []
    for one in said.split("|"):
        low, dots, rest = one.partition("..")
        high, slash, step = rest.partition("/")
        first = value_of(name, low, text, at)
        if not dots:
            found.append(first)
        else:
            at_high = at + len(low) + 2
            last = value_of(name, high, text, at_high)
            if last < first:
                raise refusal("--sweep", text, at, f"'{one}' falls", f"write {high}..{low}")
            by = value_of(name, step, text, at_high + len(high) + 1) if slash else usual_step(name, low, first, last)
            if (last - first) // by + 1 > VALUES_MAX:
                raise refusal("--sweep", text, at, f"'{one}' is more than {VALUES_MAX} values", "take a larger step")
            found += [*range(first, last, by), last]
        at += len(one) + 1
    return sorted(set(found))


def usual_step(name: str, low: str, first: int, last: int) -> int:
    """Where a range has no step: one unit of its low end where that is few enough, else equal parts."""
    if name in COUNTS:
        return 1
    unit = UNIT.match(low.strip())
    by = max(1, UNIT_MS.get(unit[1], 1)) if unit else 1
    return by if (last - first) // by < VALUES_USUAL else max(1, -(-(last - first) // USUAL_STEPS))


def value_of(name: str, said: str, text: str, at: int) -> int:
    """One value, in its range."""
    at += len(said) - len(said.lstrip())
    said = said.strip()
    if name in COUNTS:
        if not said.isascii() or not said.isdigit() or not 1 <= int(said[:9]) <= COUNT_MAX:
            raise refusal("--sweep", text, at, f"'{said}' is no count", f"'{name}' takes 1 to {COUNT_MAX}")
        return int(said[:9])
    try:
        ms = long_ms(said)
    except ValueError:
        ms = 0
    if not 1 <= ms <= TIME_MS_MAX:
        raise refusal("--sweep", text, at, f"'{said}' is no time", f"'{name}' takes 1ms to 24d, such as 500ms or 2s")
    return ms


def with_setting(planned: Sequence[PlannedServer], setting: Setting) -> list[PlannedServer]:
    """A plan in which every server has these values, whatever its line says; `inter` is the agent's too, where it was before."""
    changes: dict[str, int] = {FIELDS[name][0]: value for name, value in setting.values}
    out = []
    for one in planned:
        own = dict(changes)
        if "inter_ms" in own and "agent_inter_ms" not in own and one.config.settings.agent_inter_ms is None:
            own["agent_inter_ms"] = own["inter_ms"]
        out.append(msgspec.structs.replace(one, **own))
    return out


def loaded_with(loaded: Loaded, setting: Setting) -> Loaded:
    """A configuration with this setting."""
    return Loaded(loaded.config, with_setting(loaded.planned, setting), loaded.dialect)
