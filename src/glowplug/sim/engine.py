"""The engine in virtual time: every command ends after what its function's profile says."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapreplace

from glowplug.core.commands import Build, Cancel, Climb, Command, Descend, Target
from glowplug.core.events import (
    Built,
    CommandFailed,
    Event,
    RequestDone,
    RequestStarted,
    StepLost,
    StepReached,
)
from glowplug.core.ids import CommandId, DeviceId, FunctionId, InstanceId, RequestId
from glowplug.core.rng import rng_for
from glowplug.sim import durations
from glowplug.sim.agenda import Agenda
from glowplug.sim.disk import SharedDisk
from glowplug.sim.mapped import MappedWeights
from glowplug.sim.profile import Profile

Requests = tuple[RequestId, ...]


class SimEngine:
    """Meets control.engine.Engine. Workers run requests in the order they were sent, as many at a time as
    their function's `target_concurrency`."""

    def __init__(
        self,
        agenda: Agenda,
        profiles: dict[FunctionId, Profile],
        seed: int = 0,
        keeps_loaded: bool = True,
        shares_disks: bool = False,
        shares_weights: bool = False,
    ) -> None:
        self._agenda = agenda
        self._profiles = profiles
        self._seed = seed
        self._draws = 0
        self._emit: Callable[[Event], None] = lambda event: None
        self._climbing: dict[Target, CommandId] = {}
        self._free_at_s: dict[InstanceId, list[float]] = {}
        """By worker a heap: when each of its places is free."""
        self._at_once: dict[InstanceId, int] = {}
        self._waiting: dict[InstanceId, list[tuple[Requests, FunctionId]]] = {}
        self._device_of: dict[InstanceId, DeviceId] = {}
        self._copied_at_s: dict[DeviceId, float] = {}
        """When each device's copies that were asked for so far will be there: it makes one at a time."""
        self._pace: dict[DeviceId, float] = {}
        self._gang_ready_s: dict[InstanceId, float] = {}
        """When the last part of each gang will have climbed."""
        self._keeps_loaded = keeps_loaded
        self._emptied: set[InstanceId] = set()
        """Workers that load again at their next request: those that have answered, where nothing is kept, and
        those whose model had to go for a guest."""
        self._failing: dict[DeviceId, int] = {}
        self.loading_s = 0.0
        """All that climbs which began take, and loads in workers that kept nothing; environments are left
        out."""
        self.found_loaded = 0
        """Requests that came to a worker in which their model was loaded."""
        self._shares_disks = shares_disks
        self._disks: dict[str, SharedDisk] = {}
        self._functions: dict[Target, FunctionId] = {}
        self._weights = MappedWeights(profiles, shares_weights)
        self._running: dict[RequestId, InstanceId] = {}
        self.on_answer: Callable[[RequestId, InstanceId, float], None] = lambda request, instance, took_s: (
            None
        )

    def connect(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit

    def submit(self, command: Command) -> None:
        if isinstance(command, Build):
            self._build(command)
        elif isinstance(command, Climb):
            self._climb(command)
        elif isinstance(command, Descend):
            self._descend(command)
        elif isinstance(command, Cancel):
            self._cancel(command)

    def slow(self, device: DeviceId, factor: float) -> None:
        """From now on whatever begins on the device takes `factor` times as long."""
        self._pace[device] = factor

    def fail_loads(self, device: DeviceId, count: int) -> None:
        """The next so many loads there fail."""
        self._failing[device] = count

    def lose(self, device: DeviceId) -> None:
        """All that lies there, climbs there and runs there is gone without a word."""
        for instance in [each for each, where in self._device_of.items() if where == device]:
            self._forget(instance)
            for target in [t for t in self._functions if t.kind == "instance" and t.key == str(instance)]:
                self._climbing.pop(target, None)
                del self._functions[target]
        self._copied_at_s.pop(device, None)

    async def close(self) -> None:
        self._emit = lambda event: None

    def is_parked(self, instance: InstanceId) -> bool:
        """Whether it has climbed, and takes requests at once or after those before them."""
        return instance in self._free_at_s

    def dispatch(self, requests: Requests, function: FunctionId, instance: InstanceId) -> None:
        """A gateway sent requests, as one batch, to a worker, which may still be climbing."""
        for request in requests:
            self._running[request] = instance
        if instance in self._free_at_s:
            self.found_loaded += 0 if instance in self._emptied else len(requests)
            self._run(requests, function, instance)
        else:
            self._waiting.setdefault(instance, []).append((requests, function))

    def _run(self, requests: Requests, function: FunctionId, instance: InstanceId) -> None:
        profile = self._profiles[function]
        took_s = profile.run_s if len(requests) == 1 else durations.of_batch(profile, len(requests))
        device = self._device_of.get(instance)
        if device is not None:
            took_s *= self._pace.get(device, 1.0)
        untold_s = 0.0
        if instance in self._emptied:
            took_s += profile.imported_s
            self.loading_s += profile.imported_s
            if self._keeps_loaded:  # else every run loads, and that is what one takes
                self._emptied.discard(instance)
                untold_s = profile.imported_s
        elif not self._keeps_loaded:
            self._emptied.add(instance)
        if profile.jitter:
            took_s = self._vary(function, took_s)
        places = self._free_at_s[instance]
        start_s = max(self._agenda.now_s, places[0], self._gang_ready_s.get(instance, 0.0))
        heapreplace(places, start_s + took_s)
        if start_s > self._agenda.now_s:
            self._agenda.at(start_s, lambda: self._start(requests, instance))
        else:
            self._start(requests, instance)
        self._agenda.at(start_s + took_s, lambda: self._answer(requests, instance, took_s - untold_s))

    def _start(self, requests: Requests, instance: InstanceId) -> None:
        for request in requests:
            if self._running.get(request) == instance:
                self._emit(RequestStarted(request, instance))

    def _answer(self, requests: Requests, instance: InstanceId, took_s: float) -> None:
        for request in requests:
            if self._running.pop(request, None) == instance:
                self.on_answer(request, instance, took_s)

    def _build(self, command: Build) -> None:
        profile = self._profiles[command.spec.function]
        took_s = self._vary(command.spec.function, profile.build_s)
        built = Built(command.id, command.spec.version, command.node, profile.facts, took_s)
        self._agenda.at(self._agenda.now_s + took_s, lambda: self._emit(built))

    def _climb(self, command: Climb) -> None:
        function, target = command.spec.function, command.target
        profile = self._profiles[function]
        if command.displaces is not None:
            self._emptied.add(command.displaces)
        took_s, read_bytes, held_bytes = durations.of_climb(profile, command)
        rested_bytes = self._weights.rested_bytes(profile, target.node, self._agenda.now_s, read_bytes)
        read_s = durations.of_read(profile, read_bytes, rested_bytes)
        if target.kind == "instance":
            self._at_once[InstanceId(int(target.key))] = command.spec.declaration.target_concurrency
        if read_s and self._shares_disks and command.device is None and target.kind != "part":
            self._read_and_climb(
                command, self._vary(function, read_s), self._vary(function, took_s), held_bytes
            )
            return
        took_s, ends_s = self._vary(function, took_s + read_s), self._agenda.now_s
        if command.device is not None:
            took_s *= self._pace.get(command.device, 1.0)
            ends_s = max(ends_s, self._copied_at_s.get(command.device, 0.0))
            self._copied_at_s[command.device] = ends_s + took_s
            self._device_of[InstanceId(int(target.key))] = command.device
        ends_s += took_s
        if target.kind == "part":
            head = InstanceId(int(target.key.partition(".")[0]))
            self._gang_ready_s[head] = max(ends_s, self._gang_ready_s.get(head, 0.0))
        if target.kind != "environment":
            self.loading_s += took_s
            self._weights.map(command)
        self._climbing[target] = command.id
        self._functions[target] = function
        if command.device is not None and self._failing.get(command.device, 0) > 0:
            self._failing[command.device] -= 1
            failed = CommandFailed(command.id, target, "device_failed", "the copy to the device failed")
            self._agenda.at(ends_s, lambda: self._fail(failed))
            return
        reached = StepReached(command.id, target, command.step, took_s, held_bytes)
        self._agenda.at(ends_s, lambda: self._arrive(reached))

    def _read_and_climb(self, command: Climb, read_s: float, then_s: float, held_bytes: int) -> None:
        """Of a worker or a zygote in the node's memory: `read_s` if nobody else reads there, and the rest."""
        target, began_s = command.target, self._agenda.now_s
        self.loading_s += read_s + then_s
        self._weights.map(command)
        self._climbing[target] = command.id
        self._functions[target] = command.spec.function

        def reached() -> None:
            took_s = self._agenda.now_s - began_s
            self._arrive(StepReached(command.id, target, command.step, took_s, held_bytes))

        disk = self._disks.setdefault(target.node, SharedDisk(self._agenda))
        disk.read(target, read_s, lambda: self._agenda.at(self._agenda.now_s + then_s, reached))

    def _fail(self, failed: CommandFailed) -> None:
        if self._climbing.get(failed.target) == failed.command:
            del self._climbing[failed.target]
            self._emit(failed)

    def _arrive(self, reached: StepReached) -> None:
        if self._climbing.get(reached.target) != reached.command:
            return
        del self._climbing[reached.target]
        instance = InstanceId(int(reached.target.key)) if reached.target.kind == "instance" else None
        if instance is not None:
            self._free_at_s[instance] = [self._agenda.now_s] * self._at_once.pop(instance)
        self._emit(reached)
        if instance is not None:
            for requests, function in self._waiting.pop(instance, []):
                self._run(requests, function, instance)

    def _descend(self, command: Descend) -> None:
        self._climbing.pop(command.target, None)
        if command.target.node in self._disks:
            self._disks[command.target.node].give_up(command.target)
        function = self._functions.pop(command.target, None)
        if command.target.kind == "instance":
            self._forget(InstanceId(int(command.target.key)))
        took_s = self._profiles[function].descend_s if function is not None else 0.0
        ends_s = self._weights.let_go(command.target, self._agenda.now_s + took_s)
        lost = StepLost(command.target, command.step, command.why, command.id)
        self._agenda.at(ends_s, lambda: self._emit(lost))

    def _forget(self, instance: InstanceId) -> None:
        self._free_at_s.pop(instance, None)
        self._gang_ready_s.pop(instance, None)
        self._at_once.pop(instance, None)
        self._device_of.pop(instance, None)
        self._emptied.discard(instance)
        self._waiting.pop(instance, None)
        for request in [r for r, where in self._running.items() if where == instance]:
            del self._running[request]

    def _cancel(self, command: Cancel) -> None:
        """Code notices at once that it is to stop."""
        if self._running.pop(command.request, None) == command.instance:
            waiting = self._waiting.get(command.instance, [])
            waiting[:] = [entry for entry in waiting if command.request not in entry[0]]
            done = RequestDone(command.request, command.instance, False, 0.0)
            self._agenda.at(self._agenda.now_s, lambda: self._emit(done))

    def _vary(self, function: FunctionId, seconds: float) -> float:
        jitter = self._profiles[function].jitter
        if not jitter:
            return seconds
        self._draws += 1
        return seconds * (1 + jitter * rng_for(self._seed, self._draws).uniform(-1, 1))
