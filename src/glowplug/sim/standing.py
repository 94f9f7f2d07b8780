"""On which step functions stand, and what is held there, at the moments of a replay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.control.state import ControlState
from glowplug.core.ids import FunctionId
from glowplug.core.ladder import Step
from glowplug.core.status import FunctionStatus

HELD_ON = ("local", "imported", "staged", "parked", "moving")
"""Where bytes are: weights, environments, functions' zygotes, workers, and what climbs or descends."""
_KINDS = {"weights": "local", "version": "staged", "instance": "parked"}


class Standing(msgspec.Struct):
    """Grows by a row a moment. `steps` has the best Step of each function, `held_bytes` all nodes' by
    HELD_ON."""

    steps: list[list[int]] = []
    held_bytes: list[list[float]] = []

    def look(self, state: ControlState, functions: Iterable[FunctionId]) -> None:
        held = dict.fromkeys(HELD_ON, 0)
        ledger = state.context.store.ledger
        for key, holding in state.context.store.holdings.items():
            kind = holding.target.kind
            place = _KINDS.get(kind, "moving") if holding.phase == "up" else "moving"
            held["imported" if kind == "environment" else place] += ledger.held_bytes(key)
        self._add([state.standing(function) for function in functions], held)

    def told(self, functions: Sequence[FunctionStatus], environment_bytes: int) -> None:
        """By a server, of functions in their order."""
        held = dict.fromkeys(HELD_ON, 0)
        held["imported"] = environment_bytes
        for each in (each for function in functions for each in function.held):
            place = "parked" if each.step == "busy" else each.step
            held[place if place in held else "moving"] += each.held_bytes
        self._add([Step[function.step.upper()] for function in functions], held)

    def _add(self, steps: list[Step], held: Mapping[str, int]) -> None:
        self.steps.append([int(step) for step in steps])
        self.held_bytes.append([float(held[place]) for place in HELD_ON])

    def by_function(self) -> NDArray[np.uint8]:
        """(moments, functions)."""
        return np.array(self.steps, np.uint8)

    def by_place(self) -> NDArray[np.float64]:
        """(moments, HELD_ON)."""
        return np.array(self.held_bytes)
