"""Checks of a machine's own service, for `risefall agent`: what `risefall probe` does, without its words."""

from __future__ import annotations

import click

from risefall.agent.sensing import Engine
from risefall.agent.settings import Check, Settings
from risefall.cli.probe import compile_target
from risefall.cli.probe_run import run_grpc, run_probe
from risefall.cli.probe_targets import GRPC_SCHEMES, HttpWords, Target, Way, parse_target
from risefall.config.haproxy.dialect import DIALECTS
from risefall.engine._native import lib
from risefall.engine.drive import Step
from risefall.engine.native import Program
from risefall.errors import ConfigError, StartError
from risefall.status import Verdict

WAY = Way(verify=False)
"""A machine's own service is reached by 127.0.0.1, which no certificate names."""


def quiet(step: Step) -> None:
    """Nobody follows the steps."""


class Checker:
    """The checks of one agent; programs are compiled once."""

    def __init__(self, settings: Settings) -> None:
        self._programs: dict[str, tuple[Target, Program | None]] = {}
        for name, service in settings.service.items():
            for signal in service.signal:
                if isinstance(signal, Check):
                    self._programs[signal.check] = self._compile(
                        f"service.{name}: signal '{signal.name}'", signal.check
                    )

    @staticmethod
    def _compile(place: str, url: str) -> tuple[Target, Program | None]:
        """Raises ConfigError for what is no target, or cannot be checked by this build."""
        try:
            target = parse_target(url)
            if target.scheme in GRPC_SCHEMES:
                return target, None
            return target, compile_target(target, HttpWords(method="GET"), "", DIALECTS["3"])
        except (click.UsageError, StartError) as error:
            message = error.message if isinstance(error, click.UsageError) else str(error)
            raise ConfigError(f"{place}: error: {message}\n  help: try it with: risefall probe {url}") from error

    async def check(self, signal: Check) -> tuple[bool, str]:
        """One check. Raises RisefallError when it cannot be done."""
        target, program = self._programs[signal.check]
        if program is None:
            health, _ = await run_grpc("", target, WAY, limit_ms=signal.timeout_ms, tell=quiet)
            return health.passed, health.message
        result, _ = await run_probe(
            program, target, WAY, inter_ms=signal.timeout_ms, check_ms=signal.timeout_ms, tell=quiet
        )
        if result.self_blame:
            raise StartError(f"{result.status.name}: a want of this machine, not of the service")
        return result.verdict is not Verdict.FAILED, result.status.name


def count(health: int, rise: int, fall: int, passed: bool) -> int:
    """The engine's counter."""
    return int(lib.rf_counter_next(health, rise, fall, int(Verdict.PASSED if passed else Verdict.FAILED)))


def make_engine(settings: Settings) -> Engine:
    """What the agent needs of the engine. Raises ConfigError for checks that mean nothing."""
    return Engine(Checker(settings).check, count)
