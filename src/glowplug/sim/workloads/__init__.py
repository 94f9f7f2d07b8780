"""Workloads: who is called when. Readers of recorded traces and seeded generators, all named by one text."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from glowplug.sim.workloads.trace import Trace


class Workload(Protocol):
    """The settings of a kind: a frozen msgspec Struct, converted from the text that names a workload."""

    def trace(self, seed: int) -> Trace:
        """The calls. The same seed gives the same calls; a reader may draw nothing.

        Raises InvalidTrace for a file that is not as it should be, InvalidWorkload for parameters that do not
        go together.
        """


@runtime_checkable
class Derived(Protocol):
    """A workload made of a recorded one by moving its calls."""

    def source(self, seed: int) -> Trace:
        """The recorded calls, under the same numbers of functions."""
