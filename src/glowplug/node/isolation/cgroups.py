"""Control groups: what a function holds and starts is counted by the kernel, over all its processes.

A child begins in its parent's group, so only a process that comes from another's zygote is moved. The first
move after a pause takes some 10 ms (the kernel waits for every core), so nobody waits for a move.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from glowplug.node.isolation.limits import Bounds, class_shares

_MOUNT = Path("/sys/fs/cgroup")
_WANTED = ("memory", "pids", "cpu")
_PREFIX = "glowplug-"
_GONE_S = 2.0
_ROUNDS = 100
_PROBE = Bounds(64 * 2**20, 8, 1024)


class Group:
    """One group, a folder in each hierarchy. `folders` maps a controller to its folder; memory's is there.
    Those that are not among its `own` are another group's, and stay when it goes."""

    def __init__(self, folders: dict[str, Path], unified: bool, own: Iterable[Path] = ()) -> None:
        self._folders = folders
        self._own = tuple(dict.fromkeys(own or folders.values()))
        self._unified = unified
        self._kills_told = 0

    @property
    def folders(self) -> dict[str, Path]:
        """By controller; in version 2 they are all the same."""
        return self._folders

    @property
    def members_files(self) -> list[str]:
        """Where a process writes "0" to become a member."""
        return [str(folder / "cgroup.procs") for folder in dict.fromkeys(self._folders.values())]

    def limit(self, bounds: Bounds) -> None:
        """At once, for who is in it too. Raises OSError, EBUSY among them where more is held than may be."""
        memory, memory_bytes = self._folders["memory"], str(bounds.memory_bytes)
        if self._unified:
            (memory / "memory.max").write_text(memory_bytes)
            _write_if_there(memory / "memory.swap.max", "0")
        else:
            # It may never be the lesser of the two: raised before, lowered after.
            _write_if_there(memory / "memory.memsw.limit_in_bytes", memory_bytes)
            (memory / "memory.limit_in_bytes").write_text(memory_bytes)
            _write_if_there(memory / "memory.memsw.limit_in_bytes", memory_bytes)
        if "cpu" in self._folders:
            _weigh(self._folders["cpu"], bounds.shares, self._unified)
        if "pids" in self._folders:
            (self._folders["pids"] / "pids.max").write_text(str(bounds.tasks))

    def add(self, pid: int) -> None:
        """Moves a process here. One that is gone is no error. Raises OSError."""
        for path in self.members_files:
            try:
                Path(path).write_text(str(pid))
            except ProcessLookupError:
                return

    def bring_along(self, other: Group, is_ours: Callable[[int], bool]) -> None:
        """Moves here who is ours among the members of `other`: whom a process forked before it was moved
        itself. Those whom they fork meanwhile too. Raises OSError."""
        elsewhere = set(other.folders.values())
        for _ in range(_ROUNDS):
            found = {pid for folder in elsewhere for pid in _members(folder) if is_ours(pid)}
            if not found:
                return
            for pid in found:
                self.add(pid)

    def out_of_memory(self) -> bool:
        """Whether the kernel killed a member for its memory, once for each that it killed. Where that counts
        in another's folder, the other says so."""
        if self._folders["memory"] not in self._own:
            return False
        name = "memory.events.local" if self._unified else "memory.oom_control"
        try:
            lines = (self._folders["memory"] / name).read_text().splitlines()
        except OSError:
            return False
        kills = next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
        if kills <= self._kills_told:
            return False
        self._kills_told += 1
        return True

    def remove(self) -> None:
        """Ends who is still in it and removes it. Blocks for a moment; one that does not empty stays until
        the next start."""
        deadline_s = time.monotonic() + _GONE_S
        for folder in self._own:
            _remove(folder, deadline_s)


class Groups:
    """All groups of one agent. Where they have weights those of a class lie in a group of the class, so that
    it has its part of the processor however many are in others; in it each weighs as much as a few processes.

    `places` maps each controller to the folder they lie in; their names begin with `prefix`. The file
    `noted` tells a later agent what to remove when this one was killed.
    """

    def __init__(self, places: dict[str, Path], prefix: str, version: int, noted: Path) -> None:
        self.version = version
        self._places = places
        self._prefix = prefix
        self._noted = noted
        with contextlib.suppress(OSError):  # without space it is not remembered, and that is all
            noted.write_text("\n".join(str(place / prefix) for place in dict.fromkeys(places.values())))

    def make(self, name: str, bounds: Bounds) -> Group:
        """A new group with its limits. Raises OSError; nothing is left then."""
        places = self._places_of(bounds.rank) if "cpu" in self._places else self._places
        folders = {key: place / f"{self._prefix}{name}" for key, place in places.items()}
        group = Group(folders, self.version == 2)
        try:
            for folder in dict.fromkeys(folders.values()):
                folder.mkdir()
            group.limit(bounds)
        except BaseException:
            group.remove()
            raise
        return group

    @property
    def by_class(self) -> bool:
        """Whether processor time is shared by class."""
        return "cpu" in self._places

    def beside(self, group: Group, name: str, bounds: Bounds) -> Group:
        """A group in the class of `bounds` for members of `group` while they are to stand back. What they
        hold counts in `group` still; in version 2, which has one tree, here, up to the same limits. Raises
        OSError; nothing is left then."""
        if self.version == 2:
            return self.make(name, bounds)
        folder = self._places_of(bounds.rank)["cpu"] / f"{self._prefix}{name}"
        beside = Group({**group.folders, "cpu": folder}, unified=False, own=(folder,))
        folder.mkdir()
        _weigh(folder, bounds.shares, unified=False)
        return beside

    def weigh_class(self, rank: int, like: int) -> None:
        """From now on the class weighs as much as the class `like` has by right."""
        shares = class_shares(like, len(os.sched_getaffinity(0)))
        _weigh(self._class_folder(rank), shares, self.version == 2)

    def close(self) -> None:
        """Removes everything."""
        remove_leftovers(self._noted)

    def _places_of(self, rank: int) -> dict[str, Path]:
        """Where the groups of a class lie: processor time is shared by class, and version 2 has one tree for
        all. Raises OSError."""
        shared = self._class_folder(rank)
        if not shared.is_dir():
            shared.mkdir()
            if self.version == 2:
                handed_on = " ".join(f"+{name}" for name in self._places)
                (shared / "cgroup.subtree_control").write_text(handed_on)
            self.weigh_class(rank, rank)
        return dict.fromkeys(self._places, shared) if self.version == 2 else {**self._places, "cpu": shared}

    def _class_folder(self, rank: int) -> Path:
        return self._places["cpu"] / f"{self._prefix}class-{rank}"


def open_groups(
    noted: Path, mount: Path = _MOUNT, own: str | None = None, wanted: Sequence[str] = _WANTED
) -> Groups:
    """Takes a place for groups of the `wanted` controllers, memory among them, on this host. Raises OSError
    with the reason why there is none.

    `own` is the text of /proc/self/cgroup.
    """
    remove_leftovers(noted)
    lines = (Path("/proc/self/cgroup").read_text() if own is None else own).splitlines()
    parts = [line.split(":", 2) for line in lines]
    paths = {name: path for _, names, path in parts for name in names.split(",")}
    prefix = f"{_PREFIX}{secrets.token_hex(6)}-"
    if (mount / "cgroup.controllers").exists():
        place = _unified(mount, paths.get("", "/"), wanted)
        groups = Groups(dict.fromkeys(wanted, place), prefix, 2, noted)
    else:
        missing = [name for name in wanted if name not in paths]
        if missing:
            raise OSError(f"this host has no control groups for {', '.join(missing)}")
        places = {name: _below(mount / name, paths[name]) for name in wanted}
        groups = Groups(places, prefix, 1, noted)
    groups.make("probe", _PROBE).remove()
    return groups


def _unified(mount: Path, own: str, wanted: Sequence[str]) -> Path:
    """Version 2 hands controllers only to groups beside which no process is: below our own group where it may
    be that, else beside it. Raises OSError."""
    place = _below(mount, own)
    for parent in (place, place.parent if place != mount else place):
        control = parent / "cgroup.subtree_control"
        with contextlib.suppress(OSError):
            control.write_text(" ".join(f"+{name}" for name in wanted))
        if set(wanted) <= set(control.read_text().replace("+", "").split()):
            return parent
    raise OSError(f"{place} may not hand on its controllers: start the server with Delegate=yes")


def _below(mount: Path, own: str) -> Path:
    """Our own group's folder; a container often shows it as the root."""
    folder = mount / own.lstrip("/")
    return folder if folder.is_dir() else mount


def remove_leftovers(noted: Path) -> None:
    """Removes the groups that an agent noted, and the note. What cannot be removed now stays for ever."""
    try:
        prefixes = [Path(line) for line in noted.read_text().splitlines()]
    except OSError:
        return
    deadline_s = time.monotonic() + _GONE_S
    for prefix in prefixes:
        if prefix.name.startswith(_PREFIX):
            for folder in prefix.parent.glob(f"{prefix.name}*"):
                for below in folder.glob(f"{prefix.name}*"):
                    _remove(below, deadline_s)
                _remove(folder, deadline_s)
    noted.unlink(missing_ok=True)


def _weigh(folder: Path, shares: int, unified: bool) -> None:
    name, weight = (
        ("cpu.weight", min(10_000, max(1, shares * 100 // 1024))) if unified else ("cpu.shares", shares)
    )
    _write_if_there(folder / name, str(weight))


def _remove(folder: Path, deadline_s: float) -> None:
    while True:
        try:
            folder.rmdir()
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline_s:
                return
        for pid in _members(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _members(folder: Path) -> Iterable[int]:
    try:
        return [int(line) for line in (folder / "cgroup.procs").read_text().split() if line != "0"]
    except OSError:
        return []


def _write_if_there(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):
        path.write_text(text)
