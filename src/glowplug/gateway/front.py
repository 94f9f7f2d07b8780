"""What all connections of a gateway share: who may ask, what is asked for, and what all of them may hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from glowplug.core.errors import GlowplugError
from glowplug.gateway.access import Access, Address
from glowplug.gateway.access_log import Entry
from glowplug.gateway.body import BodyBudget
from glowplug.gateway.lifecycle import Gateway
from glowplug.gateway.target import Target, read_target

IDLE_S = 75.0
"""A connection that asks nothing for so long is closed."""
HEAD_S = 20.0
"""A client that has begun a request has so long for its head."""
_SWEEP_S = 2.0


class Swept(Protocol):
    """A connection, as the sweep sees it. Times are the loop's."""

    quiet_since_s: float
    """Since when it has waited for its client; infinite while an answer is under way."""
    in_head: bool
    """Whether a request's head has begun and is not complete."""

    def give_up(self) -> None:
        """Its time is over."""


class Front:
    """Made before the event loop runs; `watch` connections from within it."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.access = Access(gateway.settings)
        self.bodies = BodyBudget(gateway.settings.max_body_bytes)
        self.access_log: Callable[[Entry], None] | None = None
        self._connections: set[Swept] = set()
        self._sweep: asyncio.TimerHandle | None = None

    def read(self, url: bytes, headers: Iterable[tuple[bytes, bytes]], at: Address | None) -> Target:
        """What a request for a function is about that came to the address `at`. Raises what Access.check and
        read_target raise."""
        self.access.check("", headers, at)
        return read_target(url, headers, self.gateway.known)

    def is_fresh(self, target: Target) -> bool:
        """Whether a target that was read earlier still says what is deployed."""
        return self.gateway.known(target.function) is target.info

    def refused(self, error: GlowplugError, function: str | None, took_s: float) -> None:
        """Counts a request that was answered before it began."""
        self.gateway.metrics.answered(function, error.status, took_s, "", {})

    def watch(self, connection: Swept) -> bool:
        """Closes the connection when its client is silent for too long, until `forget`. False when there are
        as many as there may be, and it is not watched."""
        if len(self._connections) >= self.gateway.settings.max_connections:
            return False
        self._connections.add(connection)
        self.gateway.connected = len(self._connections)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._look)
        return True

    def forget(self, connection: Swept) -> None:
        self._connections.discard(connection)
        self.gateway.connected = len(self._connections)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for connection in list(self._connections):
            if now_s - connection.quiet_since_s > (HEAD_S if connection.in_head else IDLE_S):
                connection.give_up()
        self._sweep = loop.call_later(_SWEEP_S, self._look) if self._connections else None
