"""What ends a command that has more to end than itself."""

from __future__ import annotations

import signal


def sigterm_interrupts() -> None:
    """From now on SIGTERM ends this command as Ctrl-C does: whoever sends it also wants nothing left behind.
    Called in the main thread."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
