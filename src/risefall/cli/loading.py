"""Reading a configuration for a command: warnings to stderr, errors as one ConfigError."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence

import click
import msgspec

from risefall.config.haproxy import plan, read, sources
from risefall.config.haproxy.dialect import DIALECTS, Dialect
from risefall.config.haproxy.model import Address, Config
from risefall.config.haproxy.plan import PlannedServer
from risefall.config.text import Source


class Loaded(msgspec.Struct):
    """A configuration, its plan, and whom it imitates."""

    config: Config
    planned: list[PlannedServer]
    dialect: Dialect

    def addresses(self) -> Iterator[Address]:
        """Every address that may have to be resolved."""
        for server in self.planned:
            yield server.config.address
            for address in (server.check_addr, server.agent_addr):
                if address is not None:
                    yield address


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
