"""The documents say what the program says. RISEFALL_WRITE_DOCS=1 writes the generated part anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from risefall.cli.ctl import SUBCOMMANDS as ctl_commands
from risefall.cli.main import COMMANDS, group

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "cli.md"
MARK = "<!-- generated: RISEFALL_WRITE_DOCS=1 pytest tests/cli/test_docs.py -->\n"


def generated() -> str:
    """The help of every command, 100 columns wide."""
    parts = []
    inner = [["ctl", each.name or ""] for each in ctl_commands]
    for words in ([], *([name] for name in COMMANDS), *inner):
        result = CliRunner().invoke(group, [*words, "--help"], prog_name="risefall", terminal_width=100)
        assert result.exit_code == 0
        parts.append(f"\n### {' '.join(['risefall', *words])}\n\n```\n{result.output.rstrip()}\n```\n")
    return "".join(parts)


def test_docs_hold_the_help_of_every_command() -> None:
    head, mark, tail = DOCS.read_text().partition(MARK)
    assert mark, "docs/cli.md lost its mark"
    if os.environ.get("RISEFALL_WRITE_DOCS"):
        DOCS.write_text(head + mark + generated())
        return
    assert tail == generated(), "RISEFALL_WRITE_DOCS=1 pytest tests/cli/test_docs.py"


def test_completion_line_works() -> None:
    environment = {**os.environ, "_RISEFALL_COMPLETE": "bash_source"}
    done = subprocess.run(
        [Path(sys.executable).parent / "risefall"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "_RISEFALL_COMPLETE=bash_complete" in done.stdout


def test_readme_shows_real_output() -> None:
    """The console block of the README is what the command prints, as far as it shows it."""
    block = re.search(r"```console\n\$ risefall (.*)\n((?:.+\n)+)```", (ROOT / "README.md").read_text())
    assert block
    done = subprocess.run(
        [sys.executable, "-m", "risefall", *block[1].split()],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "110"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    for line in block[2].splitlines():
        assert line.rstrip() in printed
