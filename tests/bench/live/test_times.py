"""In which order answers are measured, against a server that writes down its calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from glowplug.bench.live import times
from glowplug.bench.live.models import Served

Step = tuple[str, ...]


class Standing:
    """What `measure` needs of a RunningServer. `steps` are moves, waits and calls in their order."""

    def __init__(self, port: int, steps: list[Step]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.steps = steps

    def stand_at(self, function: str, step: str, cache: str) -> None:
        self.steps.append((function, step, cache))

    def wait_staged(self, function: str) -> None:
        self.steps.append((function, "staged"))


@pytest.fixture
def server() -> Iterator[Any]:
    steps: list[Step] = []

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            steps.append((self.path.rpartition("/")[2], "called"))
            self.send_response(200)
            self.send_header("content-length", "1")
            self.end_headers()
            self.wfile.write(b"7")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield Standing(http.server_port, steps)
        http.shutdown()
        thread.join()


def test_memory_rests_before_weights_are_read_into_it(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All functions have let go of theirs, and none is called, for as long as it takes."""

    async def rest(seconds: float) -> None:
        server.steps.append(("rested", str(seconds)))

    monkeypatch.setattr("asyncio.sleep", rest)
    served = [Served(name, ({},), (7,)) for name in "fg"]
    found = times.measure(server, served, 1)
    assert server.steps[:7] == [
        ("f", "imported", "cold"), ("g", "imported", "cold"), ("rested", str(times.REST_S)),
        ("f", "called"), ("f", "staged"), ("g", "called"), ("g", "staged"),
    ]  # fmt: skip
    assert server.steps[7:9] == [("f", "imported", "cold"), ("f", "called")]
    assert set(found) == {"f", "g"}
    assert all(each.rested_s > 0 for each in found.values())
