"""One load, from a source to an object that answers: build, fetch, apply and compute, as its strategy says.

    source --- contents --+-- fetch (I/O threads) ---- sink --- gates ---+
                          +-- build (this thread) -----------------------+--- the first pass, behind the gates
                          +-- apply (a thread; only what was constructed)

`begin` returns when the object is built. Its weights may still be on their way; who uses one that is not
there waits for it (gates.py), and gets the error when it cannot come.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from glowplug.loader import skeleton
from glowplug.loader.applying import Applier, names_by_unit
from glowplug.loader.arbiter import Priority
from glowplug.loader.arena import NO_ARENA, Arena
from glowplug.loader.construct import without_init
from glowplug.loader.construction import Construction
from glowplug.loader.contents import Contents, read_contents
from glowplug.loader.devices.base import Device, Reservation
from glowplug.loader.errors import LoadStopped
from glowplug.loader.fetching import FETCHERS, Fetch, Fetchers
from glowplug.loader.fitting import Fit, fit
from glowplug.loader.gates import Gates
from glowplug.loader.mapping_source import map_weights
from glowplug.loader.prime import Prime
from glowplug.loader.rebuild import rebuild, tensors_by_unit
from glowplug.loader.roots import modules_of
from glowplug.loader.sinks import DeviceSink, HostSink, MappedDeviceSink, Sink
from glowplug.loader.sources import WeightSource
from glowplug.loader.stages import WHOLE, Recorder, Timeline
from glowplug.loader.strategies import Strategy
from glowplug.loader.tensors import views

Build = Callable[[], Any]


class Loading:
    """A load in progress, or done. `model` may be used from the start.

    Owns the source and closes it at the end. Do not fork before `wait` has returned: threads are at work.
    """

    def __init__(
        self,
        source: WeightSource,
        strategy: Strategy,
        priority: Priority,
        fetchers: Fetchers,
        watched: bool,
        start_s: float,
    ) -> None:
        self.strategy = strategy
        self.model: Any = None
        self.contents: Contents
        self._recorder = Recorder(start_s)
        self._source = source
        self._fetchers = fetchers
        self._priority = priority
        self._watched = watched
        self._number = 0
        self._faults = False
        self._gates: Gates
        self._landed = threading.Event()
        """Whether all that was fetched, or will ever be, is where it belongs."""
        self._fetch: Fetch
        self._read_bytes: int
        self._on_arrival: Callable[[int], object] = lambda unit: None
        self._on_failure: Callable[[], object] = lambda: None
        self._give_back: Callable[[], object] = lambda: None
        """Room on a device; it stays reserved for as long as the process lives when the load ends well."""

    def run(
        self,
        build: Build | None,
        device: Device,
        arena: Arena,
        only: Sequence[str] | None,
        primed: bool,
        verify: bool,
    ) -> None:
        """Builds the object and sends its weights on their way. Called once. Raises as `begin`."""
        try:
            with self._recorder.during("fetch"):
                contents = self.contents = read_contents(self._source, primed=primed)
            constructed = contents.skeleton is None or self.strategy.structure == "constructed"
            if constructed and build is None:
                why = f"strategy {self.strategy.name} builds the model itself"
                if contents.skeleton is None:
                    why = "it holds weights only, and no model to put them into"
                raise ValueError(f"{self._source.name}: {why}: give the function that builds it, as build=")
            is_mapped = self.strategy.fetch == "mapped"
            self._faults = is_mapped and device.name == "cpu"
            if is_mapped and not verify:
                # What lies on the node's own disk was checked when it came there.
                contents = self.contents = msgspec.structs.replace(contents, checked=False)
            self._gates = Gates(len(contents.header.units), self._recorder, self._watched)
            sink, source = self._sink(device, arena)
        except BaseException:
            self._give_back()
            self._source.close()
            raise
        self._read_bytes = sink.read_bytes
        if device.name != "cpu":
            self._gates.guard = sink.guard
        # From here on the fetch closes the source, when its last read has ended.
        self._fetch = Fetch(
            source, contents, sink, self._arrived, self._failed, partial(self._finish, sink), self._recorder
        )
        parallel = self.strategy.parallel or self._source.advice.parallel
        self._number = self._fetchers.start(self._fetch, self._priority, parallel=parallel)
        if self.strategy.scheduled:
            self._gates.on_stall = self._stalled
        try:
            if constructed:
                assert build is not None
                self._construct(build, sink)
            else:
                self._rebuild(sink, only)
        except BaseException:
            self.stop()
            raise

    def _sink(self, device: Device, arena: Arena) -> tuple[Sink, WeightSource]:
        """Where the weights go, and the source that brings them there."""
        nbytes = self.contents.header.weights_nbytes
        if not nbytes:
            return HostSink(None), self._source
        if self.strategy.fetch == "mapped":
            memory, populating = map_weights(
                self._source, self.contents.weights_offset, nbytes, private=self._faults
            )
            if self._faults:
                return HostSink(memory), populating
            reservation = self._room(device, nbytes)
            return MappedDeviceSink(device, device.allocate(reservation), memory), populating
        if device.name == "cpu":
            lender = arena if self.strategy.recycled else NO_ARENA
            return HostSink(lender.lend(nbytes)), self._source
        slots = self.strategy.parallel or self._source.advice.parallel
        reservation = self._room(device, nbytes)
        return DeviceSink(device, device.allocate(reservation), slots + 1), self._source

    def _room(self, device: Device, nbytes: int) -> Reservation:
        reservation = device.reserve(nbytes)
        self._give_back = lambda: device.release(reservation)
        return reservation

    def _finish(self, sink: Sink) -> None:
        """The last read has ended."""
        self._source.close()
        try:
            sink.finish()
        except BaseException as error:
            self._failed(error)
        self._gates.landed()
        self._landed.set()

    def _rebuild(self, sink: Sink, only: Sequence[str] | None) -> None:
        """The skeleton's way: the tensors lie where their bytes will be, so nothing is left to apply."""
        contents = self.contents
        assert contents.skeleton is not None
        self._on_arrival = self._gates.open
        self._release(self._fetch.units)
        with self._recorder.during("build"):
            tensors = views(contents.header, sink.memory, self._source.name)
            if self._faults and not self._watched and not contents.checked:
                # Whoever touches a page that is not there waits for it in the kernel.
                self.model = skeleton.load(contents.skeleton, tensors, self._source.name, only)
            else:
                self.model = rebuild(
                    contents.skeleton, contents.header, tensors, self._source.name, self._gates, only
                )

    def _construct(self, build: Build, sink: Sink) -> None:
        """The papers' way: a model that its own code builds, and tensors that take their places in it."""
        strategy, recorder, contents = self.strategy, self._recorder, self.contents
        applier = Applier(
            contents, self._gates, recorder, copy=strategy.apply == "copy", ordered=strategy.ordered
        )
        self._on_arrival, self._on_failure = applier.arrived, applier.cancel
        if strategy.fetch in ("at_once", "mapped"):
            self._release(self._fetch.units)

        def made(unit: int, started_s: float, ended_s: float) -> None:
            recorder.add("build", unit, started_s, ended_s)
            if strategy.fetch == "behind":
                self._release((unit,))

        construction = Construction(build, names_by_unit(contents), made)
        if strategy.initialise:
            self.model = construction.run()
        else:
            with without_init():
                self.model = construction.run()
        recorder.add("build", WHOLE, construction.since_s, time.perf_counter())
        self.model.eval()
        fitted = self._guarded(strategy.overlap)
        if strategy.overlap:
            applier.start(fitted, sink.memory)
            return
        self._release(self._fetch.units)
        self._landed.wait()
        applier.run(fitted, sink.memory)
        self._gates.wait_all()
        if self._watched:
            self._guarded(True)

    def _guarded(self, install: bool) -> Fit:
        """Where each tensor goes in the model as it is now; with its gates installed, where they are
        wanted.
        """
        fitted = fit(self.model, self.contents.header.tensors, self._source.name)
        if install:
            units = enumerate(tensors_by_unit(self.contents.header))
            unit_of = {id(fitted.own[number]): unit for unit, numbers in units for number in numbers}
            self._gates.install(modules_of(self.model), unit_of)
        return fitted

    def _release(self, units: Sequence[int]) -> None:
        empty = [unit for unit in units if not self.contents.header.units[unit].nbytes]
        wanted = [unit for unit in units if unit not in empty]
        self._fetchers.release(self._number, wanted, self._read_bytes)
        for unit in empty:
            self._on_arrival(unit)
        if self._fetch.end_if_empty():
            self._fetchers.forget(self._number)

    def _arrived(self, unit: int) -> None:
        self._on_arrival(unit)
        if self.strategy.scheduled:
            self._fetchers.go_on(self._number, unit)

    def _failed(self, error: BaseException) -> None:
        self._gates.fail(error)
        self._on_failure()
        self._give_back()

    def _stalled(self, unit: int) -> None:
        self._fetchers.stall(self._number, unit)

    @property
    def done(self) -> bool:
        """Whether every weight is in its place."""
        return self._gates.opened and self._landed.is_set()

    def prime(self) -> Prime | None:
        """The calls that the object was packed with. None where there are none, or were not asked for."""
        data = self.contents.prime
        return msgspec.msgpack.decode(data, type=Prime) if data is not None else None

    def wait(self) -> None:
        """Returns when every weight is in its place, on a device too. Raises the error with which the load
        failed."""
        self._gates.wait_all()
        self._landed.wait()
        self._gates.wait_all()  # a copy may have failed on its way

    def promote(self, priority: Priority) -> None:
        """Somebody more (or less) important waits for this now."""
        self._priority = priority
        self._fetchers.promote(self._number, priority)

    def stop(self) -> None:
        """Gives up what is still on its way: who waits for it gets an error. After `done` it does nothing."""
        self._fetchers.stop(self._number, LoadStopped(f"{self._source.name}: the load was given up"))

    def finish(self, end_s: float | None = None) -> Timeline:
        """What happened when; `end_s` (of time.perf_counter) is when the first answer was there, else now."""
        ended_s = end_s if end_s is not None else time.perf_counter()
        self._gates.remove()
        return self._recorder.timeline(self.strategy.name, self.contents.layers, ended_s)


def begin(
    source: WeightSource,
    strategy: Strategy,
    *,
    device: Device,
    build: Build | None = None,
    priority: Priority = Priority.INTERACTIVE,
    arena: Arena = NO_ARENA,
    fetchers: Fetchers = FETCHERS,
    watched: bool = False,
    only: Sequence[str] | None = None,
    primed: bool = False,
    verify: bool = False,
) -> Loading:
    """Starts a load and returns when its object is built. `watched` records when each unit was first used,
    at a small cost to each use. `only` names the modules that a skeleton may take classes from, beside
    torch.nn's; None allows any. `primed` reads the calls for `Loading.prime` as well, before anything else.
    `verify` checks also what is mapped.

    Raises PackTruncated, PackCorrupt, NotRebuildable, WeightsUnreadable, WeightsMismatch, DeviceFull, what
    the source and `build` raise, and ValueError for a strategy that needs what is not given.
    """
    loading = Loading(source, strategy, priority, fetchers, watched, time.perf_counter())
    loading.run(build, device, arena, only, primed, verify)
    return loading
