"""What runs workers: processes of this machine, or functions of a cloud."""

from __future__ import annotations

from typing import Protocol

import msgspec

from glowplug.distributed.channels.base import Address
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.platform_line import Told
from glowplug.distributed.start import Place, Start, Work


class Ended(msgspec.Struct, frozen=True):
    """A process that is gone: how, after how long, and the most memory it may have had: what the kernel tells
    begins with what its parent had. `out_of_memory`: the kernel ended it, for its cap."""

    how: str
    ran_s: float
    peak_bytes: int
    out_of_memory: bool = False


Event = tuple[Place, Told | Ended]


class Deployment(Protocol):
    """What lies ready for a run's workers, as far as processes of this machine have to know it."""

    @property
    def address(self) -> Address: ...

    @property
    def work(self) -> Work: ...


class Platform(Protocol):
    """Not for several threads."""

    @property
    def meter(self) -> Meter:
        """What it used to run them, beside what they used themselves."""

    def begin(self, start: Start) -> None:
        """Returns before it runs. Raises OSError, PlatformError, DeadlinePassed."""

    def events(self, timeout_s: float) -> list[Event]:
        """What workers told, then which of them ended; empty after `timeout_s`, and sometimes before."""

    def end_all(self) -> list[Event]:
        """Nothing is heard any more of those that run."""

    def close(self) -> None:
        """Leaves nothing behind."""
