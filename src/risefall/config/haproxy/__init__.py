"""haproxy.cfg: text to frozen structs (`read`), and what would be checked (`plan`)."""

from risefall.config.haproxy.plan import PlannedServer, plan
from risefall.config.haproxy.reader import read
from risefall.config.text import sources

__all__ = ["PlannedServer", "plan", "read", "sources"]
