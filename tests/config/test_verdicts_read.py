"""Which configurations are taken and which are refused: as HAProxy 2.6 does (tests/diff/test_verdicts.py asks it)."""

from __future__ import annotations

import pytest

from risefall.config.haproxy import plan, read
from risefall.config.text import Source
from risefall.errors import ConfigError
from verdicts_kit import REFUSED, TAKEN, config, rows


@pytest.mark.parametrize("row", rows(TAKEN))
def test_taken(row: str) -> None:
    plan(read([Source("t.cfg", config(row))], dialect="2.6"))


@pytest.mark.parametrize("row", rows(REFUSED))
def test_refused(row: str) -> None:
    with pytest.raises(ConfigError, match=" error: "):
        read([Source("t.cfg", config(row))], dialect="2.6")
