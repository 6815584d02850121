"""keepalived's own checkers: the real servers of `virtual_server` blocks, checked as its healthcheck process does.

`plan.py` says what is checked. `pace.py` (one checker) and `pool.py` (a virtual server) decide, without I/O or clock;
`reply.py` reads what servers answer. `attempts.py` and `running.py` act, and `service.py` joins it all. IPVS is never touched.
"""
