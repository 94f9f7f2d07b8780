"""Applying: what arrived becomes the tensors of a model that was built by itself."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from glowplug.loader import background
from glowplug.loader.alignment import astray
from glowplug.loader.contents import Contents
from glowplug.loader.errors import WeightsMismatch
from glowplug.loader.fitting import Fit
from glowplug.loader.gates import Gates
from glowplug.loader.naming import called, location
from glowplug.loader.rebuild import tensors_by_unit
from glowplug.loader.sharing import fill, same
from glowplug.loader.stages import Recorder
from glowplug.loader.tensors import views

if TYPE_CHECKING:
    from torch import Tensor


class Applier:
    """Applies units as they arrive, in a thread of its own or in the caller's.

    `source` is named in errors. `on_host` tells whether the weights stay in this process's memory: kernels
    there care where they begin. `arrived` may be called from any thread, also before the model is built. Ends
    with its gates all open or failed.
    """

    def __init__(
        self,
        contents: Contents,
        gates: Gates,
        recorder: Recorder,
        source: str,
        *,
        copy: bool,
        ordered: bool,
        on_host: bool,
    ) -> None:
        self._contents = contents
        self._source = source
        self._gates = gates
        self._recorder = recorder
        self._copy = copy
        self._ordered = ordered
        self._on_host = on_host
        self._arrivals: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def arrived(self, unit: int) -> None:
        self._arrivals.put(unit)

    def cancel(self) -> None:
        """Nothing more arrives."""
        self._arrivals.put(None)

    def start(self, fitted: Fit, memory: Any) -> None:
        """Applies in a thread of its own."""
        background.start(self.run, fitted, memory, name="apply")

    def run(self, fitted: Fit, memory: Any) -> None:
        """Applies until everything is; errors go to whoever waits at the gates."""
        try:
            self._run(fitted, memory)
        except BaseException as error:
            self._gates.fail(error)

    def _run(self, fitted: Fit, memory: Any) -> None:
        import torch

        header = self._contents.header
        tensors = views(header, memory, self._source)
        # A pack has all where kernels expect it. On a device all stays in the room that was reserved there.
        settles = self._on_host and self._contents.skeleton is None
        moved = astray(header, tensors) if settles else frozenset()
        inside = tensors_by_unit(header)
        left = len(header.units)
        held: set[int] = set()
        given: dict[int, tuple[int, int]] = {}
        """By the model's own tensor: which of the file it got, and from which unit."""
        expected = 0
        with torch.no_grad():
            while left:
                unit = self._arrivals.get()
                if unit is None:
                    return
                held.add(unit)
                ready = [unit]
                if self._ordered:
                    ready = []
                    while expected in held:
                        ready.append(expected)
                        expected += 1
                for one in ready:
                    with self._recorder.during("apply", one):
                        for number in inside[one]:
                            first = given.setdefault(id(fitted.own[number]), (number, one))
                            if first[0] == number:
                                self._apply(fitted, number, one, tensors[number], number in moved)
                                self._require_kept(fitted, number, given, tensors)
                            else:
                                self._require_same(first, (number, one), tensors)
                    self._gates.open(one)
                    left -= 1

    def _apply(self, fitted: Fit, number: int, unit: int, value: Tensor, moved: bool) -> None:
        import torch

        own = fitted.own[number]
        copied = self._copy and own.device == value.device
        reads = copied or moved or fitted.copies(number, value)
        if reads:
            # On a device its copy may still be under way. What is only assigned is waited for by who uses it.
            self._gates.use(unit)
        try:
            if copied:
                fill(own, value)
            else:
                fitted.assign(number, value.clone() if moved else value)
        except ValueError as error:
            header = self._contents.header
            line = f"{called(header, number)}: {error} ({location(header, number)})"
            raise WeightsMismatch(self._source, [line]) from error
        if reads and value.is_cuda:
            # Whoever uses it next may do so on another stream, and waits for the unit's copy alone.
            torch.cuda.current_stream(value.device).synchronize()

    def _require_kept(
        self, fitted: Fit, number: int, given: dict[int, tuple[int, int]], tensors: Sequence[Tensor]
    ) -> None:
        """Whoever has some of the memory just written has its own value still. Raises WeightsMismatch."""
        for one in fitted.overlapping.get(id(fitted.own[number]), ()):
            if one not in given:
                continue
            other, unit = given[one]
            own, value = fitted.own[other], tensors[other]
            if own.data_ptr() == value.data_ptr() or own.device != value.device:
                continue
            self._gates.use(unit)
            if not same(own, value):
                header = self._contents.header
                line = (
                    f"{called(header, other)}: shares its memory with another one in the module, for "
                    f"which the file has other values ({location(header, other)})"
                )
                raise WeightsMismatch(self._source, [line])

    def _require_same(
        self, first: tuple[int, int], second: tuple[int, int], tensors: Sequence[Tensor]
    ) -> None:
        """A file may hold a tied tensor under each of its names. Raises WeightsMismatch if they differ."""
        import torch

        for _, unit in (first, second):
            self._gates.use(unit)
        one, other = tensors[first[0]], tensors[second[0]]
        if one.data_ptr() != other.data_ptr() and not torch.equal(one, other):
            header = self._contents.header
            names = [called(header, number) for number, _ in (first, second)]
            line = (
                f"{names[1]}: is tied to {names[0]} in the module, but the file has other values for it "
                f"({location(header, second[0])})"
            )
            raise WeightsMismatch(self._source, [line])


def names_by_unit(contents: Contents) -> Sequence[Sequence[str]]:
    """The names of the tensors in each unit."""
    tensors = contents.header.tensors
    return [[tensors[number].name for number in numbers] for numbers in tensors_by_unit(contents.header)]
