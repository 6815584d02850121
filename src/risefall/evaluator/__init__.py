"""Runs what `vrrp` decides: scripts, files, processes and interfaces of this machine, and the notifications of its instances."""
