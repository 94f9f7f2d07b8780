"""How processes begin on a node: an environment's zygote by exec, every other by a fork of a zygote."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bundle.store import BundleStore
from glowplug.bundle.trees import remove_tree
from glowplug.core.commands import Climb, Target
from glowplug.core.settings import NodeSettings
from glowplug.core.specs import FunctionSpec
from glowplug.node import guard, share, variables, wire
from glowplug.node.devices import NodeDevice
from glowplug.node.interpreters import Interpreters
from glowplug.node.isolation import roots
from glowplug.node.isolation.cgroups import Group
from glowplug.node.isolation.child import Confinement
from glowplug.node.isolation.means import Means
from glowplug.node.isolation.seats import Seat, Seats
from glowplug.node.messages import Fork, Place, Role
from glowplug.node.processes import OnExit, OnLines, OnMessage, Process
from glowplug.node.roster import Held


class Births:
    """Starts processes and wires them to the agent's callbacks. Used in the agent's event loop."""

    def __init__(
        self,
        settings: NodeSettings,
        store: BundleStore,
        means: Means,
        seats: Seats,
        callbacks: tuple[OnMessage, OnExit, OnLines],
    ) -> None:
        self._store = store
        self._means = means
        self._seats = seats
        self._callbacks = callbacks
        self._threads = settings.threads or len(os.sched_getaffinity(0))
        self._device_threads = min((len(each.cores) for each in settings.devices if each.cores), default=1)
        self._readable = roots.readable_roots()
        self._devices = roots.device_roots()
        self.interpreters = Interpreters(store, means, seats, self._threads, self._devices)

    def uid(self, name: str) -> int | None:
        """The user of who installs packages, by that name; None is our own."""
        return guard.uid_for(name) if self._means.identities is not None else None

    def environment(self, command: Climb, python: Path | None = None, environment_s: float = 0.0) -> Held:
        """A fresh interpreter, confined from the start, that imports the libraries. Raises OSError.

        `python` is that of an environment of its own, which took `environment_s` to build; else it is ours.
        """
        key = command.target.key
        seat = self._seats.environment(key)
        try:
            return self._launched(command, seat, python, environment_s)
        except BaseException:
            self._seats.leave(seat)
            raise

    def _launched(self, command: Climb, seat: Seat, python: Path | None, environment_s: float) -> Held:
        readable = (*self._readable, *((str(python.parents[1]),) if python else ()))
        started, control, pipes = self.interpreters.start(command, seat, python, readable)
        process = self._process(f"environment {command.target.key}", control, pipes)
        process.popen = started
        try:
            process.born(started.pid, os.pidfd_open(started.pid))
        except OSError:
            started.kill()
            process.never_born("it could not be watched")
            raise
        held = Held(command.target, process, command, time.monotonic(), seat, command.spec.function)
        held.environment_s, held.readable = environment_s, readable
        process.owner = held
        return held

    def child(
        self,
        parent: Held,
        role: Role,
        target: Target,
        spec: FunctionSpec,
        *,
        prime: bool = False,
        env: dict[str, str] | None = None,
        data: tuple[int, ...] = (),
        climb: Climb | None = None,
        gang: Place | None = None,
        **more: Any,
    ) -> Held:
        """Asks `parent` for a child with its own control socket and output pipes. Raises OSError."""
        if role in ("build", "probe"):
            seat = self._seats.building(spec)
        else:
            seat = self.serving(spec) if gang is None else self._seat_in(gang, spec)
        try:
            home = seat.new_folder(role)
            message = self.message(
                parent, role, seat, home, target, spec,
                prime=prime, has_variables=bool(env), environment_s=parent.environment_s, gang=gang, **more,
            )  # fmt: skip
            own = variables.apart(env or {})
            try:
                held = self.forked(parent, message, seat, home, target, climb, (*own, *data))
            finally:
                wire.close_all(own)
        except BaseException:
            self._seats.leave(seat)
            raise
        held.function = spec.function
        version = f"{spec.version}.{gang.worker}" if gang is not None and gang.worker else spec.version
        held.weights = (version, Path(message.pack).stem)
        return held

    def context(self, parent: Held, climb: Climb, device: NodeDevice, kernels: tuple[bytes, ...]) -> Held:
        """A process that opens the device's context, confined to a seat of its own before. Raises OSError."""
        seat = self._seats.waiting(climb.spec.environment_key)
        try:
            home = seat.new_folder("context")
            confinement = self._confinement(parent, seat, climb.spec.environment_key)
            message = Fork("context", "", "", str(home), confinement, device=device.setting, kernels=kernels)
            return self.forked(parent, message, seat, home, climb.target, climb, device.descriptors)
        except BaseException:
            self._seats.leave(seat)
            raise

    def serving(self, spec: FunctionSpec) -> Seat:
        """The seat of a version that serves, for one process more. Raises OSError."""
        manifest = self._store.described(spec.version)
        if manifest is not None and manifest.parts:
            return self._seats.heads(spec)
        return self._seats.serving(spec, manifest.pack_bytes if manifest is not None else 0)

    def _seat_in(self, gang: Place, spec: FunctionSpec) -> Seat:
        """For one process more of a gang: its head's is as any worker's. Raises OSError."""
        if not gang.worker:
            return self.serving(spec)
        return self._seats.part(spec, gang.worker)

    def message(
        self,
        parent: Held,
        role: Role,
        seat: Seat,
        home: Path,
        target: Target,
        spec: FunctionSpec,
        gang: Place | None = None,
        **more: Any,
    ) -> Fork:
        """The Fork message for a process on `seat`: a new child of `parent`, or a waiting context that
        becomes a worker."""
        manifest = self._store.described(spec.version)
        found = manifest.pack_of(gang.worker if gang is not None else 0) if manifest is not None else ""
        pack = str(self._store.pack_path(found)) if found else ""
        parts: tuple[str, ...] = ()
        if role == "probe" and manifest is not None:
            parts = tuple(str(self._store.pack_path(part.pack)) for part in manifest.parts)
        bundle = str(self._store.bundle_path(spec.version))
        confinement = None
        if parent.seat is not seat:
            own = filter(None, (bundle, pack, *parts, more.get("code", "")))
            shared = (gang.folder,) if gang is not None else ()
            confinement = self._confinement(parent, seat, spec.environment_key, tuple(own), shared)
        instance = int(target.key) if target.kind == "instance" else 0
        return Fork(
            role, spec.function, spec.version, str(home), confinement, bundle, pack, parts, gang, instance,
            sent_s=time.monotonic(), **more,
        )  # fmt: skip

    def _confinement(
        self,
        parent: Held,
        seat: Seat,
        environment: str,
        own: tuple[str, ...] = (),
        shared: tuple[str, ...] = (),
    ) -> Confinement:
        """To a seat: to be read is what the environment reads, and `own`; to be written the seat's
        folder and `shared`."""
        readable = (*parent.readable, *own, str(self._seats.home(environment)))
        writable = (str(seat.folder), *shared)
        landlock = bool(self._means.landlock)
        return Confinement(seat.user, landlock, readable, writable, self._devices, seat.file_bytes)

    def given(
        self, held: Held, climb: Climb, env: dict[str, str], **more: Any
    ) -> tuple[Fork, tuple[int, ...], tuple[int, ...]]:
        """What a process that waits in a context is told to become the worker of this climb, its variables,
        and its pack, open, if that is here: it was confined before anybody knew what it would have to read.
        The caller closes the descriptors. Raises OSError."""
        spec, seat = climb.spec, held.seat
        manifest = self._store.described(spec.version)
        bundle = self._store.bundle_path(spec.version)
        shown = self._seats.give(seat, spec, bundle, manifest.pack_bytes if manifest is not None else 0)
        home = seat.new_folder("worker")
        more["has_variables"] = bool(env)
        message = self.message(held, "worker", seat, home, climb.target, spec, **more)
        limit = Confinement(file_bytes=seat.file_bytes)
        told = msgspec.structs.replace(message, bundle=str(shown), pack="", confinement=limit)
        # One that still arrives is open already, and has another name.
        is_here = message.pack and not message.arriving
        weights = (os.open(message.pack, os.O_RDONLY | os.O_CLOEXEC),) if is_here else ()
        try:
            return told, variables.apart(env), weights
        except BaseException:
            wire.close_all(weights)
            raise

    def forked(
        self, parent: Held, message: Fork, seat: Seat, home: Path, target: Target, climb: Climb | None,
        data: tuple[int, ...],
    ) -> Held:  # fmt: skip
        """Sends `message` with a control socket, output pipes and `data`. Raises OSError."""
        ours, theirs = wire.socket_pair()
        ends = [theirs.detach()]
        try:
            pipes = wire.output_pipes()
            ends += [pipe[1] for pipe in pipes]
            process = self._process(f"{message.role} of {message.function}", ours, pipes)
            held = Held(target, process, climb, time.monotonic(), seat, home=home)
            held.readable = parent.readable
            held.moved = seat is parent.seat and parent.moved  # a move from here on may miss this child
            process.owner = held
            if not parent.process.fork(message, process, (*ends, *data)):
                why = f"{parent.process.name} is gone"
                asyncio.get_running_loop().call_soon(process.never_born, why)
            return held
        finally:
            wire.close_all(ends)

    def born(self, child: Held, later: Callable[..., object]) -> None:
        """A child exists: it began in its parent's control group, and moves to its own, or to that of what
        nobody waits for."""
        group = child.seat.group
        if child.ahead is not None:
            later(move, child, child.ahead)
        elif group is not None and not child.moved:
            later(move, child, group)

    def vacate(self, seat: Seat) -> None:
        """What was on the seat without being a process is gone."""
        self._seats.leave(seat)

    def left(self, held: Held, later: Callable[..., object]) -> None:
        """A process has ended: nothing of it stays."""
        if held.home is not None and held.seat.members > 1:
            later(remove_tree, held.home)
        self._seats.leave(held.seat)

    def share(self, spec: FunctionSpec, *, building: bool = False) -> dict[str, int]:
        """What a child of this function takes of the cores, for its Fork message."""
        threads = share.threads_of(spec, self._threads, self._device_threads)
        return {"nice": share.nice_of(spec, building), "threads": threads}

    def _process(self, name: str, control: Any, pipes: list[tuple[int, int]]) -> Process:
        process = Process(name, control, *self._callbacks)
        process.capture(pipes[0][0], "stdout")
        process.capture(pipes[1][0], "stderr")
        return process


def move(child: Held, group: Group) -> None:
    """Into this control group of its seat, with all that it forked before. Blocks for a moment."""
    with contextlib.suppress(OSError):  # it is gone, or so is the group
        group.add(child.process.pid)
        child.seat.bring_along(group)
    child.moved = group is child.seat.group
