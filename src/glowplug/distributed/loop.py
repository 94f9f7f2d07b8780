"""The layers of one worker, one after another: compute what waits for nobody, wait, compute what others wait
for, send it, compute the rest while it travels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from glowplug.distributed.checkpoints import Checkpoint, Checkpoints
from glowplug.distributed.errors import ReplayImpossible
from glowplug.distributed.network import Floats
from glowplug.distributed.part_file import Part
from glowplug.distributed.parts import Flow
from glowplug.distributed.phases import Phases
from glowplug.distributed.post import Parcel, Post
from glowplug.distributed.results import Results
from glowplug.distributed.rows_in_flight import FORMS, Block
from glowplug.distributed.schedule import Schedule, Turn
from glowplug.distributed.workload.kernel import Kernel
from glowplug.distributed.workload.serial import BLOCK_LAYERS, CHUNK_SAMPLES
from glowplug.distributed.workspace import Workspace

_FENCE_STEPS = 8
"""Who does not checkpoint cannot be replaced, so what it got is forgotten every so often."""


class LayerLoop:
    """`inputs` (rows, samples) are the run's, and only read. `before` is told of each step."""

    def __init__(
        self,
        schedule: Schedule,
        parts: Mapping[int, Part],
        inputs: Floats,
        post: Post,
        checkpoints: Checkpoints,
        phases: Phases,
        before: Callable[[int], None],
    ) -> None:
        self._schedule, self._post, self._inputs = schedule, post, inputs
        self._checkpoints, self._phases, self._before = checkpoints, phases, before
        self._wrap = FORMS[schedule.orders.form]
        self._results = Results(schedule.orders)
        self._kernels = {
            partition: [
                [Kernel(group.layer, layer.activation) for group in layer.groups] for layer in part.layers
            ]
            for partition, part in parts.items()
        }
        self._drops_dead = {
            partition: all(layer.activation.keeps_zeros for layer in part.layers)
            for partition, part in parts.items()
        }
        height = max((part.height for part in parts.values()), default=0)
        widest = max((turn.share.samples for turn in schedule.turns), default=0)
        self._work = Workspace(height, widest)

    def run(self, line: int) -> Results:
        """From the first turn at `line` or after it. Raises what `Post` raises, and ReplayImpossible where
        no checkpoint of the line can be read."""
        at = self._schedule.turn_at(line)
        self._restore(at, line)
        lines = [each for each in self._schedule.lines if each > line]
        for block in self._schedule.blocks(at, BLOCK_LAYERS):
            turn = block[0]
            self._before(turn.step)
            if turn.opens:
                self._work.open(turn.share.samples)
            while lines and lines[0] <= turn.step:
                self._checkpoint(turn, lines.pop(0))
            with self._phases.layers(len(block)):
                self._at_once(block) if len(block) > 1 else self._turn(turn)
            if not self._schedule.lines and turn.step % _FENCE_STEPS == 0:
                self._post.done(turn.step + 1)
        return self._results

    def _turn(self, turn: Turn) -> None:
        layer, work = turn.layer, self._work
        self._begin(turn)
        self._compute(turn, waits=False, urgent=True)
        self._compute(turn, waits=False, urgent=False)
        if layer.sources:
            came = self._post.wait(turn.step)
            with self._phases.of("fill"):
                self._fill(turn, came)
                self._drop_dead(turn, layer.height, keeps_out=_has_begun(turn))
        self._compute(turn, waits=True, urgent=True)
        self._send(turn, work.out)
        self._compute(turn, waits=True, urgent=False)
        self._end(turn)

    def _at_once(self, block: Sequence[Turn]) -> None:
        """Layers between which nothing is exchanged, for a few samples at a time, which stay in the cache."""
        first, last, work = block[0].layer, block[-1].layer, self._work
        self._begin(block[0])
        kernels = [self._kernels[turn.share.partition][turn.at][0] for turn in block]
        with self._phases.of("compute"):
            for start in range(0, work.x.shape[1], CHUNK_SAMPLES):
                chunk = slice(start, start + CHUNK_SAMPLES)
                y = np.array(work.x[: first.height, chunk], order="C")
                for kernel in kernels:
                    y = kernel(y, y if kernel.layer.rows == len(y) else None)
                work.out[: len(last.rows), chunk] = y
        self._send(block[-1], work.out)
        self._end(block[-1])

    def _begin(self, turn: Turn) -> None:
        layer, work = turn.layer, self._work
        if turn.opens:
            self._wait_for_others(turn)
        if len(layer.reads):
            with self._phases.of("read"):
                work.x[: len(layer.reads)] = self._inputs[layer.reads, turn.share.first : turn.share.end]
        if not layer.sources:
            self._drop_dead(turn, layer.present, keeps_out=False)

    def _end(self, turn: Turn) -> None:
        layer, work = turn.layer, self._work
        if layer.index == self._schedule.orders.layers - 1:
            self._results.add(turn.number, layer.rows, work.whole(work.out[: len(layer.rows)]))
        work.turn()

    def _compute(self, turn: Turn, *, waits: bool, urgent: bool) -> None:
        kernels = self._kernels[turn.share.partition][turn.at]
        for kernel, group in zip(kernels, turn.layer.groups, strict=True):
            if (group.waits, group.urgent) == (waits, urgent):
                with self._phases.of("compute"):
                    kernel(self._work.x[: group.layer.inputs], self._work.out, group.slots)

    def _fill(self, turn: Turn, came: Mapping[int, Block]) -> None:
        work, start = self._work, turn.layer.present
        work.revive([block.columns for block in came.values()], start, keeps_out=_has_begun(turn))
        for source, flow in turn.sources:
            block, end = came[source], start + len(flow.rows)
            if len(block.rows) == len(flow.rows):
                work.put(slice(start, end), block.columns, block.values)
            else:
                work.x[start:end] = 0
                work.put(start + block.rows, block.columns, block.values)
            start = end

    def _drop_dead(self, turn: Turn, rows: int, *, keeps_out: bool) -> None:
        """Samples that have died out stay dead, where all layers of the part keep zeros."""
        if self._drops_dead[turn.share.partition]:
            self._work.drop_dead(rows, keeps_out=keeps_out)

    def _send(self, turn: Turn, values: Floats) -> None:
        if turn.targets:
            with self._phases.of("pick"):
                parcels = [self._parcel(target, flow, values) for target, flow in turn.targets]
            self._post.send(turn.step + 1, parcels)

    def _parcel(self, target: int, flow: Flow, values: Floats) -> Parcel:
        """The values are a copy: what they are of is written again before they are sent."""
        picked, columns, samples = values[flow.rows], self._work.columns, self._work.samples
        return target, lambda: self._wrap(picked, columns, samples)

    def _wait_for_others(self, turn: Turn) -> None:
        targets, step = self._schedule.room_for(turn)
        if targets:
            self._post.wait_until(targets, step)

    def _checkpoint(self, turn: Turn, line: int) -> None:
        """What the worker brings to `turn`, and has of the result."""
        with self._phases.of("checkpoint"):
            self._post.settle(line)
            held = self._work.whole(self._work.x[: turn.layer.kept])
            self._checkpoints.write(line, Checkpoint(held, self._results.pack()))
            self._post.done(line)

    def _restore(self, at: int, line: int) -> None:
        """What the turn before it sent may not have come, so it is sent again."""
        if not at:
            return
        turn = self._schedule.turns[at]
        found = self._checkpoints.read(line, turn.layer.kept, turn.share.samples)
        if found is None:
            raise ReplayImpossible(f"worker {self._schedule.worker} cannot read its checkpoint at {line}")
        self._results.unpack(found.results)
        if not turn.opens:
            self._work.open(turn.share.samples)
            self._work.x[: turn.layer.kept] = found.held
            self._send(self._schedule.turns[at - 1], self._work.x)


def _has_begun(turn: Turn) -> bool:
    """Whether some of its output waits for nobody, and is there once the others' rows come."""
    return any(not group.waits for group in turn.layer.groups)
