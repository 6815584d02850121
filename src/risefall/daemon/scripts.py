"""`risefall run --scripts`: the vrrp_scripts of a file, each run once for all who want to know.

The scripts are run as keepalived runs them (`evaluator/runner.py`), but never twice at once: a run that is not over is waited for, as
keepalived does since 2.3.3. What they say goes to publishers, at the first result, at every turn, and once more whenever a run
counted, so that a publisher knows how old its word is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from risefall.config.keepalived import read
from risefall.config.keepalived.files import unfit
from risefall.config.keepalived.model import Config, Script
from risefall.config.text import read_file
from risefall.engine.spawning import CHILDREN_MAX, Children
from risefall.errors import ConfigError, StartError
from risefall.evaluator.asking import refuse_rings
from risefall.evaluator.commands import Dropped, inherited, prepared
from risefall.evaluator.runner import Job, Runner
from risefall.evaluator.split import first_ones
from risefall.vrrp.scripts import Init, ScriptSettings
from risefall.vrrp.settings import Imitated


class Publisher(Protocol):
    """Who tells others what a script has found. Called in the daemon's loop: it must not wait."""

    def publish_script(self, name: str, good: bool, weight: int, reason: str) -> None:
        """Called when a run of this script has counted: after its first run and after each further one.

        Args:
            name: of the vrrp_script.
            good: whether it is up now, by its rise and fall.
            weight: of its definition, negative or not, 0 where it drives FAULT.
            reason: how the last run ended, in one line: `exit 1`, `timed out`.
        """

    def forget_script(self, name: str) -> None:
        """Nothing is known of it any more: the daemon ends, or a reload has removed it."""


class TrackFiles:
    """A file a script in one folder, for keepalived's track_file: 0 while the script is good, 1 while it is not.

    So `weight -20` takes 20 from a node whose script is down, and `weight 0` puts it into FAULT. Each is written under
    another name and renamed: keepalived sees it whole. One that cannot be written is told, and tried again with the next result.
    """

    def __init__(self, folder: str, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        self._written: dict[str, str] = {}

    def publish_script(self, name: str, good: bool, weight: int, reason: str) -> None:
        value = "0\n" if good else "1\n"
        if self._written.get(name) == value:
            return
        path = os.path.join(self._folder, name)
        try:
            with open(f"{path}.new", "w", encoding="ascii") as file:
                file.write(value)
            os.rename(f"{path}.new", path)
        except OSError as error:
            self._say(f"track file {path} cannot be written: {error.strerror}")
            return
        self._written[name] = value

    def forget_script(self, name: str) -> None:
        """The file stays as it is: keepalived takes one that is gone for a good one."""


def read_scripts(path: str, hear: Callable[[str], None]) -> Config:
    """A file in the syntax of keepalived.conf, of which the vrrp_scripts count. Raises: ConfigError."""
    problem = unfit(path)
    source = read_file(path)
    if problem:
        raise ConfigError(f"{path}: error: {problem[0]}\n  help: {problem[1]}")
    config = read(source)
    for warning in config.warnings:
        if "is not used" not in warning:
            hear(warning)
    if not config.scripts:
        raise ConfigError(
            f"{path}: error: there is no vrrp_script\n  help: `risefall vrrp --split keepalived.conf` writes such a file"
        )
    for one in config.scripts:
        if "/" in one.name or one.name.startswith("."):
            raise ConfigError(
                f"{path}:{one.place.line}: error: '{one.name}' is no name for a file\n  help: name it by letters"
            )
    refuse_rings(config)
    return config


class Scripts:
    """All scripts of one file, or of what it says after a reload. `run` for ever."""

    def __init__(
        self,
        config: Config,
        publishers: Iterable[Publisher],
        say: Callable[[str], None],
        *,
        env: Mapping[str, str] | None = None,
        most: int = CHILDREN_MAX,
    ) -> None:
        """say: keepalived's lines about the scripts. most: runs at once. Raises: StartError when one of them may not run."""
        self._publishers: Sequence[Publisher] = tuple(publishers)
        self._say = say
        self._most = most
        self._env = inherited() if env is None else dict(env)
        self._jobs: dict[str, Job] = {}
        self.runner: Runner | None = None
        """While it runs."""
        self.configs: dict[str, Script] = {}
        """The scripts by name."""
        self.reload(config)

    def reload(self, config: Config) -> str:
        """Runs what another file says; returns what came of it. Raises: StartError; then nothing has changed.

        A script of which nothing has changed goes on, a run under way included. One with another pace begins anew with its old
        result, one with another command or user without any: its first result acts at once, and till then its last word stands.
        """
        scripts = {one.name: one for one in first_ones(config)}
        jobs = {name: self._job(one, config) for name, one in scripts.items()}
        gone = [name for name in self._jobs if name not in jobs]
        same = sum(self._jobs.get(name) is job for name, job in jobs.items())
        new = sum(name not in self._jobs for name in jobs)
        self.configs, self._jobs = scripts, jobs
        if self.runner is not None:
            self.runner.follow(jobs.values())
        for publisher in self._publishers:
            for name in gone:
                publisher.forget_script(name)
        return f"{same} scripts as before, {len(jobs) - same - new} changed, {new} new, {len(gone)} gone"

    def _job(self, script: Script, config: Config) -> Job:
        made = prepared(script.command, config.global_, self._env)
        for line in made.said:
            self._say(f"vrrp_script {script.name}: {line}")
        if isinstance(made, Dropped):
            # keepalived would leave it out, and whoever tracks it would never fail.
            raise StartError(f"vrrp_script {script.name} cannot run: {made.said[-1]}")
        settings = ScriptSettings(
            name=script.name,
            interval_us=script.interval_ms * 1000,
            timeout_us=(script.timeout_ms or 0) * 1000,
            rise=script.rise,
            fall=script.fall,
            imitated=Imitated.HEAD,
        )
        umask = config.global_.umask
        job = Job(settings, made.program(self._env, umask), made, umask)
        old = self._jobs.get(script.name)
        if old is None:
            return job
        if (old.ready, old.umask) != (made, umask):
            job.script.carry(None)
        elif old.script.settings == settings:
            return old
        else:
            job.script.carry(old.script if old.script.init is Init.DONE else None)
        return job

    async def run(self) -> None:
        """Until cancelled; no program outlives it."""
        with Children(self._most) as children:
            self.runner = Runner(self._jobs.values(), children, self)
            try:
                await self.runner.run()
            finally:
                self.runner = None
                for publisher in self._publishers:
                    for name in self._jobs:
                        publisher.forget_script(name)

    def jobs(self) -> Iterable[Job]:
        """Each script as it stands."""
        return self._jobs.values()

    # --- what the runner tells --------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """A line that keepalived logs."""
        self._say(text)

    def turned(self, name: str, up: bool) -> None:
        """Told by `ran`, which follows."""

    def ran(self, name: str) -> None:
        """A run has counted."""
        job, script = self._jobs[name], self.configs[name]
        if job.script.init is not Init.DONE:
            return
        for publisher in self._publishers:
            publisher.publish_script(name, job.script.good, script.weight, job.last)
