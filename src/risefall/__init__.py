"""Health checks and agent checks as HAProxy and keepalived do them."""
