"""What the parts of `distributed` share: a network with its partitions, and what its messages take, made
once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from glowplug.bench import distributed_paper as paper
from glowplug.bench.distributed_options import Options, Tell
from glowplug.distributed.calibration import calibrate
from glowplug.distributed.network import Floats
from glowplug.distributed.partition.methods import partition
from glowplug.distributed.partition.result import Partition
from glowplug.distributed.planning import surveyed
from glowplug.distributed.survey import Encode
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.digits import digits
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.model import MachineModel

PAPER_LOOKED_AT = 6
"""Text takes its time: so many of a layer's messages are written."""


class Ground:
    """One network and its inputs. What is asked for is made then, and kept."""

    def __init__(self, options: Options, neurons: int, seed: int, tell: Tell) -> None:
        self.options = options
        self.neurons = neurons
        self.seed = seed
        self.network = ChallengeNetwork(neurons, options.layers, seed)
        self._tell = tell
        self._partitions: dict[tuple[int, bool], Partition] = {}

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
        """By hypergraph; `as_published` with as many rows sent as the published run of this size, if there
        was one."""
        key = workers, as_published
        if key not in self._partitions:
            self._tell(f"N = {self.neurons}, seed {self.seed}: rows over {workers} workers")
            folder = Path(self.options.folder) if self.options.folder else None
            if as_published:
                rows = paper.rows_sent(self.neurons, workers)
                share = self.options.layers / 120
                found = self.partition(workers)
                found = found if rows is None else paper.poorer(self.network, found, rows * share)
            else:
                found = partition(self.network, workers, folder=folder)
            self._partitions[key] = found
        return self._partitions[key]

    def problem(self, workers: tuple[int, ...]) -> Problem:
        """Ours."""
        return self._problem(self.machine, {many: self.partition(many) for many in workers})

    def paper_problem(self, workers: int, channel: str, as_published: bool) -> Problem:
        """Theirs, on `queue` or `object`."""
        encode = paper.text_on_queue if channel == "queue" else paper.text_in_object
        cut = {workers: self.partition(workers, as_published)}
        return self._problem(self.paper_machine, cut, encode, PAPER_LOOKED_AT)

    def _problem(
        self,
        machine: MachineModel,
        cut: dict[int, Partition],
        encode: Encode | None = None,
        looked_at: int = 24,
    ) -> Problem:
        self._tell(f"N = {self.neurons}, seed {self.seed}: what messages take")
        given = {} if encode is None else {"encode": encode}
        return surveyed(
            self.network, self.inputs, self.options.samples, machine, cut,
            head=self.options.head, looked_at=looked_at, **given,
        )  # fmt: skip
