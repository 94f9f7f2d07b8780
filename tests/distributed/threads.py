"""A run whose workers are threads of this process, over the memory channel: everything but processes."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from glowplug.distributed.assignment import Assignment
from glowplug.distributed.channels.memory import MemoryRoom
from glowplug.distributed.deploying import Deployed, deploy
from glowplug.distributed.network import Floats, Network
from glowplug.distributed.platform_line import PlatformLine, Response, Told
from glowplug.distributed.results import Output
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.start import Place, Start
from glowplug.distributed.work import work

_numbers = itertools.count()


class ThreadLine:
    """A worker's line that collects what it is told."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def launch(self, worker: int) -> None:
        raise AssertionError("nobody is launched by a thread")

    def tell(self, what: Told) -> None:
        self.told.append(what)

    @property
    def response(self) -> Response:
        (found,) = [each for each in self.told if isinstance(each, Response)]
        return found


def run_in_threads(
    network: Network,
    x: Floats,
    assignment: Assignment,
    options: RunOptions,
    folder: Path,
    lines: Mapping[int, ThreadLine] | None = None,
) -> tuple[Output, list[Response], Deployed]:
    """`lines` are what workers speak to that have one of their own. Raises what the first worker to fail
    raised."""
    told = [(lines or {}).get(worker) or ThreadLine() for worker in range(assignment.workers)]
    with MemoryRoom().open(f"threads-{next(_numbers)}", assignment.workers) as room:
        deployed = deploy(network, x, assignment, room.address, options, folder)
        work_in_threads(work, deployed.path, room.run, told, options)
    return deployed.output(), [line.response for line in told], deployed


def work_in_threads(
    work: Callable[[Start, PlatformLine, float], None], orders: Path, run: str, lines: Sequence[ThreadLine],
    options: RunOptions,
) -> None:  # fmt: skip
    """A thread for each of `lines`. Raises what the first worker to fail raised."""
    failed: list[BaseException] = []

    def one(worker: int) -> None:
        start = Start(orders=str(orders), place=Place(run, worker), deadline_s=options.deadline_s)
        try:
            work(start, lines[worker], time.monotonic())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(worker,)) for worker in range(len(lines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
