"""The process of one worker: it is told where it stands, launches others, computes its part, and ends.

    python -m glowplug.distributed.worker LINE PARENT [spare] < START

START is a JSON `start.Start`, LINE the number of an inherited socket to the platform, PARENT the process with
which this one ends. A spare imports everything before it is told anything.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

import msgspec

from glowplug.core.errors import GlowplugError
from glowplug.distributed.errors import out_of_memory
from glowplug.distributed.platform_line import Failure, PlatformLine, SocketLine
from glowplug.distributed.start import Start

_PR_SET_PDEATHSIG = 1


def main(line_number: int, parent: int, is_spare: bool) -> int:
    began_s = time.monotonic()
    _end_with(parent)
    line = SocketLine(socket.socket(fileno=line_number))
    if is_spare:
        from glowplug.distributed.workload import loops  # noqa: F401 - loads what was compiled
    message = sys.stdin.buffer.read()
    if not message:
        return 0  # a spare that nobody needed
    began_s = time.monotonic() if is_spare else began_s
    start = msgspec.json.decode(message, type=Start)
    for worker in start.launches:
        line.launch(worker)

    def do() -> None:
        from glowplug.distributed.work import work  # after the launches: it imports what is large

        work(start, line, began_s)

    return tell_failures(start, line, do)


def tell_failures(start: Start, line: PlatformLine, do: Callable[[], None]) -> int:
    """The exit status; why it failed is told. Raises what is a fault of ours, told too."""
    try:
        do()
    except GlowplugError as error:
        line.tell(Failure(error.code, error.message))
        return 1
    except MemoryError:
        short = out_of_memory(start.place.worker, start.memory_bytes)
        line.tell(Failure(short.code, short.message))
        return 1
    except Exception as error:
        line.tell(Failure(GlowplugError.code, f"worker {start.place.worker}: {error!r}"))
        raise
    return 0


def _end_with(parent: int) -> None:
    """Whatever ends the process that started this one ends this one too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), "spare" in sys.argv[3:]))
