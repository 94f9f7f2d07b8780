"""A channel may accept what was sent after `send` returned: what nobody could send again is flushed before
anybody relies on it. In threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from glowplug.distributed import assignment, work, worker_ends
from glowplug.distributed.channels.base import Buffer, MessageKey
from glowplug.distributed.channels.memory import MemoryChannel
from glowplug.distributed.channels.registry import join
from glowplug.distributed.checkpoints import Checkpoint, Checkpoints
from glowplug.distributed.partition.baselines import block
from glowplug.distributed.partition.result import Settings
from glowplug.distributed.platform_line import Response, Told
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.serial import serial
from tests.distributed.nets import small_inputs
from tests.distributed.threads import ThreadLine, run_in_threads

LAYERS, SAMPLES, WORKERS = 8, 20, 3


class LateEnd(MemoryChannel):
    """Counts what was sent and not flushed."""

    late = 0

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        self.late += len(messages)
        super().send(messages)

    def flush(self) -> None:
        self.late = 0


@pytest.mark.parametrize("background", [False, True], ids=["inline", "background"])
def test_checkpoints_and_responses_come_after_what_was_sent(
    background: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: dict[int, LateEnd] = {}
    sent: list[int] = []
    at_checkpoints: list[int] = []
    at_responses: list[int] = []

    def join_late(address: object, worker: int) -> MemoryChannel:
        end = join(address, worker)  # type: ignore[arg-type]
        assert isinstance(end, MemoryChannel)
        end.__class__ = LateEnd
        ends[worker] = end  # type: ignore[assignment]
        return end

    class Watched(Checkpoints):
        def write(self, line: int, checkpoint: Checkpoint) -> None:
            sent.append(ends[self._worker].meter.messages_sent)
            at_checkpoints.append(ends[self._worker].late)
            super().write(line, checkpoint)

    class Line(ThreadLine):
        def tell(self, what: Told) -> None:
            if isinstance(what, Response):
                at_responses.append(ends[what.place.worker].late)
            super().tell(what)

    monkeypatch.setattr(worker_ends, "join", join_late)
    monkeypatch.setattr(work, "Checkpoints", Watched)
    network, x = ChallengeNetwork(1024, LAYERS), small_inputs(1024, SAMPLES)
    spread = assignment.rows(SAMPLES, block(network, Settings(WORKERS)))
    options = RunOptions(background=background, checkpoint_layers=3, deadline_s=60)
    lines = {worker: Line() for worker in range(WORKERS)}
    output, _, _ = run_in_threads(network, x, spread, options, tmp_path, lines)
    assert np.array_equal(output, serial(network, x))
    assert len(at_checkpoints) == 2 * WORKERS
    assert min(sent) > 0
    assert set(at_checkpoints) == {0}
    assert at_responses == [0] * WORKERS
