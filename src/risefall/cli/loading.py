"""Reading a configuration for a command: warnings to stderr, errors as one ConfigError."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence

import click

from risefall.config.haproxy import plan, read, sources
from risefall.config.haproxy.dialect import DIALECTS
from risefall.config.haproxy.plan import Loaded
from risefall.config.text import Source


def load_text(name: str, text: str, environment: Mapping[str, str], dialect: str = "3") -> Loaded:
    """Reads and plans a configuration that is no file."""
    config = read([Source(name, text)], dialect=dialect, env=environment, hostname=socket.gethostname())
    return Loaded(config, plan(config), DIALECTS[dialect])


def load(files: Sequence[str], dialect: str, strict: bool, *, quiet: bool = False) -> Loaded:
    """Reads and plans. Raises ConfigError with every error of the run."""
    config = read(
        sources(files, sys.stdin), dialect=dialect, strict=strict, env=dict(os.environ), hostname=socket.gethostname()
    )
    if not quiet:
        for warning in config.warnings:
            click.echo(warning, err=True)
    return Loaded(config, plan(config), DIALECTS[dialect])
