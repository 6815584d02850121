"""Every error that an operator can act on, on one screen."""

from __future__ import annotations


class RisefallError(Exception):
    """Base of everything an operator can act on; the CLI prints it without a traceback."""


class ConfigError(RisefallError):
    """Files say what cannot be done.

    The message holds every error of the run, rendered: file, line, column, caret, next step.
    """


class NativeError(RisefallError):
    """The C loop refused. Carries the call and the errno name, such as EMFILE."""

    def __init__(self, call: str, errno_name: str, detail: str = "") -> None:
        super().__init__(f"{call}: {errno_name}" + (f" ({detail})" if detail else ""))
        self.call = call
        self.errno_name = errno_name


class StartError(RisefallError):
    """Something outside the configuration stops risefall from running, such as a socket in use."""


class PeerLost(RisefallError):
    """A runtime socket cannot be reached, or gave no whole answer in time. Carries the socket and a next step."""
