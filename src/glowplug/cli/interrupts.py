"""What ends a command that has more to end than itself."""

from __future__ import annotations

import signal


def signals_interrupt() -> None:
    """From now on SIGTERM ends this command as Ctrl-C does, and so does the loss of its terminal, unless
    nohup has that ignored: whoever sends either also wants nothing left behind. Called in the main thread."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _hang_up)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _hang_up(*_: object) -> None:
    # The kernel and the shell both tell of it: the second must not interrupt what the first began to end.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise KeyboardInterrupt
