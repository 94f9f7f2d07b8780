"""The client that measures, against a server of the standard library's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from glowplug.bench.models import MODELS, SENTENCE, TOKENS
from glowplug.bench.systems.live import HttpCaller, request_body


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = json.dumps({"bytes": len(body), "type": self.headers["Content-Type"]}).encode()
        self.send_response(404 if self.path == "/nowhere" else 200)
        self.send_header("Server-Timing", "fork;dur=6.5, first_compute;dur=20")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def caller() -> Iterator[HttpCaller]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        caller = HttpCaller(f"http://127.0.0.1:{server.server_port}")
        yield caller
        caller.close()
        server.shutdown()
        thread.join()


def test_an_answer_comes_with_its_phases_on_one_connection(caller: HttpCaller) -> None:
    for _ in range(2):
        answer, latency_s, phases = caller.ask("/function/x", "application/json", b"{}")
        assert answer == {"bytes": 2, "type": "application/json"}
        assert latency_s > 0
        assert phases == {"fork": 0.0065, "first_compute": 0.02}


def test_an_error_is_no_answer(caller: HttpCaller) -> None:
    with pytest.raises(RuntimeError, match="/nowhere answered 404"):
        caller.ask("/nowhere", "application/json", b"{}")


def test_requests_travel_in_the_form_that_suits_them() -> None:
    assert request_body(MODELS["minilm"], SENTENCE) == (
        "application/json",
        json.dumps({"text": SENTENCE}, separators=(",", ":")).encode(),
    )
    assert json.loads(request_body(MODELS["bert_base"], TOKENS)[1]) == {"tokens": TOKENS}
    content_type, body = request_body(MODELS["resnet50"], np.zeros((2, 2, 3), np.uint8))
    assert content_type.startswith("application/x-npy")
    assert body.startswith(b"\x93NUMPY")
