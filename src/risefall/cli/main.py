"""The command `risefall`: one module a subcommand, imported only when it is called; exit codes of docs/cli.md."""

from __future__ import annotations

import importlib
import os
import sys

import click

from risefall.errors import ConfigError, RisefallError

COMMANDS = {
    "plan": "what would be checked: every server with its address, check and pace",
    "check": "checks every server once, prints a table",
    "run": "the daemon: checks for ever, logs, serves its surfaces",
    "ctl": "commands to a running risefall or HAProxy: drain, maint, ready, weight, show, wait ...",
    "probe": "one check of one target, each step told",
    "agent": "answers HAProxy's agent-check on a backend, from its load and its state",
    "vrrp": "evaluates a keepalived.conf: scripts, states, priorities, what would follow if one failed",
    "bench": "runs a check configuration against backends it plays and breaks, and measures it",
    "simulate": "the checks of a configuration in virtual time: detection, false alarms, load",
    "demo": "plays backends on loopback and checks them; needs nothing",
}
EXIT_USAGE = 2
EXIT_COULD_NOT = 3
EXIT_INTERRUPTED = 130


class ClosedPipe(Exception):
    """Nobody reads stdout any more. Under a name of its own, because click makes exit code 1 of EPIPE."""


class Lazy(click.Group):
    """A group whose commands are imported when they are wanted."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ClosedPipe from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"risefall.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def show_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    from risefall.engine.native import has_regex
    from risefall.engine.tls import available as has_tls

    regex = "PCRE2" if has_regex() else "no regular expressions: built without libpcre2-dev"
    tls = "TLS" if has_tls() else "TLS by Python: built without libssl-dev"
    click.echo(f"risefall {version('risefall')} ({regex}, {tls})")
    ctx.exit()


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="show a traceback with an error")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=show_version, help="show the version"
)
def group(debug: bool) -> None:
    """Health checks and agent checks exactly as HAProxy does them, without the proxy.

    \b
    Example:
      risefall check -f /etc/haproxy/haproxy.cfg
    """


def run() -> None:
    """Entry point. Ends the process with one of the exit codes; a traceback only with --debug."""
    debug = "--debug" in sys.argv[1:3]
    try:
        code = group.main(standalone_mode=False)
    except click.exceptions.Abort:
        code = EXIT_INTERRUPTED
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = EXIT_USAGE
    except ClosedPipe:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer has nowhere to go
        code = 0
    except Exception as error:
        if debug:
            raise
        if isinstance(error, RisefallError):
            click.echo(str(error), err=True)
        else:
            click.echo(f"risefall: unexpected error: {error!r} (--debug shows where)", err=True)
        code = EXIT_USAGE if isinstance(error, ConfigError) else EXIT_COULD_NOT
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)
