"""A spawned call in the hands of who spawned it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any

from glowplug.core.calls import CallRecord

if TYPE_CHECKING:
    from glowplug.client import Client

_RESTART_S = 30.0
_LOOK_AGAIN_S = 0.1


class Call:
    """Its `id` is all that another process needs: `Client().spawned(id)` is the same call."""

    def __init__(self, client: Client, call_id: str, *, owns_client: bool = False) -> None:
        """With `owns_client` nobody else uses the client, whose connection is closed after each question."""
        self._client = client
        self._owns_client = owns_client
        self.id = call_id

    def __repr__(self) -> str:
        return f"Call({self.id!r})"

    def get(self, timeout: float | None = None) -> Any:
        """The answer, decoded, as soon as there is one.

        Raises what `.remote()` would have raised (core.errors), CallLost when nobody knows whether it ran,
        CallCancelled, UnknownCall when its result is kept no more, and TimeoutError after `timeout` seconds.
        A server that goes meanwhile is waited for, as long as a start takes: the call is stored.
        """
        from glowplug.client.connection import ConnectionLost, NotReached

        until_s = None if timeout is None else time.monotonic() + timeout
        seen_s = None
        with self._asking() as client:
            while True:
                left_s = None if until_s is None else until_s - time.monotonic()
                try:
                    answer = client.call_result(self.id, left_s)
                except NotReached as error:
                    now_s = time.monotonic()
                    if seen_s is None and isinstance(error, ConnectionLost):
                        seen_s = now_s
                    gone_s = min(seen_s + _RESTART_S, until_s or inf) if seen_s is not None else 0.0
                    if now_s >= gone_s:
                        raise
                    time.sleep(_LOOK_AGAIN_S)
                    continue
                seen_s = time.monotonic()
                if answer is not None:
                    return answer.value()
                if until_s is not None and seen_s >= until_s:
                    raise TimeoutError(f"call {self.id} has not ended within {timeout:g} s; it goes on")

    def status(self) -> CallRecord:
        """What is known of it now. Raises UnknownCall."""
        with self._asking() as client:
            return client.call_status(self.id)

    def cancel(self) -> bool:
        """Whether it is cancelled now: False when it had ended before."""
        with self._asking() as client:
            return client.cancel_call(self.id).state == "cancelled"

    @contextmanager
    def _asking(self) -> Iterator[Client]:
        try:
            yield self._client
        finally:
            if self._owns_client:
                self._client.close()
