"""Joins the engine's events with the state of servers and with what others see; owns the tasks of `risefall run`."""
