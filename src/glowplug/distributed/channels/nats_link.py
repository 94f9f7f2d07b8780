"""A connection to a NATS server, in a thread of its own: an ordinary call waits for what happens there. And
what belongs to a run is named there."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from nats.aio.client import Client
from nats.errors import Error, MaxPayloadError, NoServersError
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from glowplug.distributed.errors import (
    ChannelError,
    ChannelMissing,
    ChannelRefused,
    ChannelUnavailable,
    MessageTooLarge,
)

Answer = TypeVar("Answer")

CONNECT_S = 10.0
CALL_S = 10.0
_ATTEMPT_S = 3
_AGAIN_S = 0.1
_FIRST_ATTEMPTS = 3
_CANCELS = 2
"""The first one nats-py may keep to itself: where it waits until what is published is written."""
URL = "nats://127.0.0.1:4222"
_CREDENTIALS = {
    "user": "NATS_USER",
    "password": "NATS_PASSWORD",
    "token": "NATS_TOKEN",
    "user_credentials": "NATS_CREDS",
}
"""Where they come from, by nats-py's name; the last is a file."""


def stream_name(run: str) -> str:
    return f"glowplug-{run}"


def subject_name(run: str, target: str) -> str:
    return f"glowplug.{run}.{target}"


class NatsLink:
    """Connects, and again whenever the connection is lost. Raises ChannelRefused, ChannelUnavailable."""

    def __init__(self, url: str) -> None:
        if "@" in url:
            raise ChannelRefused(
                f"credentials do not belong into an address: set {', '.join(_CREDENTIALS.values())}"
            )
        self.url = url
        self.client = Client()
        self.stream = self.client.jetstream()
        self.on_reconnect: Callable[[], None] = lambda: None
        """Called in the link's thread."""
        self._last_error = ""
        self._refused = False
        # Not uvloop, which does not forgive writing to a connection that was just lost.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()
        try:
            self.wait(self._connect(), CONNECT_S, "connecting")
        except BaseException:
            self.close()
            raise

    def wait(self, work: Coroutine[Any, Any, Answer], timeout_s: float, what: str) -> Answer:
        """Its result. Raises ChannelError named by `what`."""
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout_s), self._loop)
        try:
            return future.result()
        except (TimeoutError, Error, OSError) as error:
            raise self.named(error, what) from error
        except BaseException:  # an interrupt: it shall not happen later
            future.cancel()
            raise

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs it there, and nobody waits. It must not raise."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def soon(self, call: Callable[[], None]) -> None:
        """The same for an ordinary function, for less."""
        self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _connect(self) -> None:
        given = {
            name: os.environ[variable] for name, variable in _CREDENTIALS.items() if variable in os.environ
        }
        options: dict[str, Any] = {
            "connect_timeout": _ATTEMPT_S,
            "reconnect_time_wait": _AGAIN_S,
            "max_reconnect_attempts": _FIRST_ATTEMPTS,
            "error_cb": self._note,
            "reconnected_cb": self._came_back,
            **given,
        }
        await self.client.connect([self.url], **options)
        # From now on it is a server that was there, and comes back.
        self.client.options["max_reconnect_attempts"] = -1

    async def _note(self, error: Exception) -> None:
        self._last_error = str(error)
        self._refused |= "uthorization" in self._last_error

    async def _came_back(self) -> None:
        self.on_reconnect()

    async def _disconnect(self) -> None:
        try:
            await asyncio.wait_for(self.client.close(), _ATTEMPT_S)
        except (TimeoutError, Error, OSError):
            pass
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for _ in range(_CANCELS):
            for task in others:
                task.cancel()
            if others:
                _, others = await asyncio.wait(others, timeout=_ATTEMPT_S)

    def named(self, error: BaseException, what: str) -> ChannelError:
        said = f"{self.url}: {what}: {str(error) or type(error).__name__}"
        if isinstance(error, NoServersError) and self._refused:
            names = ", ".join(_CREDENTIALS.values())
            return ChannelRefused(f"{said}: authorization failed: check {names}")
        if isinstance(error, NotFoundError):
            return ChannelMissing(f"{said}: the run is not open, or over")
        if isinstance(error, ServiceUnavailableError):
            return ChannelUnavailable(f"{said}: is JetStream enabled (-js)?")
        if isinstance(error, MaxPayloadError):
            return MessageTooLarge(said)
        if isinstance(error, APIError):
            return ChannelError(said)
        return ChannelUnavailable(f"{said}: {self._last_error}" if self._last_error else said)
