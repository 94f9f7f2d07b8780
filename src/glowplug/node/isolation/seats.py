"""A function's place on the node: its user, its folder, its control group. Made before its first process,
gone with its last.

    scratch/e3/       one environment
      home/           HOME while its zygote imports
      z1/             its zygote's folder
      s7/             a version that serves: a file system in memory, a folder for each process
      p8/             another worker of its gangs, each with limits of its own
      b9/             a build: on the disk, for a pack can be large
      c10/            one process that was confined before its function was known
        bundle/       that function's, read-only
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from glowplug.bundle.trees import remove_tree
from glowplug.core.priority import Priority
from glowplug.core.specs import FunctionSpec
from glowplug.node import procfs
from glowplug.node.isolation import limits, syscalls
from glowplug.node.isolation.cgroups import Group
from glowplug.node.isolation.identities import RANGE
from glowplug.node.isolation.means import Means, mount_scratch, resize_scratch, show_read_only
from glowplug.node.share import nice_of, workers_here

OnDisk = Callable[..., object]
_CACHES = (".cache", ".config")
"""Folders below HOME that libraries decide on while the zygote imports them: links into whatever folder
the process that follows them works in."""


class Seat:
    """Shared by all processes of one version that serve; or by those of one build; or an environment's. Made
    by `Seats`, which takes it down in the disk's thread once its last member left."""

    def __init__(self, key: str, environment: str, user: int, owner: int | None, folder: Path) -> None:
        self.key = key
        self.environment = environment
        self.user = user
        """Inside the environment's user namespace; 0 for the zygote's own."""
        self.owner = owner
        """The same on the host; None is our own user."""
        self.folder = folder
        self.bounds: limits.Bounds | None = None
        self.group: Group | None = None
        self.ahead: Group | None = None
        """Where its processes climb that nobody waits for, once there was one."""
        self.outer: Group | None = None
        """Its environment's, in which forks of that one's zygote begin."""
        self.in_memory = False
        """Whether its files lie in a file system of its own, which has their limit."""
        self.file_bytes = 0
        """Else the limit of each of them, 0 for none."""
        self.members = 0
        self.stranger = 0
        """Its user, where that is none of a function's."""
        self._numbers = itertools.count(1)

    def out_of_memory(self) -> bool:
        """Whether the kernel killed one of its processes for its memory, once for each."""
        return any(group is not None and group.out_of_memory() for group in (self.group, self.ahead))

    def bring_along(self, group: Group) -> None:
        """Moves to `group`, one of ours, whom our processes forked in their environment's before they were
        moved from there. Only where functions have users of their own: by that they are known. Raises
        OSError."""
        if self.owner is not None and self.user and self.outer is not None:
            group.bring_along(self.outer, lambda pid: procfs.real_user(pid) == self.owner)

    def owns(self, user: int) -> bool:
        """Whether a process of this user may be one of ours, or a child of our zygote."""
        if self.owner is None:
            return True
        return user == self.owner or (not self.user and self.owner <= user < self.owner + RANGE)

    def new_folder(self, name: str) -> Path:
        """A folder of one process's own. Raises OSError."""
        path = self.folder / f"{name}-{next(self._numbers)}"
        inner = [path / cache for cache in _CACHES]
        for folder in (path, *inner):
            folder.mkdir(mode=0o700)
        self.hand_over(path, inner)
        return path

    def hand_over(self, folder: Path, inner: Iterable[Path]) -> None:
        """Gives our `folder`, which nobody else may enter yet, to the seat's owner, with what lies in it.
        Raises OSError."""
        if self.owner is None:
            return
        # The folder last: its owner may put a link to any file in place of what lies there.
        for path in (*inner, folder):
            os.chown(path, self.owner, self.owner, follow_symlinks=False)


class Seats:
    """All seats of one agent, in its event loop. `later` runs what may block, elsewhere and soon; the node
    has so many `devices`."""

    def __init__(
        self, means: Means, scratch: Path, budget_bytes: int, later: OnDisk, devices: int = 0
    ) -> None:
        self._means = means
        self._scratch = scratch
        self._budget_bytes = budget_bytes
        self._later = later
        self._devices = devices
        self._seats: dict[str, Seat] = {}
        self._places: dict[str, Path] = {}
        self._numbers = itertools.count(1)

    def environment(self, key: str) -> Seat:
        """For the zygote of an environment. Raises OSError."""
        shares = limits.processor_shares(0, 1)
        bounds = limits.Bounds(self._budget_bytes, limits.MAX_ENVIRONMENT_TASKS, shares)
        return self._find(f"environment {key}", key, "", "z", bounds)

    def serving(self, spec: FunctionSpec, weight_bytes: int) -> Seat:
        """For the zygote and the workers of a version. Raises OSError."""
        workers = workers_here(spec.declaration, self._devices)
        most_bytes = limits.memory_limit_bytes(spec.declaration.memory_bytes, weight_bytes, workers)
        return self._serving(spec, _bounds(spec, most_bytes, workers))

    def heads(self, spec: FunctionSpec) -> Seat:
        """For the zygote and the first workers of a version's gangs. Raises OSError."""
        gangs = workers_here(spec.declaration, self._devices)
        most_bytes = limits.head_limit_bytes(spec.declaration.memory_bytes, gangs)
        return self._serving(spec, _bounds(spec, most_bytes, gangs))

    def _serving(self, spec: FunctionSpec, bounds: limits.Bounds) -> Seat:
        return self._find(f"version {spec.version}", spec.environment_key, spec.function, "s", bounds)

    def part(self, spec: FunctionSpec, worker: int) -> Seat:
        """For one of the other workers of a version's gangs, weights included. Raises OSError."""
        declared = spec.declaration
        gangs = workers_here(declared, self._devices)
        bounds = _bounds(spec, limits.part_limit_bytes(declared.memory_bytes, gangs), gangs)
        key = f"version {spec.version}.{worker}"
        return self._find(key, spec.environment_key, spec.function, "p", bounds)

    def waiting(self, environment: str) -> Seat:
        """For one process that serves a function which is not known yet: its user, folder and group are
        nobody else's, so that it can be confined now. Raises OSError."""
        shares = limits.processor_shares(0, 1)
        scratch_bytes = limits.SMALLEST_SCRATCH_BYTES
        bounds = limits.Bounds(self._budget_bytes, limits.MAX_TASKS, shares, scratch_bytes)
        key = f"waiting {next(self._numbers)}"
        stranger = 0
        if self._means.identities is not None and self._means.user_namespaces:
            stranger = self._means.identities.stranger(environment)
        try:
            seat = self._find(key, environment, "", "c", bounds, stranger)
        except BaseException:
            self._forget_stranger(environment, stranger)
            raise
        seat.stranger = stranger
        return seat

    def give(self, seat: Seat, spec: FunctionSpec, bundle: Path, weight_bytes: int) -> Path:
        """The function of who waits on this seat is known: its limits are that one's from now on. Returns
        where its bundle is to be found. Raises OSError."""
        bounds = _bounds(spec, limits.memory_limit_bytes(spec.declaration.memory_bytes, weight_bytes, 1), 1)
        if seat.group is not None:
            seat.group.limit(bounds)
        shown = seat.folder / "bundle"
        if not seat.in_memory:
            seat.file_bytes = bounds.scratch_bytes
            shutil.copytree(bundle, shown)
            return shown
        resize_scratch(seat.folder, bounds.scratch_bytes)
        shown.mkdir(mode=0o755)
        show_read_only(bundle, shown)
        return shown

    def building(self, spec: FunctionSpec) -> Seat:
        """For a build and its probe, which may hold what the node may. Raises OSError."""
        shares = limits.processor_shares(nice_of(spec, building=True), 1)
        rank = min(spec.rank, Priority.BATCH)
        bounds = limits.Bounds(self._budget_bytes, limits.MAX_TASKS, shares, rank=rank)
        return self._find(f"build {spec.version}", spec.environment_key, spec.function, "b", bounds)

    def leave(self, seat: Seat) -> None:
        """One of its processes has ended."""
        seat.members -= 1
        if seat.members == 0 and self._seats.get(seat.key) is seat:
            del self._seats[seat.key]
            self._later(_take_down, seat)
            self._forget_stranger(seat.environment, seat.stranger)
            if not any(other.environment == seat.environment for other in self._seats.values()):
                self._later(remove_tree, self._places.pop(seat.environment))
                if self._means.identities is not None:
                    self._means.identities.release(seat.environment)

    def _forget_stranger(self, environment: str, stranger: int) -> None:
        if stranger and self._means.identities is not None:
            self._means.identities.give_back(environment, stranger)

    def home(self, environment: str) -> Path:
        """HOME while the environment's zygote imports: readable for all its functions."""
        return self._place(environment) / "home"

    def _place(self, environment: str) -> Path:
        place = self._places.get(environment)
        if place is None:
            place = self._scratch / f"e{next(self._numbers)}"
            place.mkdir(mode=0o711)
            home = place / "home"
            home.mkdir(mode=0o755)
            for cache in _CACHES:
                (home / cache).symlink_to(f"/proc/self/cwd/{cache}")
            if self._means.identities is not None:
                owner = self._means.identities.environment(environment)
                os.chown(home, owner, owner)
            self._places[environment] = place
        return place

    def _find(
        self, key: str, environment: str, function: str, kind: str, bounds: limits.Bounds, user: int = 0
    ) -> Seat:
        seat = self._seats.get(key)
        if seat is None:
            if function and self._means.identities is not None and self._means.user_namespaces:
                user = self._means.identities.function(environment, function)
            seat = self._seats[key] = self._make(key, environment, user, kind, bounds)
        seat.members += 1
        return seat

    def _make(self, key: str, environment: str, user: int, kind: str, bounds: limits.Bounds) -> Seat:
        means = self._means
        owner = None
        if means.identities is not None:
            owner = means.identities.environment(environment) + user
        name = f"{kind}{next(self._numbers)}"
        seat = Seat(key, environment, user, owner, self._place(environment) / name)
        seat.bounds = bounds
        seat.folder.mkdir(mode=0o711)  # ours, so that nobody puts another folder in place of one in it
        try:
            if bounds.scratch_bytes and means.mounts:
                mount_scratch(seat.folder, bounds.scratch_bytes)
                seat.in_memory = True
            else:
                seat.file_bytes = bounds.scratch_bytes
            if means.groups is not None:
                seat.group = means.groups.make(name, bounds)
            outer = self._seats.get(f"environment {environment}")
            seat.outer = outer.group if outer is not None else None
        except BaseException:
            _take_down(seat)
            raise
        return seat


def _bounds(spec: FunctionSpec, memory_bytes: int, workers: int) -> limits.Bounds:
    """Of a version that serves."""
    return limits.Bounds(
        memory_bytes,
        limits.MAX_TASKS,
        limits.processor_shares(nice_of(spec, building=False), workers),
        limits.scratch_limit_bytes(spec.declaration.memory_bytes),
        spec.rank,
    )


def _take_down(seat: Seat) -> None:
    if seat.ahead is not None:
        seat.ahead.remove()
    if seat.group is not None:
        seat.group.remove()
    if seat.in_memory:
        with contextlib.suppress(OSError):
            syscalls.unmount(str(seat.folder))
    remove_tree(seat.folder)
