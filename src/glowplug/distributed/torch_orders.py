"""What a worker of a torch model's run is told: the run's orders, the same for all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from glowplug.core.errors import WeightsError
from glowplug.distributed import run_orders
from glowplug.distributed.orders import ROOT
from glowplug.distributed.result_log import HEAD_BYTES, ResultLog, whole
from glowplug.distributed.run_orders import RunOrders

VERSION = 2
FIRST = 1
"""The step in which the second worker of a group is given the first sample."""


class TorchOrders(RunOrders, frozen=True, kw_only=True):
    """Each group of `stages` workers has the whole model, and the samples from one of `shares` on up to
    another; its first worker is the head (`stages.py`). Sample n is input n modulo how many `inputs` has.

    A head has at most `window` samples under way, and writes each result to its log in the folder `logs`.
    What was got is forgotten after `forgotten_every` samples: who is lost sends its whole group back.
    `parts` is a folder with a pack for each stage, `modules` are those from which their classes are
    imported.
    """

    stages: int
    shares: tuple[tuple[int, int], ...]
    inputs: str
    parts: str
    logs: str
    modules: tuple[str, ...]
    window: int
    forgotten_every: int
    version: int = VERSION

    @property
    def samples(self) -> int:
        return self.shares[-1][1]

    @property
    def gather(self) -> int:
        """The step in which the root gets the other heads' results."""
        return FIRST + self.samples * self.stages

    def step(self, sample: int, stage: int) -> int:
        """In which `stage` is given a sample; the head, as the one after the last, what came of it."""
        return FIRST + sample * self.stages + stage - 1

    def log(self, group: int) -> Path:
        return Path(self.logs) / f"{group}.results"

    @property
    def result(self) -> Path:
        return Path(self.logs) / "all.results"

    def seat(self, worker: int) -> Seat:
        group, stage = divmod(worker, self.stages)
        return Seat(self, group, stage)


class Seat:
    """One worker's place: stage `stage` of `group`."""

    def __init__(self, orders: TorchOrders, group: int, stage: int) -> None:
        self._orders, self.group, self.stage = orders, group, stage
        self.first, self.end = orders.shares[group]
        self.is_head = stage == 0
        self.is_last = stage == orders.stages - 1
        self.worker = group * orders.stages + stage
        self.source = self.worker - 1 if stage else self.worker + orders.stages - 1
        self.target = self.worker - stage if self.is_last else self.worker + 1

    @property
    def is_root(self) -> bool:
        return self.worker == ROOT

    def receives(self, sample: int) -> int:
        """The step in which it is handed a sample, or as the head what came of it."""
        return self._orders.step(sample, self.stage or self._orders.stages)

    def sends(self, sample: int) -> int:
        """The step in which the next worker is handed a sample by this one."""
        return self._orders.step(sample, self.stage + 1)

    def sources(self) -> dict[int, list[int]]:
        """Who sends this worker something for a step."""
        found = {} if self._orders.stages == 1 else {self.receives(n): [self.source] for n in self._samples()}
        if self.is_root and len(self._orders.shares) > 1:
            found[self._orders.gather] = [
                group * self._orders.stages for group in range(1, len(self._orders.shares))
            ]
        return found

    def targets(self) -> dict[int, list[int]]:
        """Whom this worker sends something for a step of theirs."""
        found = {} if self._orders.stages == 1 else {self.sends(n): [self.target] for n in self._samples()}
        if self.is_head and not self.is_root:
            found[self._orders.gather] = [ROOT]
        return found

    def _samples(self) -> Iterable[int]:
        return range(self.first, self.end)


def write_inputs(packed: Sequence[bytes], path: Path) -> None:
    """Each as `carry.pack` made it, so that it can be unpacked for each call of the model."""
    log = ResultLog(path)
    for body in packed:
        log.add(body)
    log.close()


def read_inputs(orders: TorchOrders) -> list[memoryview]:
    """Raises WeightsError."""
    content = Path(orders.inputs).read_bytes()
    found = list(whole(content))
    if sum(HEAD_BYTES + len(each) for each in found) != len(content):
        raise WeightsError(f"{Path(orders.inputs).name} of {orders.run} are damaged")
    return found


def write_torch_orders(orders: TorchOrders, path: Path) -> None:
    run_orders.write(orders, path)


def read_torch_orders(path: Path) -> TorchOrders:
    """Raises WeightsError for orders of another version, or that are none."""
    return run_orders.read(path, TorchOrders, VERSION)
