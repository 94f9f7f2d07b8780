"""What every run has around its workers: a folder, and the sum of what they took."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from glowplug.distributed.channels.base import Room
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.owners import owned_folder, sweep_folders
from glowplug.distributed.channels.shared_memory import FOLDER
from glowplug.distributed.platform_line import Response
from glowplug.distributed.supervisor import Supervisor

_GIB = 2**30


class Took(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What a run took.

    `seconds` is from the first start of a worker to the result; writing parts comes before. `gib_s` is
    memory times time over all processes, those that were lost too: what each may hold, or without a limit
    the most it held. `meter` adds up the workers that finished, opening and closing, and `platform_meter`:
    the platform's own calls, and what workers read and write for it. `restarts` are workers that were
    replaced and times that all went back.
    """

    seconds: float
    workers: tuple[Response, ...]
    meter: Meter
    platform_meter: Meter
    gib_s: float
    invocations: int
    restarts: int
    epochs: int


@contextmanager
def run_folder(where: Room) -> Iterator[Path]:
    """A folder of a run, which is not there afterwards. What a run left here, or in the channel's folders,
    whose process was killed is removed first."""
    for base in {Path(FOLDER), Path(tempfile.gettempdir()), *where.folders}:
        sweep_folders(base)
    with owned_folder("glowplug-run-") as folder:
        yield folder


def took_of(supervisor: Supervisor, opened: Meter, platform: Meter) -> Took:
    """When the room, whose meter is `opened`, and the platform are closed."""
    responses = tuple(response for _, response in sorted(supervisor.responses.items()))
    for response in responses:
        platform = platform.plus(response.platform_meter)
        opened = opened.plus(response.meter)
    return Took(
        seconds=supervisor.seconds,
        workers=responses,
        meter=opened.plus(platform),
        platform_meter=platform,
        gib_s=sum(charge.ran_s * charge.memory_bytes for charge in supervisor.charges) / _GIB,
        invocations=len(supervisor.charges),
        restarts=supervisor.gang.losses,
        epochs=supervisor.gang.epoch + 1,
    )
