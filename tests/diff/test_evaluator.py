"""`risefall vrrp --notify` beside the real keepalived 2.2.7.

Compared are the lines of each script, instance and group in their order, the lines on the notify FIFO, every call of a notify
program with its arguments, what a script finds around it and which signals reach it, and, at the end, keepalived's own dump:
states, priorities, results.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from evaluation import HEAD, SURROUNDINGS, Play, Played, instance, played, script, tracks
from notifications import NOTIFIED
from stalls import Stalls, tell
from vrrp_lab import missing

VECTORS = (
    (1, 1, "sfsf"), (3, 3, "s"), (3, 3, "f"), (2, 3, "sffsfffss"), (3, 2, "ffsssff"),
    (2, 2, "sfsfsff"), (3, 2, "fssfsss"), (1, 3, "sfffs"), (2, 1, "fsfss"),
)  # fmt: skip
NEXT = 'n=$(cat {own}/{name}.n 2>/dev/null || echo 0); n=$((n+1)); echo $n > {own}/{name}.n; case "$(echo {seq} | cut -c$n)" in f) exit 1;; esac; exit 0'


def vectors() -> Play:
    """Every row of spec §1.10, each script with its own results, one weighted and one that drives FAULT each way."""
    names = [f"v{number}" for number in range(len(VECTORS))]
    config = HEAD + "".join(
        script(name, f"{{own}}/{name}.sh", "interval 1", f"rise {rise}", f"fall {fall}")
        for name, (rise, fall, _) in zip(names, VECTORS, strict=True)
    )
    config += instance(tracks("script", *(f"{name} weight {number + 1}" for number, name in enumerate(names))))
    programs = tuple(
        (f"{name}.sh", NEXT.replace("{name}", name).replace("{seq}", seq + seq[-1] * 30))
        for name, (_, _, seq) in zip(names, VECTORS, strict=True)
    )
    return Play(
        config,
        programs,
        until=("VRRP_Script(v3) succeeded|2", "VRRP_Script(v5) failed", "VRRP_Script(v6) succeeded"),
        luck=True,
    )


ENDS = {
    "hang": ("exec sleep 30", "timeout 1"),
    "clean": ("trap 'exit 0' TERM; sleep 30 & wait", "timeout 1"),
    "angry": ("trap 'exit 3' TERM; sleep 30 & wait", "timeout 1"),
    "deaf": ("trap '' TERM; while :; do sleep 1; done", "timeout 1"),
    "shot": ("kill -9 $$", "timeout 2"),
    "absent": ("exit 127", "timeout 2"),
    "slow": ("sleep 2.5; exit 4", "timeout 30"),
}


def ends() -> Play:
    """How a run may end."""
    config = HEAD + "".join(script(name, f"{{own}}/{name}.sh", "interval 8", line) for name, (_, line) in ENDS.items())
    config += script("unexecutable", "{own}/raw", "interval 8")
    config += instance(tracks("script", *(f"{name} weight 3" for name in (*ENDS, "unexecutable"))))
    programs = (*((f"{name}.sh", body) for name, (body, _) in ENDS.items()), ("raw", ""))
    until = (
        "(VI_1) Entering MASTER STATE",
        "VRRP_Script(deaf) timed_out",
        "VRRP_Script(slow) failed (exited with status 4)",
        "VRRP_Script(clean) succeeded",
    )
    return Play(
        config,
        programs,
        until=(*until, "VRRP_Script(hang) timed_out", "VRRP_Script(angry) failed"),
        luck=True,
        overlaps=True,
    )


def unusable() -> Play:
    """What is dropped at the start: as if it were not tracked."""
    config = HEAD + script("gone", "/nonexistent/x") + script("bare", "true x") + script("builtin", "exit 0")
    config += script("folder", "{own}") + script("unsafe", "{own}/unsafe.sh") + script("less", "< {own}/ok.sh")
    config += script("glued", "<{own}/ok.sh") + script("stranger", "{own}/ok.sh", "user nosuchuser")
    names = ("gone", "bare", "builtin", "folder", "unsafe", "less", "glued")
    config += instance(tracks("script", *names))
    return Play(config, (("ok.sh", "exit 0"), ("unsafe.sh", "exit 0")), until=("(VI_1) Entering MASTER STATE",))


def trackers() -> Play:
    """Weights in both directions, FAULT by script, file, process and link, and back."""
    config = HEAD
    for name in ("hard", "soft", "other", "odd"):
        config += script(name, f"/usr/bin/test ! -s {{common}}/{name}", "interval 1")
    config += "track_file tf {{\n file {common}/tf\n}}\n"
    config += "vrrp_track_process pr {{\n process {process}\n}}\n"
    config += instance(
        tracks("script", "hard", "soft weight -20", "other weight 30", "odd weight 5 reverse")
        + tracks("file", "tf weight 2")
        + tracks("interface", "eth1 weight -7")
    )
    steps = (
        ("(VI_1) Entering MASTER STATE", "soft", "1"),
        ("VRRP_Script(soft) failed", "other", ""),
        ("VRRP_Script(other) succeeded", "odd", ""),
        ("VRRP_Script(odd) succeeded", "tf", "7"),
        ("(VI_1) Changing effective priority from 105 to 119", "tf", "-0x70"),
        ("(VI_1) Changing effective priority from 119 to 1", "tf", "200"),
        ("(VI_1) Changing effective priority from 1 to 254", "tf", "0 rest"),
        ("(VI_1) Changing effective priority from 254 to 105", "eth1", "down"),
        ("(VI_1) Changing effective priority from 105 to 98", "eth1", "up"),
        ("(VI_1) Changing effective priority from 98 to 105", "hard", "1"),
        ("(VI_1) Entering FAULT STATE", "soft", ""),
        ("(VI_1) Changing effective priority from 105 to 125", "hard", ""),
        ("(VI_1) Entering MASTER STATE|2", "eth0", "down"),
        ("(VI_1) Entering FAULT STATE|2", "eth0", "up"),
    )
    # What gives nothing at first cannot race with the others for the first line.
    return Play(config, steps=steps, first=("other", "odd"), until=("(VI_1) Entering MASTER STATE|3",))


def synced() -> Play:
    """A sync group: a script of the group, one of a member, and a weight that a member may not have."""
    config = HEAD
    for name in ("group", "member", "weighted"):
        config += script(name, f"/usr/bin/test ! -s {{common}}/{name}", "interval 1")
    block = (
        'group {{\n  VI_1\n  VI_2\n }}\n notify "{own}/notify.sh group"\n notify_fault "{own}/notify.sh group-fault"\n'
    )
    config += f"vrrp_sync_group G {{{{\n {block}{tracks('script', 'group weight -20')}}}}}\n"
    config += instance(tracks("script", "member", "weighted weight -9"))
    config += instance(name="VI_2", vrid=52, priority=120, interface="eth1")
    steps = (
        ("VRRP_Group(G) Syncing instances to MASTER state", "group", "1"),
        ("(VI_2) Changing effective priority from 120 to 100", "member", "1"),
        ("VRRP_Group(G) Syncing instances to FAULT state", "member", ""),
    )
    return Play(config, steps=steps, until=("VRRP_Group(G) Syncing instances to MASTER state|2",))


def initial() -> Play:
    """init_file: written where nothing is, or over what is; unless the folder is not there, and then nothing is tracked."""
    files = (
        ("a", "", "init_file 7"),
        ("b", "", "init_file 9"),
        ("c", "", "init_file 5 overwrite"),
        ("d", "", "init_file"),
    )
    config = HEAD + "".join(
        f"track_file f{name} {{{{\n file {{own}}/{name}{more}\n {line}\n}}}}\n" for name, more, line in files
    )
    config += "track_file gone {{\n file {own}/nowhere/x\n init_file 3\n weight 0 reverse\n}}\n"
    config += instance(tracks("file", "fa weight 2", "fb", "fc", "fd", "gone"))
    return Play(
        config,
        (("b", ""), ("c", "")),
        until=("(VI_1) Entering MASTER STATE",),
        written=(("a", 1), ("b", 1), ("c", 1), ("d", 1)),
    )


def reloaded() -> Play:
    """SIGHUP: scripts keep what they found, by name alone; states stand; an instance goes, one comes, and a new script waits for nobody."""
    tests = {name: f"/usr/bin/test ! -s {{common}}/{name}" for name in ("hard", "soft", "neu")}
    group = 'vrrp_sync_group G {{\n group {{\n  VI_4\n }}\n notify "{own}/notify.sh group"\n}}\n'
    tf = "track_file tf {{\n file {common}/tf\n weight 0\n}}\n"
    # Far enough apart that each times out by itself.
    stays = instance(name="VI_4", vrid=54, priority=140) + instance(
        tracks("file", "tf"), name="VI_5", vrid=55, priority=220
    )
    before = HEAD + tf + group + script("hard", tests["hard"], "interval 1", "rise 2", "fall 3")
    before += script("soft", tests["soft"], "interval 1", "weight -20") + instance(tracks("script", "hard", "soft"))
    before += instance(name="VI_2", vrid=52, priority=180, interface="eth1") + stays
    again = "global_defs {{\n fifo_write_vrrp_states_on_reload\n}}\n"
    after = HEAD + again + tf + group
    after += script("hard", tests["hard"] + " -a 1 = 1", "interval 1", "rise 4", "fall 1", "user root")
    after += script("soft", tests["soft"], "interval 1", "weight -30") + script("neu", tests["neu"], "interval 1")
    after += instance(tracks("script", "hard", "soft"), priority=120)
    after += instance(tracks("script", "neu"), name="VI_3", vrid=53, interface="eth1") + stays
    steps = (
        ("(VI_1) Entering MASTER STATE", "tf", "1"),
        ("(VI_5) Entering FAULT STATE", "soft", "1"),
        ("(VI_1) Changing effective priority from 100 to 80", "", "reload"),
        ("(VI_3) Entering FAULT STATE", "neu", ""),
        ("(VI_3) Entering MASTER STATE", "hard", "1"),
    )
    return Play(before, steps=steps, first=("neu",), until=("(VI_1) Entering FAULT STATE",), again=after)


def surroundings() -> Play:
    """What a script finds: environment, ids, umask, descriptors, signals, process group, arguments."""
    config = HEAD + script("look", "{own}/look.sh 'a b' c\\\\d $HOME \\\"e f\\\" *", "interval 60")
    config += script("barred", "{own}/look.sh", "user nobody")
    config += script("nobody", "/bin/sh -c '[ $(id -u):$(id -G) = $(id -u nobody):$(id -g nobody) ]'", "user nobody")
    config += instance(tracks("script", "look", "nobody", "barred"))
    return Play(
        config,
        (("look.sh", SURROUNDINGS),),
        until=("(VI_1) Entering MASTER STATE", "VRRP_Script(nobody) succeeded"),
        looks=True,
    )


PLAYS: dict[str, Callable[[], Play]] = {
    "vectors": vectors, "ends": ends, "unusable": unusable, "trackers": trackers, "synced": synced, "initial": initial, "reloaded": reloaded,
    "surroundings": surroundings,
    **NOTIFIED,
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Played]]:
    """The plays of the tests that were selected, under way."""
    if why := missing():
        pytest.skip(why)
    assert shutil.which("ip")
    names = {
        item.callspec.params["name"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    }
    folder = tmp_path_factory.mktemp("evaluator")
    with Stalls() as stalls, ThreadPoolExecutor(max_workers=len(PLAYS)) as pool:
        yield {name: pool.submit(played, name, PLAYS[name](), folder, stalls) for name in PLAYS if name in names}


@pytest.mark.parametrize("name", PLAYS)
def test_keepalived_and_the_evaluator_say_and_do_the_same(name: str, outcomes: dict[str, Played]) -> None:
    """Lines, FIFO, notify programs, what a script finds, and the end."""
    play = PLAYS[name]()
    told, again = outcomes[name].result()
    for late_us, what in again:
        tell(name, late_us, what)
    assert told.differences(play) == {}
    assert bool(told.fifo["keepalived"]) != play.full, "the FIFO heard nothing, or there was room"
    assert told.calls["keepalived"], "no notify program was called"
    assert told.lines["keepalived"], "nothing was logged"
    assert bool(told.found["keepalived"]) == play.looks
    assert len(told.mails["keepalived"]) == play.mails
    for record, count in play.written:
        assert len(told.written["keepalived"][record]) == count, record
