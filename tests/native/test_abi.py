"""The compiled module and the Python around it mean the same."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from risefall.engine import native
from risefall.engine._native import ffi, lib
from risefall.state.exchange import AdminWord, WeightKind
from risefall.status import Status, Verdict

STRUCTS = ("rf_span", "rf_op", "rf_format", "rf_transport_spec", "rf_spawn_order", "rf_rule", "rf_address", "rf_check", "rf_want", "rf_result", "rf_options", "rf_order",
           "rf_event", "rf_record", "rf_histogram", "rf_statistics", "rf_play_act", "rf_play_tally", "rf_sim_latency", "rf_sim_stretch", "rf_sim_class", "rf_sim_check",
           "rf_sim_event", "rf_sim_wire", "rf_sim_tally", "rf_sim_options")  # fmt: skip


def test_the_abi_number() -> None:
    assert lib.rf_abi() == lib.RF_ABI == native.ABI


@pytest.mark.parametrize("name", STRUCTS)
def test_layouts(name: str) -> None:
    """cffi compares a layout with the compiler's only at first use: use each."""
    assert ffi.new(f"{name} *") != ffi.NULL
    assert ffi.sizeof(name) > 0


def test_every_part_of_the_api_is_in_its_header() -> None:
    """cffi and C know of a part what risefall.h includes."""
    native_folder = Path(__file__).resolve().parents[2] / "native"
    included = re.findall(r'#include "api/([^"]+)"', (native_folder / "risefall.h").read_text())
    assert sorted(included) == sorted(path.name for path in (native_folder / "api").glob("*.h"))


def test_enums_are_the_same_numbers() -> None:
    for status in Status:
        assert getattr(lib, f"RF_{status.name}") == status
    for verdict in Verdict:
        assert getattr(lib, f"RF_{verdict.name}") == verdict
    assert [getattr(lib, f"RF_ADMIN_{word.name}") for word in AdminWord] == list(AdminWord)
    assert [getattr(lib, f"RF_WEIGHT_{kind.name}") for kind in WeightKind] == list(WeightKind)


def test_histogram_edges_grow() -> None:
    edges = [lib.rf_bucket_us(bucket) for bucket in range(lib.RF_HISTOGRAM_BUCKETS)]
    assert edges == sorted(set(edges))
    assert all(b <= a * 1.15 + 1 for a, b in itertools.pairwise(edges))


@pytest.mark.parametrize("room", ["config", "state", "status", "vrrp"])
def test_what_decides_imports_no_io(room: str) -> None:
    """`config`, `state` and `vrrp` work without trio, sockets and the compiled module."""
    script = (
        f"import importlib, pkgutil, sys, risefall.{room} as room\n"
        "for module in pkgutil.walk_packages(getattr(room, '__path__', []), room.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "bad = {'trio', 'socket', 'risefall.engine._native'} & set(sys.modules)\n"
        "sys.exit(f'imported: {bad}' if bad else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
