"""A file on a web server, read by ranges."""

from __future__ import annotations

import http.client
import math
import random
import re
import ssl
from collections.abc import Mapping
from typing import NamedTuple

from glowplug.loader.clock import Clock, RealClock
from glowplug.loader.errors import RangeRefused, SourceChanged, SourceUnavailable
from glowplug.loader.sources.base import Advice, WeightSource, check_range, target
from glowplug.loader.sources.connections import Answer, Connections
from glowplug.loader.sources.limit import Limit
from glowplug.loader.sources.redirects import Route
from glowplug.loader.sources.resuming import open_resuming
from glowplug.loader.sources.retrying import Retry
from glowplug.loader.sources.statuses import status_error
from glowplug.loader.sources.urls import locate

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
"""With numbers as long as any file's: Python refuses to read some that are longer."""
_SHOWN_CHARACTERS = 80


class HttpSource:
    """`url` as it is when this is made: a file that changes afterwards is refused (SourceChanged).

    `headers` go to the URL's own server alone. A read is given up after `silence_s` without a byte. `context`
    stands for the certificates that the system trusts. Proxies are not used. As many connections are kept as
    there were reads at once.

    Raises ValueError for another kind of URL, ReadDeadline after `within_s`, SourceError.
    """

    advice = Advice(parallel=8, read_bytes=8 * 2**20)

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        silence_s: float = 10.0,
        within_s: float | None = None,
        context: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        first = locate(url)
        self.name = first.name
        self._silence_s = silence_s
        self._clock = clock or RealClock()
        self._connections = Connections(context)
        self._route = Route(first, headers or {}, self._connections)
        try:
            self.size, self._version = self._look(self._limit(within_s))
        except BaseException:
            self.close()
            raise

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        self.read_within(buffer, offset, length, None)

    def read_within(
        self, buffer: bytearray | memoryview, offset: int, length: int, within_s: float | None
    ) -> None:
        view = target(buffer, length)
        check_range(self.name, self.size, offset, length)
        if not length:
            return
        limit = self._limit(within_s)
        what = f"{self.name}: reading {length} bytes at {offset}"
        fields = _asking(offset, length) | self._version.condition
        with self._route.ask(fields, limit, what) as answer:
            _check(answer, self.name, offset, length)
            coming = self._coming(answer, offset, length, what)
            _fill(view[:coming], answer, limit, what)
            if coming < length:
                raise SourceUnavailable(f"{what}: the answer had {coming} bytes", done_bytes=coming)

    def close(self) -> None:
        self._connections.close()

    def _limit(self, within_s: float | None) -> Limit:
        until_s = math.inf if within_s is None else self._clock.now_s() + within_s
        return Limit(self._clock, until_s, self._silence_s)

    def _look(self, limit: Limit) -> tuple[int, _Version]:
        """Size and version, from the first byte: a URL that is signed for GET often refuses HEAD."""
        what = f"{self.name}: opening"
        with self._route.ask(_asking(0, 1), limit, what) as answer:
            version = _Version(answer.header("ETag"), answer.header("Last-Modified"))
            if answer.status == 416 and answer.header("Content-Range") == "bytes */0":
                return 0, version
            _check(answer, self.name, 0, 1)
            if answer.status == 200:
                size = answer.length
            else:
                found = _RANGE.fullmatch(answer.header("Content-Range") or "")
                size = int(found[3]) if found and found[3] != "*" else None
                if answer.length == 1:
                    _fill(memoryview(bytearray(1)), answer, limit, what)
            if size is None:
                raise RangeRefused(
                    f"{self.name}: the server does not tell its size; use one that gives ranges"
                )
            return size, version

    def _coming(self, answer: Answer, offset: int, length: int, what: str) -> int:
        """How many of the bytes asked for an answer has; raises SourceError when these are not the bytes."""
        changed = SourceChanged(f"{what}: it was replaced since it was opened; open it again")
        if not self._version.same(answer):
            raise changed
        if answer.status == 200:
            if (offset, length) != (0, self.size):
                raise RangeRefused(f"{what}: the server cannot give parts of a file; use one that can")
            if answer.length not in (None, length):
                raise changed
            return length
        told = answer.header("Content-Range") or "no range"
        found = _RANGE.fullmatch(told)
        if found and found[3] not in ("*", str(self.size)):
            raise changed
        coming = int(found[2]) + 1 - offset if found and int(found[1]) == offset else 0
        if not 0 < coming <= length or answer.length not in (None, coming):
            told = told[:_SHOWN_CHARACTERS]
            raise SourceUnavailable(f"{what}: the answer claims to be {told}, of {answer.length} bytes")
        return coming


class _Version(NamedTuple):
    etag: str | None
    date: str | None

    @property
    def condition(self) -> dict[str, str]:
        """The header that has a server refuse another version."""
        # No server may find a weak ETag equal; two answers can be compared by it all the same.
        if self.etag is not None:
            return {} if self.etag.startswith("W/") else {"If-Match": self.etag}
        return {} if self.date is None else {"If-Unmodified-Since": self.date}

    def same(self, answer: Answer) -> bool:
        """Whether an answer is of this version, by all that it tells of that."""
        if self.etag is not None:
            return answer.header("ETag") in (None, self.etag)
        return self.date is None or answer.header("Last-Modified") in (None, self.date)


def _asking(offset: int, length: int) -> dict[str, str]:
    return {"Accept-Encoding": "identity", "Range": f"bytes={offset}-{offset + length - 1}"}


def _check(answer: Answer, name: str, offset: int, length: int) -> None:
    if answer.status not in (200, 206):
        asked = answer.header("Retry-After") or ""
        wait_s = float(asked) if asked.isdecimal() else 0.0
        raise status_error(name, answer.status, offset, length, retry_after_s=wait_s)
    coding = answer.header("Content-Encoding") or "identity"
    if coding != "identity":
        raise RangeRefused(f"{name}: the server sends it as {coding}, unasked; have it send the plain bytes")


def _fill(view: memoryview, answer: Answer, limit: Limit, what: str) -> None:
    """Reads the body, which has as many bytes as `view`."""
    done = 0
    while done < view.nbytes:
        got = _some(view[done:], answer, limit, what, done)
        if not got:
            raise SourceUnavailable(f"{what}: the answer ended after {done} bytes", done_bytes=done)
        done += got
    if answer.length is None and _some(memoryview(bytearray(1)), answer, limit, what, 0):
        raise SourceUnavailable(f"{what}: the answer goes on")
    answer.ended()


def _some(view: memoryview, answer: Answer, limit: Limit, what: str, done: int) -> int:
    try:
        return answer.read_some(view, limit)
    except (OSError, http.client.HTTPException) as error:
        raise limit.failure(what, error, done) from error


def open_http(
    url: str,
    *,
    retry: Retry | None = None,
    clock: Clock | None = None,
    rng: random.Random | None = None,
    headers: Mapping[str, str] | None = None,
    silence_s: float = 10.0,
    context: ssl.SSLContext | None = None,
) -> WeightSource:
    """An `HttpSource` that tries again as `retry` says. Raises as that does, and as `ResumingSource`."""

    def opener(within_s: float) -> WeightSource:
        return HttpSource(
            url, headers=headers, silence_s=silence_s, within_s=within_s, context=context, clock=clock
        )

    return open_resuming(locate(url).name, opener, retry, clock=clock, rng=rng)
