"""How the TLS part is compiled: an extension of its own, so that a machine without libssl still loads the engine.

Run by setuptools (`cffi_modules` in setup.py), never imported by the program. Without OpenSSL's headers setup.py leaves it
out and says so; a configuration whose checks need TLS is then told that it is not checked, and why.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parents[3]
NATIVE = ROOT / "native"
MARKED = re.compile(r"/\* cffi: begin[^\n]*\n(.*?)/\* cffi: end \*/", re.DOTALL)
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow"]


def build() -> FFI:
    """The extension, not yet compiled. RISEFALL_SANITIZE=1 builds it for ASan and UBSan."""
    sanitize = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g"]
    extra = sanitize if os.environ.get("RISEFALL_SANITIZE") else []
    ffi = FFI()
    ffi.cdef("\n".join(MARKED.findall((NATIVE / "tls" / "tls.h").read_text())))
    ffi.set_source(
        "risefall.engine._tls",
        '#include "tls/tls.h"',
        sources=[os.path.relpath(path, ROOT) for path in sorted((NATIVE / "tls").glob("*.c"))],
        include_dirs=[os.path.relpath(NATIVE, ROOT)],
        depends=[os.path.relpath(path, ROOT) for path in (NATIVE / "tls").glob("*.h")],
        libraries=["ssl", "crypto"],
        define_macros=[("_GNU_SOURCE", None)],
        extra_compile_args=["-std=c11", "-O2", *WARNINGS, *extra],
        extra_link_args=extra,
        py_limited_api=True,
    )
    return ffi


ffi = build()
