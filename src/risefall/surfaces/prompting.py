"""How a session goes on behind a reply: whether there is a prompt, and whether more lines are awaited.

2.6 has one switch for both. HAProxy 3 knows three modes, one line and no more (n), line after line without a prompt (i) or
with one (p), and a prompt that tells the time since the start (`timed`).
Source: src/cli.c of HAProxy 3.4; spec/haproxy-checks.md §7.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from risefall.surfaces.calls import Reply, Severity, refuse

PROMPT, PAYLOAD_PROMPT = b"> ", b"+ "
MODES = {"n": (False, False), "i": (True, False), "p": (True, True)}
"""Whether it goes on, whether there is a prompt."""

USAGE = """\
Usage: prompt [help | n | i | p | timed]*
Sets how this session goes on behind a reply:
  help    this text
  n       one line of commands, then it ends (no prompt)
  i       line after line, without a prompt
  p       line after line, with a prompt
  timed   switches the time since the start in the prompt on and off
Alone it switches from n or i to p, and from p to n.
"""


class Prompt:
    """The mode of one session. newer: as HAProxy 3 has it."""

    def __init__(self, *, newer: bool) -> None:
        self.goes_on = self.shown = False
        self._newer = newer
        self._timed = False

    def change(self, words: Sequence[str]) -> Reply:
        """`prompt` with these words behind it; 2.6 looks at none."""
        mode = None
        timed = False
        for word in words if self._newer else ():
            if word == "timed":
                timed = True
            elif word in MODES:
                mode = word
            elif word == "help":
                return Reply(USAGE, Severity.INFO)
            else:
                return refuse(USAGE.removesuffix("\n"))
        if timed:
            self._timed = not self._timed
            mode = mode or "p"
        self.goes_on, self.shown = MODES[mode or ("n" if self.goes_on and self.shown else "p")]
        return Reply()

    def behind(self, uptime_s: Callable[[], int], *, last: bool) -> bytes:
        """What follows a reply. last: it is that of a line's last command; the others have a prompt in 2.6 alone."""
        if not self.shown or (self._newer and not last):
            return b"\n"
        if not self._timed:
            return b"\n" + PROMPT
        minutes, seconds = divmod(uptime_s(), 60)
        hours, minutes = divmod(minutes, 60)
        return b"\n[%d:%02d:%02d:%02d]" % (hours // 24, hours % 24, minutes, seconds) + PROMPT
