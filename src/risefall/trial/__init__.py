"""A check configuration tried for real: its backends are played on loopback, broken on purpose, and what comes of it is measured."""
