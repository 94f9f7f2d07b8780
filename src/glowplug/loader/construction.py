"""Watching a build function run: when is which layer there?

PISeL fetches a unit when its layers are built. A layer's name is known only when the whole is put
together, so the first build of a function is watched for what comes when, and later ones are told apart by
counting.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from glowplug.loader.construct import require_module
from glowplug.loader.patching import Patch

if TYPE_CHECKING:
    from torch.nn import Module

_KNOWN: weakref.WeakKeyDictionary[Any, dict[str, int]] = weakref.WeakKeyDictionary()


class Construction:
    """One run of `build`. `made(unit, started_s, ended_s)` is called as each unit's layers are complete.

    `names` are the units' tensors, by their names in the model. A unit is reported in any case, at the latest
    when the build is over.
    """

    def __init__(
        self,
        build: Callable[[], Any],
        names: Sequence[Sequence[str]],
        made: Callable[[int, float, float], object],
    ) -> None:
        self._build = build
        self._made = made
        self._order: list[Module] = []
        self._due = _due(_known(build), names)
        self._waiting = list(range(len(names)))
        self.since_s = 0.0
        """When the unit that was made last was complete: what follows belongs to none."""

    def run(self) -> Any:
        """What `build` returns. Raises what it raises, ValueError for what is no module."""
        self.since_s = time.perf_counter()
        with _COUNTING.block(self._begins):
            built = self._build()
        require_module(built, self._build)
        if not _known(self._build):
            with contextlib.suppress(TypeError):  # as of a dataclass
                _KNOWN[self._build] = completed_at(built, self._order)
        self._report(lambda unit: True)
        return built

    def _begins(self, module: Module) -> None:
        """Those before it are complete, but for the ones it is a part of."""
        self._order.append(module)
        begun = len(self._order)
        if self._waiting and self._due:
            self._report(lambda unit: self._due.get(unit, begun) < begun)

    def _report(self, complete: Callable[[int], bool]) -> None:
        now_s = time.perf_counter()
        found = [unit for unit in self._waiting if complete(unit)]
        for unit in found:
            self._waiting.remove(unit)
            self._made(unit, self.since_s, now_s)
        if found:
            self.since_s = now_s


def _known(build: Callable[[], Any]) -> dict[str, int]:
    """What was seen when it ran before; nothing of what cannot be told again, having no hash."""
    try:
        return _KNOWN.get(build, {})
    except TypeError:
        return {}


def _module() -> type[Module]:
    from torch import nn

    return nn.Module


def _counted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def counted(self: Module, *args: Any, **kwargs: Any) -> None:
        for begins in _COUNTING.inner:
            begins(self)
        original(self, *args, **kwargs)

    return counted


_COUNTING: Patch[Callable[[Module], None]] = Patch(_module, ("__init__",), _counted)
"""Tells of every module that the thread in a block begins to build."""


def completed_at(built: Any, order: Sequence[Module]) -> dict[str, int]:
    """By tensor name: how many modules had begun when its layer, and all in it, were complete."""
    place = {id(module): number for number, module in enumerate(order, 1)}
    found: dict[str, int] = {}
    for path, module in built.named_modules(remove_duplicate=False):
        last = max(place.get(id(part), 0) for part in module.modules())
        for name in (*module._parameters, *module._buffers):
            found[f"{path}.{name}" if path else name] = last
    return found


def _due(completed: Mapping[str, int], names: Sequence[Sequence[str]]) -> dict[int, int]:
    if not completed:
        return {}
    return {
        unit: max((completed.get(name, 0) for name in inside), default=0) for unit, inside in enumerate(names)
    }
