"""Every rule that refuses a configuration: one file each, beside the exact message it must give.

RISEFALL_WRITE_MESSAGES=1 writes the messages anew; read them before you commit them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from risefall.config.haproxy import read
from risefall.config.text import Source
from risefall.errors import ConfigError

FOLDER = Path(__file__).parents[1] / "data" / "bad"
FILES = sorted(FOLDER.glob("*.cfg"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_message(path: Path) -> None:
    text = path.read_text()
    asked = re.match(r"# as: (\S+)\n", text)
    with pytest.raises(ConfigError) as raised:
        read([Source(path.name, text)], dialect=asked[1] if asked else "3")
    message = f"{raised.value}\n"
    beside = path.with_suffix(".txt")
    if os.environ.get("RISEFALL_WRITE_MESSAGES"):
        beside.write_text(message)
    assert message == beside.read_text()
    assert "  help: " in message, "an error without a next step"


def test_every_message_has_its_file() -> None:
    assert {path.stem for path in FILES} == {path.stem for path in FOLDER.glob("*.txt")}
