"""Checks in virtual time: scenarios, runs, sweeps, and what they answer. The clock is `native/sim.c`'s."""
