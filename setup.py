"""Only the native parts; everything else stands in pyproject.toml."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Distribution, setup  # isort: skip, since it brings its own distutils
from setuptools.command.install_scripts import install_scripts  # isort: skip
from distutils.command.build_scripts import build_scripts  # isort: skip

NATIVE = Path("native")


def has_openssl() -> bool:
    """Whether the compiler finds OpenSSL's headers."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.c"
        probe.write_text("#include <openssl/ssl.h>\nint main(void) { return 0; }\n")
        command = [*os.environ.get("CC", "cc").split(), "-fsyntax-only", str(probe)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


class BuildTrack(build_scripts):
    """Compiles risefall-track straight into the folder of scripts.

    An ELF named in `scripts=` is refused there, and objects beside it break an editable install: so no objects at all.
    """

    def initialize_options(self) -> None:
        super().initialize_options()
        self.scripts = []

    def finalize_options(self) -> None:
        super().finalize_options()
        self.scripts = self.scripts or []

    def run(self) -> None:
        self.mkpath(self.build_dir)
        build_track(Path(self.build_dir) / "risefall-track", self.distribution.get_version())

    def get_source_files(self) -> list[str]:
        return [str(path) for path in (*sorted(NATIVE.glob("track*.c")), NATIVE / "track.h")]


class InstallTrack(install_scripts):  # type: ignore[misc]
    """Takes what was built into the wheel: setuptools looks there only where scripts are named."""

    def run(self) -> None:
        super().run()
        self.outfiles += self.copy_tree(self.build_dir, self.install_dir)


def build_track(out: Path, version: str) -> None:
    """risefall-track: static where there is a libc.a, which saves it the loader, a fifth of its price."""
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-D_GNU_SOURCE"]
    sources = map(str, sorted(NATIVE.glob("track*.c")))
    command = [*os.environ.get("CC", "cc").split(), *flags, f'-DRISEFALL_VERSION="{version}"', *sources, "-s"]
    if subprocess.run([*command, "-static", "-o", str(out)], capture_output=True, check=False).returncode:
        print("risefall: no static libc: risefall-track is linked dynamically", file=sys.stderr)
        subprocess.run([*command, "-o", str(out)], check=True)


class WithTrack(Distribution):  # type: ignore[misc]
    """Scripts are built although none is named."""

    def has_scripts(self) -> bool:
        return True


modules = ["src/risefall/engine/build_native.py:ffi"]
if has_openssl():
    modules.append("src/risefall/engine/build_tls.py:ffi")
else:
    print("risefall: no openssl/ssl.h (libssl-dev): building without TLS", file=sys.stderr)

setup(
    cffi_modules=modules, distclass=WithTrack, cmdclass={"build_scripts": BuildTrack, "install_scripts": InstallTrack}
)
