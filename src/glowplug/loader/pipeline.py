"""One load, from a source to an object that answers: build, fetch, apply and compute, as its strategy says.

    source --- contents --+-- fetch (I/O threads) ---- sink --- gates ---+
                          +-- build (this thread) -----------------------+--- the first pass, behind the gates
                          +-- apply (a thread; only what was constructed)

`begin` returns when the object is built. Its weights may still be on their way; who uses one that is not
there waits for it (gates.py), and gets the error when it cannot come.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from glowplug.loader import background, skeleton
from glowplug.loader.applying import Applier, names_by_unit
from glowplug.loader.arbiter import Priority
from glowplug.loader.arena import NO_ARENA, Arena
from glowplug.loader.checked import Check
from glowplug.loader.construct import without_init
from glowplug.loader.construction import Construction
from glowplug.loader.contents import Contents, no_checksums, read_contents, require_places
from glowplug.loader.delivery import Delivery
from glowplug.loader.destination import IN_FLIGHT_BYTES, destination, reads_at_once, torch_place
from glowplug.loader.devices.base import Device
from glowplug.loader.fetchers import FETCHERS, Fetchers
from glowplug.loader.fitting import Fit, fit
from glowplug.loader.gates import Gates
from glowplug.loader.modes import turn
from glowplug.loader.prime import Prime
from glowplug.loader.rebuild import rebuild, tensors_by_unit
from glowplug.loader.roots import modules_of
from glowplug.loader.sources import FileSource, WeightSource
from glowplug.loader.stages import WHOLE, Recorder, Timeline
from glowplug.loader.strategies import Strategy
from glowplug.loader.tensors import views
from glowplug.loader.terms import priority_like, require_terms

Build = Callable[[], Any]


class Loading:
    """A load in progress, or done. `model` may be used from the start.

    Owns the source and closes it at the end. A process that is forked before `wait` has returned does not get
    what was still on its way: there, who waits for it gets LoadStopped. Other loads may be started there.
    """

    def __init__(
        self,
        source: WeightSource,
        strategy: Strategy,
        priority: Priority,
        weight: float,
        in_flight_bytes: int,
        fetchers: Fetchers,
        watched: bool,
        start_s: float,
    ) -> None:
        self.strategy = strategy
        self.model: Any = None
        self.contents: Contents
        self.weights_checked: Literal["now", "before", "no"] = "no"
        """Whether each byte of the weights is checked on its way, or the file is one of which an earlier load
        checked all, or neither."""
        self._recorder = Recorder(start_s)
        self._source = source
        self._fetchers = fetchers
        self._priority = priority
        self._weight = weight
        self._in_flight_bytes = in_flight_bytes
        self._watched = watched
        self._at_once = strategy.fetch in ("at_once", "mapped")
        """Whether weights are fetched beside the build."""
        self._faults = False
        """Whether the kernel brings a page when somebody touches it."""
        self._on_host = True
        """Whether the weights stay in this process's memory, which no device counts."""
        self._place: Any = None
        """The torch device of the weights, unless they stay in this process's memory."""
        self._gates: Gates
        self._delivery: Delivery

    def run(
        self,
        build: Build | None,
        device: Device,
        arena: Arena,
        only: Sequence[str] | None,
        primed: bool,
        verify: bool | None,
    ) -> None:
        """Builds the object and sends its weights on their way. Called once. Raises as `begin`."""
        with contextlib.ExitStack() as expected:
            expected.enter_context(self._fetchers.expecting(self._priority))
            constructed = self._prepare(build, device, arena, only, primed, verify)
            try:
                # Not `self`: who has the model may have dropped the load.
                background.stop_at_exit(self._delivery)
                if constructed:
                    expected.close()  # it asks for weights when its code has made room for them
                    assert build is not None
                    self._construct(build)
                else:
                    if self._at_once:
                        self._delivery.release_all()
                    expected.close()
                    self._rebuild(only)
            except BaseException:
                self.stop()
                self._delivery.give_back()
                raise

    def _prepare(
        self,
        build: Build | None,
        device: Device,
        arena: Arena,
        only: Sequence[str] | None,
        primed: bool,
        verify: bool | None,
    ) -> bool:
        """All that comes before a weight is asked for. Returns whether the model is to be built by its code.
        After an error the source is closed, and nothing stays reserved."""
        try:
            if primed and only is not None:
                raise ValueError(
                    f"{self._source.name}: the calls that it was packed with name what they like: they are "
                    "read for packs that are trusted, without only="
                )
            with self._recorder.during("fetch"):
                contents = self.contents = read_contents(self._source, primed=primed)
            constructed = contents.skeleton is None or (
                self.strategy.structure == "constructed" and build is not None
            )
            if constructed and build is None:
                raise ValueError(
                    f"{self._source.name}: it holds weights only, and no model to put them into: give the "
                    "function that builds it, as build= (in the shell: --build FILE:NAME)"
                )
            if constructed:
                require_places(contents, self._source.name)
            is_mapped = self.strategy.fetch == "mapped"
            self._on_host = device.name == "cpu"
            self._faults = is_mapped and self._on_host
            file = self._source if is_mapped else None
            # After the header was read: if the file changes from then on, its times do.
            check = Check(file.fileno()) if isinstance(file, FileSource) else None
            self.weights_checked = _checked(contents, verify, check, self._source.name)
            if self.weights_checked != "now":
                contents = self.contents = msgspec.structs.replace(contents, checked=False, sums=None)
            self._gates = Gates(len(contents.header.units), self._recorder, self._watched, self._source.name)
            parallel = reads_at_once(self.strategy, self._source, self._in_flight_bytes)
            to = destination(self._source, contents, self.strategy, device, arena, parallel)
            try:
                if not self._on_host:
                    self._gates.guard = to.sink.guard
                    self._place = torch_place(device, to.sink.memory)
                self._delivery = Delivery(
                    self._source, contents, to, self.strategy, self._priority, self._weight, parallel,
                    self._gates, self._recorder, self._fetchers,
                )  # fmt: skip
                if check is not None and contents.checked:
                    self._delivery.on_whole = check.passed
            except BaseException:
                to.give_back()
                raise
        except BaseException:
            self._source.close()
            raise
        return constructed

    def _rebuild(self, only: Sequence[str] | None) -> None:
        """The skeleton's way: the tensors lie where their bytes will be, so nothing is left to apply. Of a
        strategy that would construct stays when it fetches, how, and what overlaps."""
        contents, gates, delivery = self.contents, self._gates, self._delivery
        assert contents.skeleton is not None
        needed: list[int] = []

        def demand() -> None:
            delivery.release_all()
            gates.wait_all()

        with self._recorder.during("build"):
            tensors = views(contents.header, delivery.memory, self._source.name, self._place)
            if self._faults and not self._watched and not contents.checked:
                # Whoever touches a page that is not there waits for it in the kernel.
                self.model = skeleton.load(contents.skeleton, tensors, self._source.name, only)
            else:
                self.model, needed = rebuild(
                    contents.skeleton, contents.header, tensors, self._source.name, gates, only, demand
                )
        if not self._at_once:
            delivery.release_all()
        for unit in needed:
            gates.wait(unit)
        if not self.strategy.overlap:
            delivery.wait()

    def _construct(self, build: Build) -> None:
        """The papers' way: a model that its own code builds, and tensors that take their places in it."""
        strategy, recorder, contents, delivery = self.strategy, self._recorder, self.contents, self._delivery
        applier = Applier(
            contents, self._gates, recorder, self._source.name, copy=strategy.apply == "copy",
            ordered=strategy.ordered, on_host=self._on_host,
        )  # fmt: skip
        delivery.on_arrival, delivery.on_failure = applier.arrived, applier.cancel
        if self._at_once:
            delivery.release_all()

        def made(unit: int, started_s: float, ended_s: float) -> None:
            recorder.add("build", unit, started_s, ended_s)
            if strategy.fetch == "behind":
                delivery.release((unit,))

        construction = Construction(build, names_by_unit(contents), made)
        if strategy.initialise:
            self.model = construction.run()
        else:
            with without_init():
                self.model = construction.run()
        recorder.add("build", WHOLE, construction.since_s, time.perf_counter())
        turn(self.model, contents.header.turned)
        fitted = self._guarded(strategy.overlap)
        if self._place is not None:
            fitted.move_others(self._place)
        if strategy.overlap:
            exposed = fitted.exposed()
            applier.start(fitted, delivery.memory)
            self._await(exposed)
            return
        delivery.release_all()
        delivery.landed.wait()
        applier.run(fitted, delivery.memory)
        self._gates.wait_all()
        if self._watched:
            self._guarded(True)

    def _await(self, numbers: Sequence[int]) -> None:
        """Returns when these tensors are there."""
        for unit, inside in enumerate(tensors_by_unit(self.contents.header)):
            if not set(inside).isdisjoint(numbers):
                self._gates.wait(unit)

    def _guarded(self, install: bool) -> Fit:
        """Where each tensor goes in the model as it is now; with its gates installed, where they are
        wanted.
        """
        fitted = fit(self.model, self.contents.header, self._source.name)
        if install:
            units = enumerate(tensors_by_unit(self.contents.header))
            unit_of = {id(fitted.own[number]): unit for unit, numbers in units for number in numbers}
            self._gates.install(modules_of(self.model), unit_of)
        return fitted

    @property
    def done(self) -> bool:
        """Whether every weight is in its place."""
        return self._delivery.done

    @property
    def in_flight_bytes(self) -> int:
        """The most that was under way at once. It takes memory beside the model's own where the source
        answers into its own, and on the way to a device."""
        return self._delivery.most_bytes

    def prime(self) -> Prime | None:
        """The calls that the object was packed with. None where there are none, or were not asked for."""
        data = self.contents.prime
        return msgspec.msgpack.decode(data, type=Prime) if data is not None else None

    def wait(self) -> None:
        """Returns when every weight is in its place, on a device too. Raises the error with which the load
        failed."""
        self._delivery.wait()

    def promote(self, priority: Priority) -> None:
        """Somebody more (or less) important waits for this now. Raises ValueError for what is no priority."""
        self._delivery.promote(priority_like(priority))

    def stop(self) -> None:
        """Gives up what is still on its way: who waits for it gets an error. After `done` it does nothing."""
        self._delivery.stop()

    def finish(self, end_s: float | None = None) -> Timeline:
        """What happened when; `end_s` (of time.perf_counter) is when the first answer was there, else now."""
        ended_s = end_s if end_s is not None else time.perf_counter()
        self._gates.unwatch()
        return self._recorder.timeline(self.strategy.name, self.contents.layers, ended_s)


def _checked(
    contents: Contents, verify: bool | None, check: Check | None, name: str
) -> Literal["now", "before", "no"]:
    """What is to be done with weights that have checksums, or may have been done with this file. Raises
    ValueError where there is nothing to verify them by."""
    if verify and not contents.checked and contents.sums is None:
        raise ValueError(no_checksums(name))
    if not verify and (verify is False or not contents.checked):
        return "no"
    return "before" if verify is None and check is not None and check.passed_before() else "now"


def begin(
    source: WeightSource,
    strategy: Strategy,
    *,
    device: Device,
    build: Build | None = None,
    priority: Priority = Priority.INTERACTIVE,
    weight: float = 1.0,
    in_flight_bytes: int = IN_FLIGHT_BYTES,
    arena: Arena = NO_ARENA,
    fetchers: Fetchers = FETCHERS,
    watched: bool = False,
    only: Sequence[str] | None = None,
    primed: bool = False,
    verify: bool | None = None,
) -> Loading:
    """Starts a load and returns when its object is built: by `build` where the strategy constructs and it is
    given, else by the pack's skeleton. Of what its class has of the line it gets a share
    by `weight`. No more than `in_flight_bytes` are under way at once, or one read and its copy. `watched`
    records when each unit was first used, at a small cost to each use. `only` names the modules that a
    skeleton may take classes from, beside torch.nn's; None allows any. `primed` reads the calls for
    `Loading.prime` as well, before anything else.
    `verify` checks all weights, or none; None is those of a pack, but for a mapped file that was checked from
    end to end before, and is the same still (checked.py).

    Raises PackTruncated, PackCorrupt, NotRebuildable, WeightsUnreadable, WeightsMismatch, DeviceFull, what
    the source and `build` raise, and ValueError for weights alone without `build`, for `primed` with `only`,
    for `verify` of a file without checksums, and for a priority, weight, number or list that is none. The
    source is closed then.
    """
    started_s = time.perf_counter()
    try:
        priority = priority_like(priority)
        require_terms(weight, in_flight_bytes, only)
    except BaseException:
        source.close()
        raise
    loading = Loading(source, strategy, priority, weight, in_flight_bytes, fetchers, watched, started_s)
    loading.run(build, device, arena, only, primed, verify)
    return loading
