"""One worker, in a process of its own: it is told where it stands, launches others, computes its part, and
ends."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from glowplug.core.errors import FunctionFailed, GlowplugError, in_words, sayable, told
from glowplug.distributed.errors import is_out_of_memory, out_of_memory
from glowplug.distributed.platform_line import Failure, PlatformLine
from glowplug.distributed.start import Start

_CODE_CHARS, _MESSAGE_CHARS = 100, 2000


def run_worker(line: PlatformLine, message: bytes) -> int:
    """`message` is a JSON `start.Start`. Returns the exit status; why it failed is told. Raises what is a
    fault of ours, told too."""
    began_s = time.monotonic()
    start = msgspec.json.decode(message, type=Start)
    for worker in start.launches:
        line.launch(worker)

    def do() -> None:
        if start.work == "torch":
            from glowplug.distributed.torch_work import work
        else:
            from glowplug.distributed.work import work
        work(start, line, began_s)

    return tell_failures(start, line, do)


def tell_failures(start: Start, line: PlatformLine, do: Callable[[], None]) -> int:
    """The exit status; why it failed is told. Raises what is a fault of ours, told too."""
    try:
        do()
    except GlowplugError as error:
        line.tell(_failure(error))
        return 1
    except Exception as error:
        if is_out_of_memory(error):
            short = out_of_memory(start.place.worker, start.memory_bytes)
            line.tell(Failure(short.code, short.message))
            return 1
        line.tell(_failed(GlowplugError.code, f"worker {start.place.worker}: {in_words(error)}"))
        raise
    return 0


def _failure(error: GlowplugError) -> Failure:
    """What the author of a model raised may be of a class of theirs, with anything in it."""
    try:
        return _failed(str(error.code), told(error))
    except Exception:  # its attributes are the user's code
        return _failed(FunctionFailed.code, in_words(error))


def _failed(code: str, message: str) -> Failure:
    return Failure(sayable(code[:_CODE_CHARS]), sayable(message[:_MESSAGE_CHARS]))
