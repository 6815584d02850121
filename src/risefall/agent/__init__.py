"""The agent-check responder of a backend: signals -> rules -> one line of words.

What decides is apart from what acts. `settings`, `rules`, `words`, `leases`, `explain`, `replay` and `procfs` read no
clock and open nothing but the files they are told to keep: times and readings come in as arguments, so that everything
runs in virtual time. `signals` reads the machine, in threads; `service` joins the two and answers.
"""
