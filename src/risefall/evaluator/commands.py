"""What keepalived makes of a command before it ever runs it: who runs it, which file that is, and whether it may.

The checks are done once, at the start, as keepalived does; a command that is dropped is as if it were not configured.
Source: spec/keepalived-track.md §1.2 (5-7), §1.3; every line observed on 2.2.7.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import stat
from collections.abc import Mapping

import msgspec

from risefall.config.keepalived.model import Command, Global
from risefall.engine.spawning import UMASK, Program

USUAL_USER = "keepalived_script"
BY_SHELL = re.compile(r"<[ \t]*/")
SHELL_CANNOT = (126, 127)
"""What the shell of a `<` command says when it could not do it; keepalived counts that as success."""


class Who(msgspec.Struct, frozen=True):
    """uid, gid: None for those that we run with. groups: the supplementary ones; None for ours."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None


class Ready(msgspec.Struct, frozen=True):
    """A command that may run. said: what keepalived logs of it. insecure: somebody else may write it, and root runs it."""

    path: str
    argv: tuple[str, ...]
    who: Who
    said: tuple[str, ...] = ()
    insecure: bool = False
    by_shell: bool = False

    def program(self, env: Mapping[str, str], umask: int | None, *, die_with_us: bool = True) -> Program:
        """For `Children.start`; keepalived adds nothing to the environment."""
        return Program(
            os.fsencode(self.path),
            [os.fsencode(word) for word in self.argv],
            [os.fsencode(f"{name}={value}") for name, value in env.items()],
            uid=self.who.uid,
            gid=self.who.gid,
            groups=self.who.groups,
            umask=UMASK if umask is None else umask,
            die_with_us=die_with_us,
        )


class Dropped(msgspec.Struct, frozen=True):
    """A command that never runs; said: why, in keepalived's lines."""

    said: tuple[str, ...]


def inherited() -> dict[str, str]:
    """Our environment as we were given it: Python sets LC_CTYPE by itself where it would be C (PEP 538)."""
    found = dict(os.environ)
    if "LC_CTYPE" in found:
        try:
            with open("/proc/self/environ", "rb") as file:
                given = file.read()
        except OSError:
            return found
        if not any(word.startswith(b"LC_CTYPE=") for word in given.split(b"\0")):
            del found["LC_CTYPE"]
    return found


def prepared(command: Command, defaults: Global, env: Mapping[str, str], *, euid: int | None = None) -> Ready | Dropped:
    """A command of a configuration, on this machine, now. euid: whom we are, for tests."""
    us = os.geteuid() if euid is None else euid
    who = _who(command, defaults, us)
    if isinstance(who, Dropped):
        return who
    name = command.argv[0]
    if BY_SHELL.match(name):
        return Ready("/bin/sh", ("/bin/sh", "-c", " ".join(command.argv)), who, by_shell=True)
    said: list[str] = []
    if "/" in name:
        path = name
    else:
        found = _search(name, env, said)
        if found is None:
            return Dropped(tuple(said))
        path = found
    uid = us if who.uid is None else who.uid
    gid = os.getegid() if who.gid is None else who.gid
    why = "" if os.path.exists(path) else "No such file or directory"
    if not all(_executable(folder, uid, gid, who.groups or ()) for folder in _folders(path)):
        why = "Permission denied"
    if why:
        return Dropped((*said, f"Script {path} cannot be accessed - {why}"))
    path = _real(path)
    if not stat.S_ISREG(os.stat(path).st_mode):
        return Dropped((*said, f"Wrong file type found in script path '{path}'."))
    if not _executable(path, uid, gid, who.groups or ()):
        text = f"WARNING - script '{path}' is not executable for uid:gid {uid}:{gid} - disabling."
        return Dropped((*said, text))
    insecure = (uid == 0 or gid == 0 or os.stat(path).st_mode & stat.S_ISUID != 0) and not _safe(path)
    if insecure:
        said.append(
            f"Unsafe permissions found for script '{path}'" + (" - disabling." if defaults.script_security else ".")
        )
        if defaults.script_security:
            return Dropped(tuple(said))
    return Ready(path, (path if path != name else name, *command.argv[1:]), who, tuple(said), insecure)


def _who(command: Command, defaults: Global, us: int) -> Who | Dropped:
    user, group = command.user, command.group
    if user is None:
        user, group = defaults.script_user, defaults.script_group
    if user is None:
        if _user(USUAL_USER) is not None:
            user = USUAL_USER
        elif defaults.script_security:
            return Dropped((f"Unable to set default user {USUAL_USER} for script {command.argv[0]}",))
        else:
            return Who()
    entry = _user(user)
    if entry is None:
        return Dropped((f"Script user '{user}' does not exist",))
    gid = entry.pw_gid
    if group is not None:
        try:
            gid = grp.getgrnam(group).gr_gid
        except KeyError:
            return Dropped((f"Script group '{group}' does not exist",))
    if us != 0:
        if entry.pw_uid != us:
            text = f"script {command.argv[0]} should run as {user}, which only root can do"
            return Dropped((text,))
        return Who()
    return Who(entry.pw_uid, gid, ())


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _search(name: str, env: Mapping[str, str], said: list[str]) -> str | None:
    """A bare name in our PATH, as execvp finds it."""
    path = env.get("PATH", os.defpath)
    found = shutil.which(name, path=path)
    if found is not None:
        said.append(f"WARNING - script `{name}` resolved by path search to `{found}`. Please specify full path.")
        return found
    if any(os.path.isfile(os.path.join(folder, name)) for folder in path.split(os.pathsep)):
        said.append(f"Permissions failure for script {name} in path - disabling")
    else:
        said.append(f"Cannot find script {name} in path - disabling")
    return None


def _real(path: str) -> str:
    """2.2.7 follows every link, and keeps the old name only where the same file has it beside the real one."""
    real = os.path.realpath(path)
    if os.path.basename(real) == os.path.basename(path):
        return real
    kept = os.path.join(os.path.dirname(real), os.path.basename(path))
    if os.path.exists(kept) and os.path.samefile(kept, real):
        return kept
    return real


def _executable(path: str, uid: int, gid: int, groups: tuple[int, ...]) -> bool:
    told = os.stat(path)
    if uid == 0:
        return bool(told.st_mode & 0o111)
    if told.st_uid == uid:
        return bool(told.st_mode & stat.S_IXUSR)
    if told.st_gid == gid or told.st_gid in groups:
        return bool(told.st_mode & stat.S_IXGRP)
    return bool(told.st_mode & stat.S_IXOTH)


def _folders(path: str) -> list[str]:
    """The folders above a path, as far as they are there, the root first."""
    path = os.path.abspath(path)
    found = []
    while path != "/":
        path = os.path.dirname(path)
        found.append(path)
    return [folder for folder in reversed(found) if os.path.isdir(folder)]


def _safe(path: str) -> bool:
    """Whether nobody but root can change the file, or a folder above it; a sticky folder is no danger."""
    while True:
        told = os.lstat(path)
        sticky = stat.S_ISDIR(told.st_mode) and told.st_mode & stat.S_ISVTX
        if told.st_uid != 0 or (
            not sticky and (told.st_mode & stat.S_IWOTH or (told.st_mode & stat.S_IWGRP and told.st_gid != 0))
        ):
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)
