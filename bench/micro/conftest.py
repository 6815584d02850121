"""The benches of the hot pieces use the helpers of the tests."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
for folder in (ROOT / "bench", ROOT / "tests", ROOT / "tests" / "surfaces"):
    sys.path.insert(0, str(folder))
