"""Posts the result of a call that has ended to the URL that its caller named, until it is taken or given up.

At least once: a receiver that knows a call's id already may forget the second. No redirect is followed, no
proxy or password of this machine's environment is used, and what the receiver answers is not read.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import structlog

from glowplug._version import __version__
from glowplug.calls import states
from glowplug.calls.backlog import Backlog, Entry
from glowplug.calls.due import DueLoop
from glowplug.calls.store import CallStore
from glowplug.core.calls import CallId, CallRecord
from glowplug.core.errors import CapacityError, UnknownCall, UserError
from glowplug.core.rng import rng_for
from glowplug.core.settings import CallSettings

if TYPE_CHECKING:
    import httpx

log = structlog.get_logger("glowplug.calls")
_MAX_URL_CHARS = 2000
_AT_ONCE = 16
_PER_HOST = 4
_MAX_BYTES = 256 * 2**20
_AGAIN_S = 5.0
"""What the disk did not take, or give."""


def check_url(url: str, settings: CallSettings) -> str:
    """Raises UserError."""
    if not settings.callbacks:
        raise UserError("this server posts no results: it was started with --no-callbacks")
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        usable = False
    if not usable or len(url) > _MAX_URL_CHARS or not url.isprintable() or " " in url:
        raise UserError(
            f"the callback {url[:80]!r} is no http or https URL of at most {_MAX_URL_CHARS} characters"
        )
    if parts.username is not None or parts.password is not None:
        raise UserError("a callback URL carries no user and no password: it is stored and shown")
    return url


class Callbacks:
    def __init__(
        self,
        store: CallStore,
        settings: CallSettings,
        clock: Callable[[], float],
        on_change: Callable[[CallRecord], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._making = asyncio.Lock()
        self.loop = DueLoop(Backlog(_AT_ONCE, lambda host: _PER_HOST, _MAX_BYTES), self._deliver, clock)

    def add(self, call: CallRecord) -> None:
        """It has ended and its result is to be posted."""
        entry = _entry(call)
        if entry is not None:
            self.loop.add(entry)

    async def close(self) -> None:
        await self.loop.close()
        for client in self._clients.values():
            await client.aclose()

    async def _deliver(self, entry: Entry) -> Entry | None:
        try:
            call = await self._store.reader.find(entry.call)
            if states.callback_due_s(call) is None:
                return None
            problem, final = await self._post(call)
            now_s = self._clock()
            assert call.callback is not None
            rng = rng_for(
                self._settings.seed, (int(call.id[-12:], 16) << 16) | 0x8000 | call.callback.attempts
            )
            posted_s = call.ended_s
            call = await self._written(
                entry.call,
                lambda c: (
                    # Retried meanwhile, it has ended anew: that result was posted to nobody yet.
                    states.after_callback(c, problem, final, self._settings, now_s, rng)
                    if c.ended_s == posted_s
                    else c
                ),
                now_s,
            )
        except UnknownCall:
            return None
        except CapacityError as error:  # it could not be read, and was not posted
            log.warning("a callback cannot be read now", call=entry.call, error=error.message)
            return Entry(entry.call, entry.lane, self._clock() + _AGAIN_S, 0, entry.size_bytes)
        self._on_change(call)
        return _entry(call)

    async def _written(
        self, call: CallId, change: Callable[[CallRecord], CallRecord], now_s: float
    ) -> CallRecord:
        """Tries until it is written: a receiver is not asked again for a disk of ours that is full. Raises
        UnknownCall."""
        told = False
        while True:
            try:
                return await self._store.change(call, change, now_s)
            except CapacityError as error:
                if not told:
                    log.warning("a callback cannot be written down yet", call=call, error=error.message)
                    told = True
            await asyncio.sleep(_AGAIN_S)

    async def _post(self, call: CallRecord) -> tuple[str, bool]:
        """(what went wrong or nothing, whether to give up)."""
        import httpx

        assert call.callback is not None
        if not self._settings.callbacks:
            return "this server posts no results any more", True
        content_type, body = await self._result(call)
        headers = {
            "content-type": content_type,
            "x-call-id": call.id,
            "x-function-name": call.function,
            "x-function-status": str(200 if call.error is None else call.error.status),
            "x-call-state": call.state,
            "user-agent": f"glowplug/{__version__}",
        }
        try:
            async with asyncio.timeout(self._settings.callback_timeout_s):
                client = await self._client(urlsplit(call.callback.url).scheme)
                async with client.stream("POST", call.callback.url, content=body, headers=headers) as answer:
                    status = answer.status_code
        except TimeoutError:
            return f"no answer within {self._settings.callback_timeout_s:g} s", False
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return f"{type(error).__name__}: {error}"[:300], isinstance(error, httpx.InvalidURL)
        except Exception as error:  # else it would wait until the server starts anew
            log.exception("a callback could not be posted", call=call.id)
            return f"{type(error).__name__}: {error}"[:300], False
        if 200 <= status < 300:
            return "", True
        return f"it answered {status}", 300 <= status < 500 and status not in (408, 425, 429)

    async def _result(self, call: CallRecord) -> tuple[str, bytes]:
        if call.error is not None:
            facts = {"code": call.error.code, "message": call.error.message}
            return "application/json", msgspec.json.encode({"error": facts})
        return call.result_type, await self._store.reader.result(call.id) or b""

    async def _client(self, scheme: str) -> httpx.AsyncClient:
        """Certificates are read once, when they are needed, and not by the event loop."""
        import httpx

        async with self._making:
            if scheme not in self._clients:
                verify = await asyncio.to_thread(ssl.create_default_context) if scheme == "https" else False
                self._clients[scheme] = httpx.AsyncClient(
                    verify=verify, trust_env=False, follow_redirects=False, timeout=None,
                    limits=httpx.Limits(max_connections=_AT_ONCE, keepalive_expiry=5.0),
                )  # fmt: skip
            return self._clients[scheme]


def _entry(call: CallRecord) -> Entry | None:
    due_s = states.callback_due_s(call)
    if due_s is None or call.callback is None:
        return None
    return Entry(call.id, urlsplit(call.callback.url).netloc, due_s, 0, call.result_bytes)
