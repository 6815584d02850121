"""Only the native part; everything else stands in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["src/risefall/engine/build_native.py:ffi"])
