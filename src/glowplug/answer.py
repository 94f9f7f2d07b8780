"""Answers as a client gets them: whole, or while they are being given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import msgspec

from glowplug.core.bodies import JSON, decode_result
from glowplug.core.errors import Unavailable
from glowplug.core.items import ItemDecoder, is_stream

if TYPE_CHECKING:
    import httpx


class Answer(msgspec.Struct, frozen=True):
    """A function's answer as it came. `phases` are seconds by the names of core.ladder.PHASES."""

    body: bytes
    content_type: str
    request: int
    origin: str
    phases: dict[str, float]

    def value(self) -> Any:
        """The body decoded by its content type: JSON values, an ndarray, arrays by name, bytes or text."""
        return decode_result(self.content_type, self.body)


class Stream:
    """An answer that is being given: iterate over what it yields, as it comes; an answer that is no stream is
    one item. Close it, or use it in a `with`: leaving before the end cancels the request.

    `phases` are those until the first item. Raises what the function raised, and Unavailable when the stream
    broke off without a word.
    """

    def __init__(self, response: httpx.Response, errors: Callable[[], AbstractContextManager[None]]) -> None:
        self._response = response
        self._errors = errors
        headers = response.headers
        self.content_type = headers.get("content-type", JSON)
        self.request = int(headers.get("x-glowplug-request", 0))
        self.origin = headers.get("x-glowplug-origin", "")
        self.phases = parse_server_timing(headers.get("server-timing", ""))
        self.is_stream = is_stream(self.content_type) or "content-length" not in headers

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives up what has not come: a function that still yields is cancelled."""
        self._response.close()

    def answer(self) -> Answer:
        """The whole answer, when it is there."""
        with self._errors():
            body = self._response.read()
        return Answer(body, self.content_type, self.request, self.origin, self.phases)

    def __iter__(self) -> Iterator[Any]:
        if not self.is_stream:
            yield self.answer().value()
            return
        decoder = ItemDecoder(self.content_type)
        try:
            with self._errors():
                for data in self._response.iter_bytes():
                    yield from decoder.feed(data)
        except Unavailable as broken:
            raise decoder.broken() or broken from None
        yield from decoder.finish()


def parse_server_timing(header: str) -> dict[str, float]:
    """Seconds by phase out of a Server-Timing header, whose durations are milliseconds."""
    phases = {}
    for entry in header.split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key == "dur":
                phases[name] = float(value) / 1000
    return phases
