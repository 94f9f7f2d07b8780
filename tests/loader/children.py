"""What forked children of the test's own process find."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

_PATIENCE_S = 20


def in_child(work: Callable[[], object]) -> str:
    """What `work` returns in a fork of this process, or the error it raises, as text; "hung" where it has not
    ended in time."""
    there, here = os.pipe()
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_PATIENCE_S)
        try:
            found = str(work())
        except BaseException as error:
            found = f"{type(error).__name__}: {error}"
        os.write(here, found.encode())
        os._exit(0)
    os.close(here)
    with open(there, "rb") as pipe:
        found = pipe.read().decode()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "hung" if ended == -signal.SIGALRM else found


@contextlib.contextmanager
def in_another_thread(holding: Callable[[], contextlib.AbstractContextManager[object]]) -> Iterator[None]:
    """A thread is inside of it for as long as this block lasts."""
    inside, over = threading.Event(), threading.Event()

    def hold() -> None:
        with holding():
            inside.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(30)
    try:
        yield
    finally:
        over.set()
        thread.join(30)
