"""The workers of a run as whoever started it sees them: whom to start, whom to replace, when it is over. No
I/O."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from glowplug.core.errors import GlowplugError
from glowplug.distributed.errors import GangLost
from glowplug.distributed.exchange import ATTEMPTS
from glowplug.distributed.notes import MOST_INCARNATIONS
from glowplug.distributed.orders import ROOT
from glowplug.distributed.start import Place
from glowplug.policy.plans.tree import launch_tree

MOST_LOSSES = 16
"""Workers that a run replaces before it gives up, and times that all of them go back."""


class Begin(msgspec.Struct, frozen=True):
    """Start a worker, which is to launch others."""

    place: Place
    launches: tuple[int, ...]


class GoBack(msgspec.Struct, frozen=True):
    """End all workers, find the lines that each group of them can begin at, and say `gone_back`."""

    epoch: int


class End(msgspec.Struct, frozen=True):
    """The root has the result, or else why there is none."""

    error: GlowplugError | None = None


Command = Begin | GoBack | End


class Gang:
    """Events in, commands out. What it hears of an earlier epoch or incarnation is late and changes
    nothing."""

    def __init__(
        self,
        run: str,
        workers: int,
        branching: int | None = None,
        replaceable: Collection[int] | None = None,
        most_losses: int = MOST_LOSSES,
    ) -> None:
        self.epoch = 0
        self.losses = 0
        self._run, self._most_losses = run, most_losses
        self._replaceable = range(workers) if replaceable is None else replaceable
        self._tree = launch_tree(workers, branching)
        self._running: dict[int, Place] = {}
        self._finished: set[int] = set()
        self._leaves = False
        self._over = False

    def start(self) -> list[Command]:
        """The first of the launch tree; each launches those below it."""
        return self._begin(self._children(-1))

    def asked(self, worker: int) -> list[Command]:
        """Another worker launches this one. Whoever takes over for that one launches it again."""
        return self._begin((worker,))

    def finished(self, place: Place, *, keeps: bool = False) -> list[Command]:
        """One that `keeps` what it sent leaves with it: nobody can take over any more in this epoch."""
        if not self._is_current(place):
            return []
        del self._running[place.worker]
        self._finished.add(place.worker)
        self._leaves |= keeps
        return self._end() if place.worker == ROOT else []

    def lost(self, place: Place, why: str) -> list[Command]:
        """It is gone, and nobody knows how far it came."""
        if not self._is_current(place):
            return []
        self.losses += 1
        if self.losses > self._most_losses:
            return self._end(
                GangLost(f"worker {place.worker} {why}, and {self.losses - 1} were replaced already")
            )
        is_replaceable = place.worker in self._replaceable and not self._leaves
        if place.incarnation + 1 == MOST_INCARNATIONS or not is_replaceable:
            return self._go_back()
        following = msgspec.structs.replace(place, incarnation=place.incarnation + 1)
        self._running[place.worker] = following
        return [Begin(following, self._children(place.worker))]

    def stuck(self, place: Place, why: str) -> list[Command]:
        """It waits for what nobody has any more."""
        if not self._is_current(place):
            return []
        self.losses += 1
        if self.losses > self._most_losses or self.epoch + 1 == ATTEMPTS:
            return self._end(GangLost(f"{why}, and the run went back {self.epoch} times already"))
        return self._go_back()

    def failed(self, place: Place, error: GlowplugError) -> list[Command]:
        """It ended with an error that another try would meet again."""
        return self._end(error) if self._is_current(place) else []

    def gone_back(self) -> list[Command]:
        return self.start()

    def validate(self) -> None:
        assert not self._running.keys() & self._finished
        assert all(place.epoch == self.epoch for place in self._running.values())
        assert all(place.incarnation < MOST_INCARNATIONS for place in self._running.values())
        assert self._over or self.losses <= self._most_losses

    def _begin(self, workers: tuple[int, ...]) -> list[Command]:
        fresh = [each for each in workers if each not in self._running and each not in self._finished]
        if self._over:
            return []
        self._running.update({worker: Place(self._run, worker, self.epoch) for worker in fresh})
        return [Begin(self._running[worker], self._children(worker)) for worker in fresh]

    def _children(self, worker: int) -> tuple[int, ...]:
        return tuple(self._tree.children(worker))

    def _go_back(self) -> list[Command]:
        self.epoch += 1
        self._running.clear()
        self._finished.clear()
        self._leaves = False
        return [GoBack(self.epoch)]

    def _end(self, error: GlowplugError | None = None) -> list[Command]:
        self._over = True
        self._running.clear()
        return [End(error)]

    def _is_current(self, place: Place) -> bool:
        return self._running.get(place.worker) == place
