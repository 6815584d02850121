"""What the stories of regression tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from story_kit import Story


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """One story, its servers closed at the end."""
    told = Story(tmp_path)
    yield told
    told.close()
