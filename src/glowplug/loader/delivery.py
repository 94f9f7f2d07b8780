"""The weights of one load on their way: released in some order, fetched by I/O threads, and told of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from glowplug.loader.arbiter import Priority
from glowplug.loader.contents import Contents
from glowplug.loader.destination import Destination
from glowplug.loader.errors import LoadStopped
from glowplug.loader.fetchers import Fetchers
from glowplug.loader.fetching import Fetch
from glowplug.loader.forks import renew_in_children
from glowplug.loader.gates import Gates
from glowplug.loader.sources import WeightSource
from glowplug.loader.stages import Recorder
from glowplug.loader.strategies import Strategy


class Delivery:
    """Brings what is released from `source` to its destination; nothing is read before that.

    Closes `source` when its last read has ended. An error goes to whoever waits at the gates.
    """

    def __init__(
        self,
        source: WeightSource,
        contents: Contents,
        to: Destination,
        strategy: Strategy,
        priority: Priority,
        weight: float,
        parallel: int,
        gates: Gates,
        recorder: Recorder,
        fetchers: Fetchers,
    ) -> None:
        self.memory = to.sink.memory
        self.landed = threading.Event()
        """Whether all that was fetched, or will ever be, is where it belongs."""
        self.on_arrival: Callable[[int], object] = gates.open
        """Told of each unit in an I/O thread, or of an empty one in the thread that releases it."""
        self.on_failure: Callable[[], object] = lambda: None
        """Nothing more arrives, or what came could not be put in its place."""
        self.on_whole: Callable[[], object] = lambda: None
        """Every unit has been read; the source is still open. Told in an I/O thread."""
        self._source = source
        self._to = to
        self._gates = gates
        self._fetchers = fetchers
        self._is_scheduled = strategy.scheduled
        self._units = contents.header.units
        self._released: set[int] = set()
        self._fetch = Fetch(to.source, contents, to.sink, self._arrived, self._failed, self._finish, recorder)
        self._number = fetchers.start(self._fetch, priority, weight=weight, parallel=parallel)
        if strategy.scheduled:
            gates.on_stall = self._stalled
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: what has not come never will there, as the gates say by themselves."""
        was_under_way = not self.landed.is_set()
        self.landed = threading.Event()
        self.landed.set()
        if was_under_way:
            self._fetch.renew()
            self.on_failure()

    def release(self, units: Sequence[int]) -> None:
        """These may be fetched now, in this order, after those released before."""
        self._released.update(units)
        empty = [unit for unit in units if not self._units[unit].nbytes]
        wanted = [unit for unit in units if unit not in empty]
        self._fetchers.release(self._number, wanted, self._to.sink.read_bytes)
        for unit in empty:
            self.on_arrival(unit)
        if self._fetch.end_if_empty():
            self._fetchers.forget(self._number)

    def release_all(self) -> None:
        """Those that were not yet, in the order of the file."""
        left = [unit for unit in self._fetch.units if unit not in self._released]
        if left or not self._released:
            self.release(left)

    @property
    def done(self) -> bool:
        """Whether every weight is in its place."""
        return self._gates.opened and self._gates.error is None and self.landed.is_set()

    @property
    def most_bytes(self) -> int:
        """The most that was under way at once."""
        return self._fetch.most_bytes

    def wait(self) -> None:
        """Returns when every weight is in its place, on a device too. Raises the error with which the load
        failed."""
        self._gates.wait_all()
        self.landed.wait()
        self._gates.wait_all()  # a copy may have failed on its way

    def promote(self, priority: Priority) -> None:
        self._fetchers.promote(self._number, priority)

    def stop(self) -> None:
        """Gives up what is still on its way: who waits for it gets LoadStopped. After `done` it does
        nothing."""
        self._fetchers.stop(self._number, LoadStopped(f"{self._source.name}: the load was given up"))

    def give_back(self) -> None:
        """The room of weights that nobody will use. Again is not an error."""
        self._to.give_back()

    def _arrived(self, unit: int) -> None:
        self.on_arrival(unit)
        if self._is_scheduled:
            self._fetchers.go_on(self._number, unit)

    def _stalled(self, unit: int) -> None:
        self._fetchers.stall(self._number, unit)

    def _failed(self, error: BaseException) -> None:
        self._gates.fail(error)
        self.on_failure()
        self._to.give_back()

    def _finish(self) -> None:
        """The last read has ended."""
        if self._fetch.whole:
            self.on_whole()
        self._source.close()
        try:
            self._to.sink.finish()
        except BaseException as error:
            self._failed(error)
        self._gates.landed()
        self.landed.set()
