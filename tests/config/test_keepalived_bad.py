"""Every rule of keepalived.conf that something is said about: one file each, beside the exact messages it must give.

RISEFALL_WRITE_MESSAGES=1 writes the messages anew; read them before you commit them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from risefall.config.keepalived import read
from risefall.config.text import Source
from risefall.errors import ConfigError

FOLDER = Path(__file__).parents[1] / "data" / "bad-keepalived"
FILES = sorted(FOLDER.glob("*.conf"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_messages(path: Path) -> None:
    said: list[str] = []
    try:
        read(Source(path.name, path.read_text()), config_id="me", hear=said.append)
    except ConfigError as error:
        said.append(str(error))
    message = "\n".join(said) + "\n"
    beside = path.with_suffix(".txt")
    if os.environ.get("RISEFALL_WRITE_MESSAGES"):
        beside.write_text(message)
    assert message == beside.read_text()
    assert said
    assert message.count("  help: ") == message.count(": warning: ") + message.count(": error: "), "no next step"


def test_every_message_has_its_file() -> None:
    assert {path.stem for path in FILES} == {path.stem for path in FOLDER.glob("*.txt")}
