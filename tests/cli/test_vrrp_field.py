"""`risefall vrrp` over the configurations of the field: text for people and objects for programs, nothing of theirs is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from risefall.cli.main import group
from risefall.config.keepalived.model import Command
from risefall.engine.spawning import Child, Program
from risefall.errors import ConfigError
from risefall.evaluator.commands import Ready, Who

CORPUS = sorted((Path(__file__).parents[3] / "shared" / "corpus" / "keepalived").glob("*"))
NOT_STARTED = ("ngyuki-sandbox-example-haproxy", "linzeyan-k8s_cluster")


class Played:
    """Programs that end at once, each second one with 1."""

    room = True

    def __init__(self, most: int = 0) -> None:
        self.started: list[Child] = []
        self._left: list[Child] = []

    def __enter__(self) -> Played:
        return self

    def __exit__(self, *_: object) -> None: ...

    def start(self, program: Program, *, group: bool = True) -> Child:
        child = Child(1000 + len(self.started), -1, 0, alone=False)
        self.started.append(child)
        self._left.append(child)
        return child

    def signal(self, child: Child, number: int) -> bool:
        return False

    def ended(self) -> list[tuple[Child, int]]:
        left, self._left = self._left, []
        return [(child, child.pid % 2) for child in left]

    async def wait(self) -> None:
        await (trio.lowlevel.checkpoint() if self._left else trio.sleep_forever())


class Links:
    """Every interface is here, and up."""

    def exists(self, name: str) -> bool:
        return True

    def up(self, name: str) -> bool:
        return True

    def address(self, name: str, family: int) -> str | None:
        return "192.0.2.7" if family == 4 else "fe80::7"

    async def changed(self) -> None:
        await trio.sleep_forever()

    def close(self) -> None: ...


def ready(command: Command, *_: object) -> Ready:
    return Ready("/bin/false", command.argv, Who())


@pytest.mark.skipif(not CORPUS, reason="the configurations of the field are not beside this checkout")
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_every_configuration_of_the_field(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--check-config, --plan and --once at 80 columns, and as objects."""
    monkeypatch.setattr("risefall.evaluator.service.Children", Played)
    monkeypatch.setattr("risefall.evaluator.service.prepared", ready)
    monkeypatch.setattr("risefall.evaluator.watched.Links", Links)
    for words in (["--check-config"], ["--plan"], ["--once"]):
        for as_json in ([], ["--json"]) if words != ["--check-config"] else ([],):
            result = CliRunner().invoke(group, ["vrrp", "-f", str(path), *words, *as_json], env={"COLUMNS": "80"})
            if path.name.startswith(NOT_STARTED):
                assert isinstance(result.exception, ConfigError)
                continue
            assert result.exit_code in (0, 1), result.output
            lines = result.stdout.splitlines()
            assert lines, "not a word"
            if as_json:
                assert all(json.loads(line)["kind"] for line in lines)
            elif words != ["--check-config"]:  # its line begins with the path, whatever its length
                assert max(map(len, lines)) <= 80
