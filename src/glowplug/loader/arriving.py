"""A pack whose weights somebody else is still writing into the file: units are told of as they come.

The teller writes each unit's number to a pipe, as four bytes, little-endian, once its bytes are in the
file and were checked, and closes the pipe at the end. The number FAILED says that no more come, and is
followed by the reason.
"""

from __future__ import annotations

import os
import select
import struct
import threading
from collections.abc import Callable

from glowplug.loader.errors import LoadStopped
from glowplug.loader.gates import Gates

_NUMBER = struct.Struct("<I")
FAILED = 2**32 - 1
_REASON_BYTES = 2000
_WHOLE_BYTES = select.PIPE_BUF // _NUMBER.size * _NUMBER.size
"""Of these a pipe takes all or nothing."""


def announce(descriptor: int, units: list[int]) -> None:
    """Tells of some units. Raises OSError when nobody listens any more, BlockingIOError when the pipe is
    full: then it may have told of the first ones.
    """
    words = b"".join(_NUMBER.pack(unit) for unit in units)
    for start in range(0, len(words), _WHOLE_BYTES):
        os.write(descriptor, words[start : start + _WHOLE_BYTES])


def announce_failure(descriptor: int, reason: str) -> None:
    """Tells that no more units come. Raises as `announce`."""
    os.write(descriptor, _NUMBER.pack(FAILED) + reason.encode()[:_REASON_BYTES])


def _nothing() -> None:
    return


def listen(
    descriptor: int,
    gates: Gates,
    name: str,
    put: Callable[[int], object] = lambda unit: None,
    finish: Callable[[], object] = _nothing,
) -> None:
    """Opens the gates as units are told of, in a thread; owns the descriptor. A pipe that ends too early,
    or that speaks of units that do not exist, fails what is missing. `put` sends a unit on, to where it is
    used, before its gate is opened; `finish` returns when all that was sent is there, and then nobody guards
    it any more. What they raise fails what is missing, too."""
    arguments = (descriptor, gates, name, put, finish)
    threading.Thread(target=_listen, args=arguments, name="arrivals", daemon=True).start()


def _listen(
    descriptor: int, gates: Gates, name: str, put: Callable[[int], object], finish: Callable[[], object]
) -> None:
    try:
        with open(descriptor, "rb") as pipe:
            while len(word := pipe.read(_NUMBER.size)) == _NUMBER.size:
                (unit,) = _NUMBER.unpack(word)
                if unit == FAILED:
                    # Also when all is there: it may have turned out to be something else.
                    gates.fail(LoadStopped(f"{name}: {pipe.read().decode(errors='replace')}; ask again"))
                else:
                    put(unit)
                    gates.open(unit)
    except (OSError, IndexError) as error:
        gates.fail(LoadStopped(f"{name}: nothing more is heard of its weights: {error}"))
    except Exception as error:  # of a device, in its driver's words
        gates.fail(_undelivered(name, error))
    finally:
        if not gates.opened:
            gates.fail(LoadStopped(f"{name}: its weights stopped coming; ask again"))
        try:
            finish()
        except Exception as error:
            gates.fail(_undelivered(name, error))
        gates.landed()


def _undelivered(name: str, error: Exception) -> LoadStopped:
    return LoadStopped(f"{name}: its weights did not come to the device: {error}")
