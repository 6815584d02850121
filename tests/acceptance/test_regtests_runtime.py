"""Stories of HAProxy's own regression tests of the runtime API, as far as they speak of checks and of what a server is."""

from __future__ import annotations

from story_kit import Story


def test_counters_of_servers_without_a_check(story: Story) -> None:
    """1be_40srv_odd_health_checks, 40be_2srv_odd_health_checks: they have the rise and fall of their lines all the same."""
    story.listening("s1", 1)
    text = (
        "backend be\n  default-server rise 5 fall 4\n  server plain {s1}\n  server own {s1} rise 1\n"
        "  server off {s1} disabled\n  server follower {s1} track be/checked\n  server checked {s1} check inter 60s\n"
        "backend other\n  server plain {s1}\n  server off {s1} disabled\n"
    )
    with story.run(text, dialect="2.6") as running:
        rows = running.ask("show servers state").splitlines()[2:]
        counters = {f"{row.split()[1]}/{row.split()[3]}": tuple(row.split()[12:14]) for row in rows if row}
        assert counters == {
            "be/plain": ("5", "0"), "be/own": ("1", "0"), "be/off": ("0", "8"), "be/follower": ("5", "0"),
            "be/checked": (counters["be/checked"][0], "6"), "other/plain": ("2", "0"), "other/off": ("0", "8"),
        }  # fmt: skip
        for command, name, health, state in (
            ("set server be/plain health up", "be/plain", "8", "0"),
            ("set server be/own health down", "be/own", "0", "0"),
            ("disable server other/plain", "other/plain", "0", "0"),
            ("enable server other/plain", "other/plain", "0", "0"),
            ("enable server other/off", "other/off", "0", "8"),
        ):
            assert running.ask(command) == "\n"
            row = running.server(name)
            assert (row["srv_check_health"], row["srv_check_state"]) == (health, state), command
