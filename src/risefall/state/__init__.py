"""What a server is, as tables. Decides only: no trio, no socket, no clock, no compiled module."""
