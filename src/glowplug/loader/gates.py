"""Weights that are not there yet: who reaches for one waits until it is.

A module's parameters and buffers live in two dicts, and Python code gets them from nowhere else: not by
attribute, not by `parameters()`, not by `state_dict()`. So the dicts are replaced by ones that wait, as long
as something is missing. (PISeL, CIKM'24, locks by forward hooks; a hook misses a weight that another module
uses, as `nn.MultiheadAttention` does with its output projection's.) What else holds a tensor is told by the
pack (`Header.exposed`) and must be there before the object is handed out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from glowplug.loader.errors import LoadStopped
from glowplug.loader.forks import renew_in_children
from glowplug.loader.stages import Recorder

if TYPE_CHECKING:
    from torch.nn import Module


class Gates:
    """One gate a unit, closed at first. Any thread may open, fail, or wait.

    `on_stall(unit)` is called, in the waiting thread, before it waits: whoever fetches may hurry. With
    `watched` every unit's first use is recorded, and the gates stay until `unwatch`. `name` is what is
    loaded, for errors.

    In a process that is forked before all was there nothing more comes: whoever waits there gets LoadStopped.
    """

    def __init__(
        self, units: int, recorder: Recorder | None = None, watched: bool = False, name: str = "the model"
    ) -> None:
        self._events = [threading.Event() for _ in range(units)]
        self._left = units
        self._error: BaseException | None = None
        # Re-entrant: what is taken out of a module may end there, and its end may change another one.
        self.lock = threading.RLock()
        self._name = name
        self._recorder = recorder
        self._watched = watched
        self._seen = bytearray(units)
        self._modules: list[tuple[Module, str, _Waiting]] = []
        self.waited_s = 0.0
        """Seconds for which somebody waited, over all units."""
        self.on_stall: Callable[[int], object] = lambda unit: None
        self.guard: Callable[[int], object] | None = None
        """On a device a unit that was opened is still being copied: called by whoever uses one, each time,
        until `landed`. Set it before the first unit is opened."""
        renew_in_children(self)

    def renew(self) -> None:
        self.lock = threading.RLock()
        if self._left:
            # Nobody takes the lock of an event that is set.
            self._events = [event if event.is_set() else threading.Event() for event in self._events]
            if self._error is None:
                # One may have been about to be counted.
                self._left = sum(not event.is_set() for event in self._events)
        if self._left or self.guard is not None:
            self.fail(
                LoadStopped(
                    f"{self._name}: this process was forked while its weights were on their way, and they "
                    "come to its parent alone; load it here, or fork when Loading.wait() has returned"
                )
            )
        self._remove_if_useless()

    def open(self, unit: int) -> None:
        """The unit's weights are in their place, or with a `guard` on their way there. A second time does
        nothing. The last one takes the gates away when nobody guards.
        """
        with self.lock:
            if self._events[unit].is_set():
                return
            self._events[unit].set()
            self._left -= 1
        self._remove_if_useless()

    def landed(self) -> None:
        """What was opened is in its place, and so will be what is opened later: no more guarding."""
        with self.lock:
            self.guard = None
        self._remove_if_useless()

    def fail(self, error: BaseException) -> None:
        """No more units will come: whoever waits, now or later, gets `error`."""
        with self.lock:
            self._error = self._error or error
        for event in self._events:
            if not event.is_set():
                event.set()

    @property
    def opened(self) -> bool:
        """Whether everything is there."""
        return not self._left

    @property
    def error(self) -> BaseException | None:
        """Why something will never be there."""
        return self._error

    def wait(self, unit: int) -> None:
        """Returns when the unit is there. Raises the error with which the load failed."""
        if not self._seen[unit]:
            self._first_use(unit)
        elif self._error is not None:
            raise self._error
        self.use(unit)

    def use(self, unit: int) -> None:
        """What this thread computes from now on sees the unit, which has been fetched."""
        guard = self.guard
        if guard is not None:
            # Not only the first time: another thread computes on another stream.
            guard(unit)

    def _first_use(self, unit: int) -> None:
        event = self._events[unit]
        asked_s = time.perf_counter()
        if not event.is_set():
            self.on_stall(unit)
            event.wait()
            self.waited_s += time.perf_counter() - asked_s
        if self._error is not None:
            raise self._error
        self._seen[unit] = 1
        if self._recorder is not None:
            self._recorder.used(unit, asked_s, time.perf_counter())

    def wait_all(self) -> None:
        """Returns when everything is there, for what this thread computes too. Raises as `wait`."""
        for event in self._events:
            if not event.is_set():
                event.wait()
        if self._error is not None:
            raise self._error
        for unit in range(len(self._events)):
            self.use(unit)

    def install(self, modules: Iterable[Module], unit_of: Mapping[int, int]) -> None:
        """Guards the modules' tensors, of which `unit_of` tells the unit by id, but for what needs no guard:
        it is there already."""
        installed: list[tuple[Module, str, _Waiting]] = []
        for module in modules:
            attributes = module.__dict__
            for where in ("_parameters", "_buffers"):
                plain = attributes[where]
                if not plain:
                    continue
                units = {name: unit_of[id(tensor)] for name, tensor in plain.items() if id(tensor) in unit_of}
                if not all(map(self._needless, units.values())):
                    waiting = attributes[where] = _Waiting(plain, units, self)
                    installed.append((module, where, waiting))
        with self.lock:
            self._modules += installed
        self._remove_if_useless()

    def _needless(self, unit: int) -> bool:
        # What failed counts as opened too, and is told by the error, which was there first.
        opened = self._events[unit].is_set() and self._error is None
        return opened and self.guard is None and not self._watched

    def unwatch(self) -> None:
        """No more first uses need be recorded: the gates stay for what is missing alone."""
        with self.lock:
            self._watched = False
        self._remove_if_useless()

    def _remove_if_useless(self) -> None:
        """Gives the modules plain dicts again, once everything is there and nobody wants to know more."""
        with self.lock:
            if self._left or self._error is not None or self.guard is not None or self._watched:
                return
            removed, self._modules = self._modules, []
        for module, where, waiting in removed:
            waiting.retire(module, where)


class _Waiting(dict[str, Any]):
    """A module's parameters or buffers, some of which are still on their way.

    Who reached it before it was retired may write to it after: that goes to its successor too.
    """

    def __init__(self, plain: Mapping[str, Any], units: Mapping[str, int], gates: Gates) -> None:
        super().__init__(plain)
        self._units = units
        self._gates = gates
        self._successor: dict[str, Any] | None = None

    def plain(self) -> dict[str, Any]:
        """What it holds, whether that is there or not."""
        return {name: dict.__getitem__(self, name) for name in dict.__iter__(self)}

    def retire(self, module: Module, where: str) -> None:
        """A plain dict takes its place in the module, if it still has that."""
        with self._gates.lock:
            self._successor = self.plain()
            if module.__dict__.get(where) is self:
                module.__dict__[where] = self._successor

    def _change(self, write: Callable[[dict[str, Any]], Any]) -> Any:
        with self._gates.lock:
            if self._successor is not None:
                write(self._successor)
            return write(super())  # type: ignore[arg-type]

    def _await_all(self) -> None:
        for unit in self._units.values():
            self._gates.wait(unit)

    def __getitem__(self, name: str) -> Any:
        unit = self._units.get(name)
        if unit is not None:
            self._gates.wait(unit)
        return dict.__getitem__(self, name)

    def __iter__(self) -> Iterator[str]:
        # Overridden so that `dict(waiting)` asks for each item instead of copying them as they are.
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 (this is what get does)

    def items(self) -> Any:
        self._await_all()
        return super().items()

    def values(self) -> Any:
        self._await_all()
        return super().values()

    def pop(self, *arguments: Any) -> Any:
        self._await_all()
        return self._change(lambda held: held.pop(*arguments))

    def popitem(self) -> Any:
        self._await_all()
        return self._change(lambda held: held.popitem())

    def setdefault(self, name: str, default: Any = None) -> Any:
        self._await_all()
        return self._change(lambda held: held.setdefault(name, default))

    def __setitem__(self, name: str, value: Any) -> None:
        self._change(lambda held: held.__setitem__(name, value))

    def __delitem__(self, name: str) -> None:
        self._change(lambda held: held.__delitem__(name))

    def update(self, *others: Any, **values: Any) -> None:
        change = dict(*others, **values)
        self._change(lambda held: held.update(change))

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def clear(self) -> None:
        self._change(lambda held: held.clear())

    def copy(self) -> dict[str, Any]:
        self._await_all()
        return self.plain()

    def __or__(self, other: Any) -> Any:
        self._await_all()
        return super().__or__(other)

    def __reduce__(self) -> Any:
        # For copy and pickle: what is made from it is a plain dict of tensors that are there.
        self._await_all()
        return dict, (self.plain(),)
