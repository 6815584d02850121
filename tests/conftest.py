"""What every test may use: where the helpers lie, and skips that CI counts as failures."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

LISTED = (
    "the configurations of the field are not beside this checkout",
    "network namespaces cannot be made here",
)
"""Skips that CI takes: what cannot be there."""
settings.register_profile(
    "unhurried", parent=settings(), deadline=None
)  # how long an example takes is the machine's matter
settings.load_profile("unhurried")
os.environ["RISEFALL_STATE_DIR"] = "none"  # a run that a test starts keeps nothing, unless the test says where
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs ignore it, what they start inherits that, and no Ctrl-C of a test would arrive.
    signal.signal(signal.SIGINT, signal.default_int_handler)
NO_SKIP = bool(os.environ.get("RISEFALL_NO_SKIP"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """With RISEFALL_NO_SKIP=1 (as in CI) a skip is a failure: nothing is left out unseen."""
    outcome = yield
    report = outcome.get_result()
    listed = any(reason in str(report.longrepr) for reason in LISTED)
    if NO_SKIP and report.skipped and not listed and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped although nothing may be: {report.longrepr}"


@pytest.fixture
def free_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
