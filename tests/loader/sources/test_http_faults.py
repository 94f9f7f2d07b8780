"""Whatever a web server does, a read gives the right bytes or says that it could not."""

from __future__ import annotations

import random
import threading
from contextlib import closing

import pytest

from glowplug.loader.errors import ReadDeadline, SourceError, SourceRefused, SourceUnavailable
from glowplug.loader.sources import WeightSource, open_source
from glowplug.loader.sources.http import HttpSource
from glowplug.loader.sources.retrying import Retry
from glowplug.testing.source_suite import CONTENT, read
from tests.loader.sources import misdeeds
from tests.loader.sources.clock import ManualClock
from tests.loader.sources.server import FileServer


def opened(server: FileServer, seed: int = 0, silence_s: float = 5.0, **retry: float) -> WeightSource:
    """Pauses take no time."""
    return open_source(
        server.url,
        silence_s=silence_s,
        retry=Retry(**({"attempts": 8, "deadline_s": 1e6, "attempt_s": 1e5} | retry)),  # type: ignore[arg-type]
        clock=ManualClock(),
        rng=random.Random(seed),
    )


@pytest.mark.parametrize("name", misdeeds.PASSING)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_each_fault_is_an_error_once_and_survived(server: FileServer, name: str, share: float) -> None:
    misdeed = misdeeds.PASSING[name](share)
    with closing(HttpSource(server.url)) as source:
        # Twice: what fails on a kept connection before it answers is asked again on a fresh one.
        server.misdeeds.extend([misdeed] * 2)
        buffer = bytearray(50_000)
        with pytest.raises(SourceUnavailable) as raised:
            source.read_into(buffer, 1000, 50_000)
        done = raised.value.done_bytes
        assert buffer[:done] == CONTENT[1000 : 1000 + done]
    server.misdeeds.clear()
    with closing(opened(server)) as source:
        server.misdeeds.extend([misdeed] * 3)
        assert read(source, 1000, 50_000) == CONTENT[1000:51_000]
        assert not server.misdeeds


@pytest.mark.parametrize("name", sorted(misdeeds.PASSING.keys() - {"no range told"}))
def test_opening_survives_faults_too(server: FileServer, name: str) -> None:
    server.misdeeds.append(misdeeds.PASSING[name](0.5))
    with closing(opened(server)) as source:
        assert read(source, 0, 100) == CONTENT[:100]


@pytest.mark.parametrize("seed", range(30))
def test_many_faults_in_any_order(server: FileServer, seed: int) -> None:
    drawn = random.Random(seed)
    with closing(opened(server, seed)) as source:
        for _ in range(5):
            names = drawn.choices(list(misdeeds.PASSING), k=drawn.randrange(6))
            server.misdeeds.extend(misdeeds.PASSING[name](drawn.random()) for name in names)
            offset = drawn.randrange(len(CONTENT))
            length = drawn.randrange(min(40_000, len(CONTENT) - offset) + 1)
            buffer = bytearray(b"\xa5" * (length + 50))
            source.read_into(buffer, offset, length)
            assert buffer == CONTENT[offset : offset + length] + b"\xa5" * 50
            server.misdeeds.clear()


def test_it_reads_on_where_an_answer_broke(server: FileServer) -> None:
    with closing(opened(server)) as source:
        server.misdeeds.extend([misdeeds.close_after(0.5), misdeeds.short_range(0.5)])
        assert read(source, 0, 8000) == CONTENT[:8000]
    asked = [headers["Range"] for _, headers in server.seen[1:]]
    assert asked == ["bytes=0-7999", "bytes=4000-7999", "bytes=6000-7999"]


def test_stalls_are_survived(server: FileServer) -> None:
    with closing(opened(server, silence_s=0.1)) as source:
        server.misdeeds.extend([misdeeds.stall_after(0.5), misdeeds.stall_after(0.0)])
        assert read(source, 0, 8000) == CONTENT[:8000]


def test_a_server_that_always_fails_is_given_up(server: FileServer) -> None:
    with closing(opened(server, attempts=3)) as source:
        server.misdeeds.extend([misdeeds.status(500)] * 9)
        with pytest.raises(
            SourceUnavailable, match=r"reading 10 bytes at 5 failed 3 times, last with: .* 500"
        ):
            read(source, 5, 10)
        assert len(server.misdeeds) == 6


def test_a_server_that_only_stalls_is_given_up_in_time(server: FileServer) -> None:
    with closing(opened(server, silence_s=0.05, attempts=1000, deadline_s=3.0)) as source:
        server.misdeeds.extend([misdeeds.stall_after(0.0)] * 100)
        with pytest.raises(ReadDeadline, match="no time is left of 3 s"):
            read(source, 0, 10)


def test_what_is_refused_is_asked_for_once(server: FileServer) -> None:
    with closing(opened(server)) as source:
        server.misdeeds.extend([misdeeds.status(403)] * 2)
        with pytest.raises(SourceRefused, match="403"):
            read(source, 0, 10)
        assert len(server.misdeeds) == 1


def test_nobody_listens(server: FileServer) -> None:
    server.server_close()
    with pytest.raises(SourceUnavailable, match=r"opening failed 8 times, last with: .*refused"):
        opened(server)


def test_flipped_bits_are_passed_on(server: FileServer) -> None:
    with closing(opened(server)) as source:
        server.misdeeds.append(misdeeds.flipped_bit)
        arrived = read(source, 0, 100)
        assert sum(one != other for one, other in zip(arrived, CONTENT[:100], strict=True)) == 1


class Ticking(ManualClock):
    """Every look at it takes a second."""

    def now_s(self) -> float:
        self.wait_until(super().now_s() + 1)
        return super().now_s()


LONG = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}".encode()
ENDLESS = {
    "interim answers": misdeeds.endless(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body of a server that closes": misdeeds.endless(
        b"HTTP/1.0 206 Partial Content\r\nContent-Range: %b\r\n\r\n" % LONG, b"x"
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_without_end_is_given_up(server: FileServer, name: str) -> None:
    with closing(HttpSource(server.url, clock=Ticking())) as source:
        server.misdeeds.append(ENDLESS[name])
        found: list[BaseException] = []

        def ask() -> None:
            try:
                source.read_within(bytearray(len(CONTENT)), 0, len(CONTENT), 40)
            except SourceError as error:
                found.append(error)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(30)
        assert [type(error) for error in found] == [ReadDeadline]
