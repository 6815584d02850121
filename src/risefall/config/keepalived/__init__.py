"""keepalived.conf: text to frozen structs (`read`)."""
