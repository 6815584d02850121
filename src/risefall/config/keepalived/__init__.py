"""keepalived.conf: text to frozen structs (`read`)."""

from risefall.config.keepalived.reader import read

__all__ = ["read"]
