"""Whatever a store does to obstore, a read gives the right bytes or says that it could not."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from glowplug.loader.errors import ReadDeadline, SourceError, SourceRefused, SourceUnavailable
from glowplug.loader.sources import WeightSource, open_source
from glowplug.loader.sources.retrying import Retry
from glowplug.testing.source_suite import CONTENT, read
from tests.loader.sources import misdeeds
from tests.loader.sources.clock import ManualClock
from tests.loader.sources.server import FileServer

pytest.importorskip("obstore", reason="needs the stores extra")


def opened(server: FileServer, attempts: int, timeout_s: float = 5.0) -> WeightSource:
    """The server's file as an object of S3. Pauses take no time."""
    options = place(server)
    options["client_options"]["timeout"] = timedelta(seconds=timeout_s)
    return open_source(
        "s3://models/net.pack",
        **options,
        retry=Retry(attempts=attempts, deadline_s=1e6),
        clock=ManualClock(),
        rng=random.Random(0),
    )


@pytest.mark.parametrize("name", misdeeds.PASSING)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_each_fault_is_survived_or_told(server: FileServer, name: str, share: float) -> None:
    with closing(opened(server, attempts=1)) as source:
        server.misdeeds.append(misdeeds.PASSING[name](share))
        failure: SourceError | None = None
        buffer = bytearray(b"\xa5" * 20_010)
        try:
            source.read_into(buffer, 1000, 20_000)
        except SourceError as error:
            failure = error
        if failure is None:
            assert buffer[:20_000] == CONTENT[1000:21_000]
        else:
            assert type(failure) is SourceUnavailable
            assert "reading 20000 bytes at 1000" in str(failure)
        assert buffer[20_000:] == b"\xa5" * 10
    server.misdeeds.clear()
    with closing(opened(server, attempts=4)) as source:
        server.misdeeds.extend([misdeeds.PASSING[name](share)] * 3)
        assert read(source, 1000, 20_000) == CONTENT[1000:21_000]


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_stalls_are_given_up(server: FileServer, share: float) -> None:
    with closing(opened(server, attempts=2, timeout_s=2.0)) as source:
        server.misdeeds.extend([misdeeds.stall_after(share)] * 2)
        with pytest.raises(SourceUnavailable, match="failed 2 times"):
            read(source, 0, 1000)


def test_what_is_refused_is_asked_for_once(server: FileServer) -> None:
    with closing(opened(server, attempts=4)) as source:
        server.misdeeds.extend([misdeeds.status(403)] * 2)
        with pytest.raises(SourceRefused, match="check the credentials"):
            read(source, 0, 10)
        assert len(server.misdeeds) == 1


@pytest.mark.parametrize(
    "retry", [Retry(deadline_s=0.3, attempt_s=1e5), Retry(attempt_s=0.3, deadline_s=0.5)]
)
def test_a_read_ends_with_the_time_it_has(server: FileServer, retry: Retry) -> None:
    """Whatever an attempt alone may take."""
    source = open_source("s3://models/net.pack", **place(server), retry=retry)
    server.misdeeds.extend([misdeeds.stall_after(0.5)] * 5)
    assert isinstance(failure_of(lambda: read(source, 0, 1000)), ReadDeadline)
    source.close()


def test_the_last_attempt_has_what_is_left(server: FileServer) -> None:
    source = open_source("s3://models/net.pack", **place(server), retry=Retry(attempt_s=1e5, deadline_s=1e6))
    server.misdeeds.append(misdeeds.stall_after(0.5))
    inner = source._inner  # type: ignore[attr-defined]
    error = failure_of(lambda: inner.read_within(bytearray(1000), 0, 1000, 0.2))
    assert isinstance(error, ReadDeadline)
    assert "reading 1000 bytes at 0: it took more than 0.2 s" in str(error)
    assert read(source, 0, 1000) == CONTENT[:1000]
    source.close()


def place(server: FileServer) -> dict[str, Any]:
    return {
        "endpoint": f"http://127.0.0.1:{server.server_port}",
        "region": "us-east-1",
        "skip_signature": True,
        "client_options": {"allow_http": True},
    }


def failure_of(attempt: Callable[[], object]) -> Exception:
    """In a thread, for it might wait for a day."""
    found: list[Exception] = []

    def run() -> None:
        try:
            attempt()
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert found, "it neither ended nor failed"
    return found[0]
