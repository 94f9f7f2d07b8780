"""What one worker does in a run, step by step, and who sends what to whom for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from glowplug.distributed.assignment import Share
from glowplug.distributed.orders import BARRIER, GO, ROOT, Orders, lines_for
from glowplug.distributed.part_file import Part
from glowplug.distributed.parts import Flow, PartLayer


class Turn(msgspec.Struct, frozen=True, eq=False):
    """One layer of one share. What it sends is for the step after it."""

    step: int
    number: int  # of the share
    share: Share
    at: int  # the layer's place in the worker's part
    layer: PartLayer

    @property
    def opens(self) -> bool:
        """The worker's first layer of this share: it brings nothing into it."""
        return not self.at

    @property
    def sources(self) -> list[tuple[int, Flow]]:
        return [(self.share.members[flow.role], flow) for flow in self.layer.sources]

    @property
    def targets(self) -> list[tuple[int, Flow]]:
        return [(self.share.members[flow.role], flow) for flow in self.layer.targets]


class Schedule:
    """`parts` are the worker's own, by partition."""

    def __init__(self, orders: Orders, worker: int, parts: Mapping[int, Part]) -> None:
        self.orders = orders
        self.worker = worker
        self.turns = [
            Turn(orders.step(number, layer.index), number, share, at, layer)
            for number, share in enumerate(orders.shares)
            if worker in share.members
            for at, layer in enumerate(parts[share.partition].layers)
        ]

        self.lines = lines_for(orders, worker)

    @property
    def is_root(self) -> bool:
        return self.worker == ROOT

    def sources(self) -> dict[int, list[int]]:
        """Who sends this worker something for a step."""
        found = {turn.step: [source for source, _ in turn.sources] for turn in self.turns}
        others = [worker for worker in range(self.orders.workers) if worker != ROOT]
        if self.is_root:
            found[self.orders.gather] = [worker for worker in others if self.orders.final_shares(worker)]
        if self.orders.barrier:
            found[BARRIER if self.is_root else GO] = others if self.is_root else [ROOT]
        return {step: who for step, who in found.items() if who}

    def targets(self) -> dict[int, list[int]]:
        """Whom this worker sends something for a step of theirs."""
        found = {turn.step + 1: [target for target, _ in turn.targets] for turn in self.turns}
        if not self.is_root and self.orders.final_shares(self.worker):
            found[self.orders.gather] = [ROOT]
        if self.orders.barrier:
            others = [worker for worker in range(self.orders.workers) if worker != ROOT]
            found[GO if self.is_root else BARRIER] = others if self.is_root else [ROOT]
        return {step: who for step, who in found.items() if who}

    def room_for(self, turn: Turn) -> tuple[list[int], int]:
        """Who must have come to which step before `turn` opens its share; nobody where nothing limits it."""
        mine = [number for number, share in enumerate(self.orders.shares) if self.worker in share.members]
        place = mine.index(turn.number) - self.orders.window
        if not self.orders.window or place < 0:
            return [], 0
        targets = {target for each in self.turns if each.number == turn.number for target, _ in each.targets}
        return sorted(targets), self.orders.step(mine[place], 0)

    def turn_at(self, line: int) -> int:
        """The index of the first turn at a line or after it; their number when there is none."""
        return next((at for at, turn in enumerate(self.turns) if turn.step >= line), len(self.turns))

    def blocks(self, at: int, most: int) -> Iterator[list[Turn]]:
        """The turns from the `at`-th on: at most `most` together where nothing is exchanged or written
        between them."""
        block: list[Turn] = []
        for turn in self.turns[at:]:
            if block and (len(block) == most or not self._goes_on(block[-1], turn)):
                yield block
                block = []
            block.append(turn)
        if block:
            yield block

    def _goes_on(self, before: Turn, turn: Turn) -> bool:
        exchanges = before.layer.sources or before.layer.targets or turn.layer.sources
        groups = len(before.layer.groups), len(turn.layer.groups)
        is_written = any(before.step < line <= turn.step for line in self.lines)
        return not (turn.opens or exchanges or is_written) and groups == (1, 1)


def parts_of(orders: Orders, worker: int) -> Iterable[tuple[int, int]]:
    """(partition, role) of each part that a worker needs. Raises ValueError for one with two roles in one."""
    found: dict[int, int] = {}
    for share in orders.shares:
        if worker in share.members:
            role = share.members.index(worker)
            if found.setdefault(share.partition, role) != role:
                raise ValueError(f"worker {worker} has two roles in partition {share.partition}")
    return found.items()
