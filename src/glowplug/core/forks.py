"""How a forked process ends: together with its parent, and never by returning into the code that it was
forked from."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def signal_at_parents_end(number: int) -> None:
    """The kernel clears this when the user changes, and on fork. Raises OSError."""
    if _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) < 0:
        found = ctypes.get_errno()
        raise OSError(found, f"prctl(PR_SET_PDEATHSIG): {os.strerror(found)}")


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """SIGKILL, or `number`, for this process as soon as `parent`'s thread that made it is gone. Exits when it
    already is.

    Call it after the user changed and after a fork: each makes the kernel forget. Raises OSError.
    """
    signal_at_parents_end(number)
    if os.getppid() != parent:
        os._exit(1)


def run_and_exit(run: Callable[[], int]) -> NoReturn:
    """The rest of a fork's life. `run` returns the exit status; what it raises is printed, but for
    KeyboardInterrupt, and the status is 1. What was printed is written out; nothing else of the process that
    it was forked from runs, no handler of its exit either."""
    status = 1
    try:
        status = run()
    except KeyboardInterrupt:
        pass
    except BaseException as error:
        from glowplug.core.errors import print_safely

        print_safely(error)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
