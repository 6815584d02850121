"""Options that several commands share, in the words of the configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from risefall.config.haproxy.dialect import DIALECTS
from risefall.config.haproxy.units import time_ms

Function = Callable[..., Any]


def as_option(function: Function) -> Function:
    """`--as 2.6|3`, passed as `dialect`."""
    return click.option(
        "--as",
        "dialect",
        type=click.Choice(list(DIALECTS)),
        default="3",
        show_default=True,
        help="which HAProxy is imitated",
    )(function)


def config_options(function: Function, *, required: bool = True) -> Function:
    """`-f FILE` (repeated, a folder, or `-`), `--as`, `--strict`; passes files, dialect and strict."""
    function = click.option("--strict", is_flag=True, help="warnings of the configuration are errors")(function)
    function = as_option(function)
    return click.option(
        "-f",
        "files",
        metavar="FILE",
        multiple=True,
        required=required,
        help="haproxy.cfg, a folder of *.cfg, or - ; may repeat",
    )(function)


def json_option(function: Function) -> Function:
    """`--json`, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="one object a line")(function)


def duration_s(text: str) -> float:
    """Seconds of a time such as `20s`, `500ms`; a bare number means seconds here. Raises click.BadParameter."""
    try:
        ms, rest = time_ms(text, default_unit="s")
    except (ValueError, OverflowError):
        ms, rest = 0, text
    if rest or ms <= 0:
        raise click.BadParameter(f"'{text}' is no time; write 20s, 500ms or 5m")
    return ms / 1000
