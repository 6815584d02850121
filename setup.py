"""Only the native parts; everything else stands in pyproject.toml."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import setup


def has_openssl() -> bool:
    """Whether the compiler finds OpenSSL's headers."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.c"
        probe.write_text("#include <openssl/ssl.h>\nint main(void) { return 0; }\n")
        command = [*os.environ.get("CC", "cc").split(), "-fsyntax-only", str(probe)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


modules = ["src/risefall/engine/build_native.py:ffi"]
if has_openssl():
    modules.append("src/risefall/engine/build_tls.py:ffi")
else:
    print("risefall: no openssl/ssl.h (libssl-dev): building without TLS", file=sys.stderr)

setup(cffi_modules=modules)
