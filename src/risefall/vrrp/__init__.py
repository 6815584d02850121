"""The VRRP election of keepalived as values in and values out: packets, scripts, priorities, states, sync groups.

Nothing here imports trio, a socket or a clock: times are integer microseconds that the caller hands in.
Source: spec/keepalived-track.md §1-§6. The order to read in: settings, packets, acceptance, election, groups, network.
"""
