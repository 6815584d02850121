"""How the C part is compiled: one extension in cffi's API mode, its declarations taken from native/risefall.h and its parts.

Run by setuptools (`cffi_modules` in setup.py), never imported by the program. A missing PCRE2 header is told and the
build goes on without regular expressions: `rf_features()` then says so, and a configuration that needs them is refused.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parents[3]
NATIVE = ROOT / "native"
PART = re.compile(r'#include "(api/[^"]+)"')
MARKED = re.compile(r"/\* cffi: begin[^\n]*\n(.*?)/\* cffi: end \*/", re.DOTALL)
HEADERS = ("risefall.h", "answer.h", "facts.h")
NOT_IN_MODULE = "track"  # a program of its own
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow"]


def declarations() -> str:
    """What of the public headers cffi is to know, in their order; those of risefall.h are its parts."""
    parts = PART.findall((NATIVE / "risefall.h").read_text())
    return "\n".join(part for name in (*parts, *HEADERS) for part in MARKED.findall((NATIVE / name).read_text()))


def has_header(header: str) -> bool:
    """Whether the compiler finds a header."""
    compiler = os.environ.get("CC", "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.c"
        probe.write_text(f"#define PCRE2_CODE_UNIT_WIDTH 8\n#include <{header}>\nint main(void) {{ return 0; }}\n")
        command = [*compiler, "-fsyntax-only", str(probe)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def build() -> FFI:
    """The extension, not yet compiled. RISEFALL_SANITIZE=1 builds it for ASan and UBSan."""
    macros: list[tuple[str, str | None]] = [("_GNU_SOURCE", None)]
    libraries = ["pthread"]
    if has_header("pcre2.h"):
        macros.append(("RF_HAVE_PCRE2", None))
        libraries.append("pcre2-8")
    else:
        print("risefall: no pcre2.h (libpcre2-dev): building without regular expressions", file=sys.stderr)
    flags = ["-std=c11", "-O2", *WARNINGS]
    link: list[str] = []
    if os.environ.get("RISEFALL_SANITIZE"):
        sanitize = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g"]
        flags += sanitize
        link += sanitize
    ffi = FFI()
    ffi.cdef(declarations())
    sources = sorted(path for path in NATIVE.glob("*.c") if not path.name.startswith(NOT_IN_MODULE))
    ffi.set_source(
        "risefall.engine._native",
        "".join(f'#include "{name}"\n' for name in HEADERS),
        sources=[os.path.relpath(path, ROOT) for path in sources],
        include_dirs=[os.path.relpath(NATIVE, ROOT)],
        depends=[os.path.relpath(path, ROOT) for path in NATIVE.rglob("*.h")],
        libraries=libraries,
        define_macros=macros,
        extra_compile_args=flags,
        extra_link_args=link,
        py_limited_api=True,
    )
    return ffi


ffi = build()
