"""What web servers do to their clients. Each answers one request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from tests.loader.sources.server import Misdeed, Request


def status(number: int, **headers: str) -> Misdeed:
    return lambda request, start, end: request.status(number, **headers)


def reset_after(share: float) -> Misdeed:
    def misdeed(request: Request, start: int, end: int) -> None:
        _begin(request, start, end, share)
        request.reset()

    return misdeed


def close_after(share: float) -> Misdeed:
    def misdeed(request: Request, start: int, end: int) -> None:
        _begin(request, start, end, share)
        request.close_connection = True

    return misdeed


def stall_after(share: float) -> Misdeed:
    def misdeed(request: Request, start: int, end: int) -> None:
        _begin(request, start, end, share)
        request.server.released.wait()
        request.close_connection = True

    return misdeed


def short_range(share: float) -> Misdeed:
    """An honest 206 with fewer bytes than were asked for."""
    return lambda request, start, end: request.part(start, max(start + 1, start + int((end - start) * share)))


def no_answer(request: Request, start: int, end: int) -> None:
    request.reset()


def no_ranges(request: Request, start: int, end: int) -> None:
    request.answer(200, request.server.content, {})


def long_body(request: Request, start: int, end: int) -> None:
    body = request.server.content[start:end] + b"more"
    request.part(start, end, body)


def long_range(request: Request, start: int, end: int) -> None:
    request.part(start, end + 1, request.server.content[start:end] + b"x")


def wrong_range(request: Request, start: int, end: int) -> None:
    request.part(start + 1, end + 1, request.server.content[start:end])


def no_range_told(request: Request, start: int, end: int) -> None:
    request.part(start, end, Content_Range="")


def nonsense(request: Request, start: int, end: int) -> None:
    request.wfile.write(b"good day\r\n\r\n")
    request.close_connection = True


def flipped_bit(request: Request, start: int, end: int) -> None:
    body = bytearray(request.server.content[start:end])
    body[len(body) // 2] ^= 8
    request.part(start, end, bytes(body))


def compressed(request: Request, start: int, end: int) -> None:
    request.part(start, end, Content_Encoding="gzip")


def chunked(extra: bytes = b"", ends: bool = True) -> Misdeed:
    """Right bytes, but in chunks, of which nobody knows how many come."""

    def misdeed(request: Request, start: int, end: int) -> None:
        request.send_response_only(206)
        for name, value in request.server.headers.items():
            request.send_header(name, value)
        request.send_header("Transfer-Encoding", "chunked")
        request.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(request.server.content)}")
        request.end_headers()
        body = request.server.content[start:end] + extra
        for at in range(0, len(body), 1000):
            piece = body[at : at + 1000]
            request.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if ends:
            request.wfile.write(b"0\r\n\r\n")
        else:
            request.close_connection = True

    return misdeed


def endless(text: bytes, body: bytes = b"") -> Misdeed:
    """Goes on, always soon enough to be waited for, until the client has gone."""

    def misdeed(request: Request, start: int, end: int) -> None:
        request.close_connection = True
        with contextlib.suppress(OSError):
            request.wfile.write(text)
            while True:
                request.wfile.write(body or text)

    return misdeed


PASSING: dict[str, Callable[[float], Misdeed]] = {
    "reset": reset_after,
    "close": close_after,
    "short range": short_range,
    "no answer": lambda share: no_answer,
    "nonsense": lambda share: nonsense,
    "long body": lambda share: long_body,
    "long range": lambda share: long_range,
    "wrong range": lambda share: wrong_range,
    "no range told": lambda share: no_range_told,
    "500": lambda share: status(500),
    "503": lambda share: status(503, Retry_After="1"),
    "429": lambda share: status(429),
    "408": lambda share: status(408),
    "chunked and longer": lambda share: chunked(b"more"),
    "chunked without end": lambda share: chunked(ends=False),
}
"""By name: faults after which asking again helps, given how much of the answer comes before."""


def _begin(request: Request, start: int, end: int, share: float) -> None:
    """Sends the head of a right answer and a share of its body."""
    body = request.server.content[start:end]
    request.part(start, end, body[: int(len(body) * share)], Content_Length=str(len(body)))
