"""One configuration on its way to become what runs: made whole before anything changes, in a thread where others wait.

At start it becomes the first fleet; at a reload it is joined to the one that runs (`reload`).
"""

from __future__ import annotations

import gc
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property

import msgspec

from risefall.config.haproxy.fronts import read_fronts
from risefall.config.haproxy.model import Family
from risefall.config.haproxy.plan import Loaded
from risefall.daemon.assemble import Seed
from risefall.daemon.growth import Grower
from risefall.daemon.join import Crew, now_ms
from risefall.daemon.placed import Placed, begin, made_of
from risefall.daemon.serving import Wanted
from risefall.daemon.wishes import Sections, sections_of, tallies_of
from risefall.engine.around import Around
from risefall.engine.marks import check_mark
from risefall.engine.names import Found, Unresolved, key_of
from risefall.engine.targets import Retell, Target, TargetBuilder
from risefall.errors import StartError
from risefall.state.server import AGENT, HEALTH
from risefall.surfaces.resolvers import counters_of

ProxyKey = tuple[str, str]
"""Kind and name of a proxy: a frontend and a backend may have the same name."""


class Draft:
    """What a configuration comes to. The tree and the plan may go once it is made, `targets` once the checks are placed."""

    def __init__(
        self, loaded: Loaded, found: Found, groups: Groups, *, node: str, first_ns: int, serve: bool = False
    ) -> None:
        """serve: frontends are to be served as well. first_ns: when the first check is due, on the engine's clock. Raises: StartError for names without an address."""
        config = loaded.config
        self.proxies: list[ProxyKey] = [(proxy.kind, proxy.name) for proxy in config.proxies]
        self.groups = groups.plan(self.proxies)
        around = Around(config)
        builder = TargetBuilder(
            config, loaded.dialect, found, node=node, waiting=True, groups=self.groups, around=around
        )
        self.targets: list[Target] = builder.build(loaded.planned, now_ns=first_ns)
        refuse_unresolved(self.targets, found)
        self.seed = Seed(config, self.targets, loaded.dialect, now_ms())
        self.grower = Grower(config, loaded.dialect, found, node=node, groups=self.groups, around=around)
        self.sections: Sections = sections_of(config.resolvers, self.targets)
        self.tallies = tallies_of(config.resolvers, counters_of(loaded.dialect))
        self.follows = frozenset(wish.server for _, wishes in self.sections for wish in wishes if wish.name)
        self.node = config.global_.node or node
        self.description = config.global_.description
        self.maxconn = config.global_.maxconn
        self.stats_timeout_s = config.global_.stats_timeout_ms / 1000
        self.serving = Wanted(
            tuple(read_fronts(config)) if serve else (), config.global_.stats_sockets, self.stats_timeout_s
        )
        self.why_not: dict[int, str] = {}
        self.notes: list[str] = list(self._note_unchecked())
        self.telling = [
            index
            for index, target in enumerate(self.targets)
            if target.health is not None and target.planned.rules.send_state
        ]
        """Servers whose request tells their state (`http-check send-state`)."""
        self.retells: dict[int, Retell] = {
            index: target.retell for index, target in enumerate(self.targets) if target.retell is not None
        }
        """What those checks tell that name the address of their server, or read facts of servers."""
        self.reads = {index: target.reads for index, target in enumerate(self.targets) if target.reads}

    @cached_property
    def marks(self) -> array[int]:
        """What each check is made of, HEALTH and AGENT of every server in turn; 0 for none."""
        marks = array("Q")
        for index, target in enumerate(self.targets):
            for which, made in ((HEALTH, target.health), (AGENT, target.agent)):
                reach = target.reach if which == HEALTH else None
                follows = index in self.follows and made is not None and self._goes_along(target, which)
                marks.append(0 if made is None else check_mark(*made, reach, follows=follows))
        return marks

    def _goes_along(self, target: Target, which: int) -> bool:
        """Whether a check goes where its server is."""
        planned = target.planned
        own = planned.config.address
        to = planned.check_addr if which == HEALTH else planned.agent_addr
        return own.family is Family.NAME and to is own

    def _note_unchecked(self) -> Iterator[str]:
        """Servers that cannot be checked are named: nothing passes in silence."""
        reasons: Counter[str] = Counter()
        for index, target in enumerate(self.targets):
            why = target.why_not or target.agent_why_not
            if why and not target.planned.proxy.disabled:
                self.why_not[index] = why
                name = f"{target.planned.proxy.name}/{target.planned.config.name}"
                reasons[why] += 1
                if reasons[why] == 1:
                    yield f"{name} is not checked: {why}"
        for why, count in reasons.items():
            if count > 1:
                yield f"{count - 1} more servers are not checked: {why}"

    def forget_targets(self) -> None:
        """The checks are placed: programs and specs have done their work."""
        self.targets = []
        gc.collect()


def refuse_unresolved(targets: Sequence[Target], found: Found) -> None:
    """Raises StartError for names that have no address where `init-addr` wants one, as HAProxy refuses to start."""
    lines = []
    for target in targets:
        address = target.planned.config.address
        if target.waits:
            continue
        known = found.get(key_of(address))
        methods = target.planned.config.settings.init_addr.split(",")
        if isinstance(known, Unresolved) and target.address is None and "none" not in methods:
            server = target.planned.config
            lines.append(f"{server.file}:{server.line}: error: could not resolve address '{address.host}': {known.why}")
    if lines:
        more = [f"... and {len(lines) - 20} more"] if len(lines) > 20 else []
        help = "  help: 'init-addr libc,none' lets a server start without an address, in maintenance"
        raise StartError("\n".join([*lines[:20], *more, help]))


class Groups:
    """The engine's groups, by which checks read the total weight of their proxy. A proxy keeps its group."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._known: dict[ProxyKey, int] = {}

    def plan(self, proxies: Sequence[ProxyKey]) -> list[int]:
        """The group of each proxy, should these be the proxies. Raises: StartError."""
        known = {key: self._known[key] for key in proxies if key in self._known}
        taken = set(known.values())
        free = (number for number in range(self._room) if number not in taken)
        for key in proxies:
            if key not in known:
                group = next(free, None)
                if group is None:
                    raise StartError(f"{len(proxies)} proxies are more than this run has room for: restart risefall")
                known[key] = group
        return [known[key] for key in proxies]

    def take(self, proxies: Sequence[ProxyKey], planned: Sequence[int]) -> None:
        """These are the proxies now; the groups of others are free again."""
        self._known = dict(zip(proxies, planned, strict=True))


def checks_of(loaded: Loaded) -> int:
    """How many checks a configuration has at most."""
    return sum(one.check + one.agent for one in loaded.planned)


def place_all(crew: Crew, draft: Draft, first_ns: int) -> Placed:
    """Gives all checks of the first configuration to the workers. Before they start.

    first_ns: when the first check is due; those of the draft count from 0.
    """
    placed = Placed(len(crew.workers.engines), len(draft.targets))
    for index, target in enumerate(draft.targets):
        for which in (HEALTH, AGENT):
            if (told := made_of(target, which)) is not None:
                (program, spec), reach = told
                made = program, msgspec.structs.replace(spec, first_ns=spec.first_ns + first_ns)
                mark = draft.marks[index << 1 | which]
                check = begin(crew.workers, placed, crew.outside, index, which, made, reach=reach, mark=mark)
                assert check is not None, "the threads do not run yet: nothing can be full"
    return placed
