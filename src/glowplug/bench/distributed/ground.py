"""What the parts of `distributed` share: a network with its partitions, and what its messages take, made
once."""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from glowplug.bench.distributed import paper
from glowplug.bench.distributed.options import Options, Tell
from glowplug.distributed.calibration import calibrate
from glowplug.distributed.network import Floats
from glowplug.distributed.partition import store
from glowplug.distributed.partition.methods import partition
from glowplug.distributed.partition.result import Partition
from glowplug.distributed.planning import surveyed
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.digits import digits
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.model import MachineModel

PAPER_LOOKED_AT = 6
"""Text takes its time: so many of a layer's messages are written."""


@lru_cache(maxsize=8)
def ground_of(options: Options, neurons: int, seed: int, tell: Tell) -> Ground:
    """The same for every part."""
    return Ground(options, neurons, seed, tell)


class Ground:
    """One network and its inputs. What is asked for is made then, and kept."""

    def __init__(self, options: Options, neurons: int, seed: int, tell: Tell) -> None:
        self.options = options
        self.neurons = neurons
        self.seed = seed
        self.network = ChallengeNetwork(neurons, options.layers, seed)
        self._tell = tell
        self._partitions: dict[tuple[int, bool], Partition] = {}
        self._problems: dict[tuple[int, ...], Problem] = {}
        self._paper_problems: dict[tuple[str, bool], Problem] = {}

    @cached_property
    def inputs(self) -> Floats:
        return digits(
            self.neurons, min(self.options.surveyed, self.options.samples), self.seed, ink=self.options.ink
        )

    @cached_property
    def machine(self) -> MachineModel:
        self._tell(f"N = {self.neurons}: how fast this machine is")
        return calibrate(self.network)

    @cached_property
    def paper_machine(self) -> MachineModel:
        self._tell(f"N = {self.neurons}: how fast scipy and text are")
        return paper.machine(self.network, self.machine)

    def partition(self, workers: int, as_published: bool = False) -> Partition:
        """By hypergraph; `as_published` with as many rows sent as the paper's."""
        key = workers, as_published
        if key not in self._partitions:
            self._tell(f"N = {self.neurons}, seed {self.seed}: rows over {workers} workers")
            self._partitions[key] = (
                paper.as_published(self.network, self.partition(workers))
                if as_published
                else partition(self.network, workers, folder=self._kept)
            )
        return self._partitions[key]

    def problem(self, workers: tuple[int, ...]) -> Problem:
        """Ours."""
        if workers not in self._problems:
            cut = {many: self.partition(many) for many in workers}
            self._problems[workers] = self._surveyed(self.machine, cut)
        return self._problems[workers]

    def paper_problem(self, channel: str, as_published: bool) -> Problem:
        """Theirs, on `queue` or `object`, for all numbers of workers. All that they do is by rows."""
        key = channel, as_published
        if key not in self._paper_problems:
            encode = paper.text_on_queue if channel == "queue" else paper.text_in_object
            cut = {many: self.partition(many, as_published) for many in self.options.workers}
            self._paper_problems[key] = self._surveyed(
                self.paper_machine,
                cut,
                encode=encode,
                looked_at=PAPER_LOOKED_AT,
                with_whole=False,
                in_order=False,
            )
        return self._paper_problems[key]

    def _surveyed(self, machine: MachineModel, cut: dict[int, Partition], **how: Any) -> Problem:
        self._tell(f"N = {self.neurons}, seed {self.seed}: what messages take")
        return surveyed(
            self.network, self.inputs, self.options.samples, machine, cut, head=self.options.head, **how
        )

    @property
    def _kept(self) -> Path | None:
        if self.options.folder:
            return Path(self.options.folder)
        return None if self.options.quick else store.kept()
