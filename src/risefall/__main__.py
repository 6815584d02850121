"""`python -m risefall`: the same as the command `risefall`."""

from risefall.cli.main import run

run()
