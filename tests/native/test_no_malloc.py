"""Nothing allocates on the path of a check: malloc is wrapped while three thousand run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_path_of_a_check_allocates_nothing(tmp_path: Path) -> None:
    sources = [path for path in (ROOT / "native").glob("*.c") if not path.name.startswith(("track", "play"))]
    binary = tmp_path / "no_malloc"
    wraps = [f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc")]
    command = ["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", f"-I{ROOT}/native", str(ROOT / "tests/native/no_malloc.c")]
    subprocess.run(
        [*command, *map(str, sources), *wraps, "-lpthread", "-lm", "-o", str(binary)], check=True, timeout=120
    )
    done = subprocess.run([binary], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" 0 allocations\n")
