"""A server that speaks as AWS Lambda does, as far as we use it, and really runs what it is given: each event
in a process of its own, with the unpacked zip on its path and what Lambda would set in its environment."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_FUNCTION = re.compile(r"/\d{4}-\d\d-\d\d/functions(?:/([\w-]+))?(?:/([a-z-]+))?/?")
_ENTRY = """
import importlib, json, sys, time
folder, handler, timeout_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
sys.path.insert(0, folder)
began_s = time.monotonic()
class Context:
    def get_remaining_time_in_millis(self):
        return int(1000 * (timeout_s - (time.monotonic() - began_s)))
module, _, name = handler.rpartition(".")
entry = getattr(importlib.import_module(module), name)
assert importlib.import_module("glowplug").__file__.startswith(folder)
print(json.dumps(entry(json.load(sys.stdin), Context())))
"""
_PASSED_ON = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "LD_LIBRARY_PATH", "PATH")


class LambdaServer:
    """`answers` are (worker, what its function returned, or its last words). The next `throttled` calls
    are refused as too many. Each sandbox is one in which a function ended at once before; `left` are workers'
    folders that lay in one after a function."""

    def __init__(self, folder: Path) -> None:
        self.functions: dict[str, dict[str, Any]] = {}
        self.retries: dict[str, int] = {}
        self.answers: list[tuple[int, str]] = []
        self.left: list[str] = []
        self.calls: list[str] = []
        self.throttled = 0
        self.refuses = False
        self.read: Callable[[str], bytes] = lambda key: b""
        """An object of the only bucket."""
        self.refused = ""
        """This of a function alone."""
        self._folder = folder
        self._threads: list[threading.Thread] = []
        self._processes: list[subprocess.Popen[str]] = []
        self._lock = threading.Lock()

    def call(self, method: str, path: str, event_type: str, body: bytes) -> tuple[int, str, dict[str, Any]]:
        """(status, error type, answer)."""
        with self._lock:
            match = _FUNCTION.fullmatch(path)
            assert match is not None, path
            name, what = match[1] or "", match[2] or ""
            self.calls.append(f"{method} {what}".strip())
            if self.refuses or (what and what == self.refused):
                return 403, "AccessDeniedException", {"Message": "no"}
            if self.throttled:
                self.throttled -= 1
                return 429, "TooManyRequestsException", {"Message": "Rate exceeded"}
            if method == "POST" and not name:
                return self._create(json.loads(body))
            if name not in self.functions:
                return 404, "ResourceNotFoundException", {"Message": f"Function not found: {name}"}
            if what == "invocations":
                assert event_type == "Event"
                self._begin(name, body.decode())
                return 202, "", {}
            if what == "event-invoke-config":
                self.retries[name] = json.loads(body)["MaximumRetryAttempts"]
                return 200, "", {}
            function = self.functions[name]
            state, function["State"] = function["State"], "Active"
            shown = {"FunctionName": name, "State": state}
            return 200, "", shown if what == "configuration" else {"Configuration": shown}

    def rest(self) -> None:
        """Returns when no function runs any more."""
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Ends them."""
        for process in self._processes:
            process.kill()
        self.rest()

    def _create(self, told: dict[str, Any]) -> tuple[int, str, dict[str, Any]]:
        name = told["FunctionName"]
        if name in self.functions:
            return 409, "ResourceConflictException", {"Message": f"Function already exist: {name}"}
        if not told["Role"].startswith("arn:aws:iam::"):
            return 400, "InvalidParameterValueException", {"Message": "The role cannot be assumed"}
        code = told["Code"]
        content = base64.b64decode(code["ZipFile"]) if "ZipFile" in code else self.read(code["S3Key"])
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(self._folder / name)
        self.functions[name] = {**told, "State": "Pending"}
        return 201, "", {"FunctionName": name, "State": "Pending"}

    def _begin(self, name: str, event: str) -> None:
        thread = threading.Thread(target=self._run, args=(self.functions[name], event))
        self._threads.append(thread)
        thread.start()

    def _run(self, function: dict[str, Any], event: str) -> None:
        worker = json.loads(event)["start"]["place"]["worker"]
        command = [sys.executable, "-c", _ENTRY, str(self._folder / function["FunctionName"])]
        with tempfile.TemporaryDirectory(dir=self._folder) as own:
            environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
            environment |= {**function["Environment"]["Variables"], "TMPDIR": own, "HOME": own}
            environment["NUMBA_CACHE_DIR"] = str(self._folder / "numba")
            (Path(own) / "glowplug-worker-before" / "parts").mkdir(parents=True)
            process = subprocess.Popen(
                [*command, function["Handler"], str(function["Timeout"])], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=own,
            )  # fmt: skip
            self._processes.append(process)
            try:
                out, err = process.communicate(event, timeout=function["Timeout"])
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
            self.left += [path.name for path in Path(own).glob("glowplug-worker-*")]
        self.answers.append((worker, out.strip() or err.strip()))


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A process that was ended leaves its connection behind."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def lambda_server() -> Iterator[tuple[str, LambdaServer]]:
    """(its URL, what it has)."""
    with tempfile.TemporaryDirectory() as folder:
        state = LambdaServer(Path(folder))

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                kind = self.headers.get("x-amz-invocation-type", "")
                status, error, answer = state.call(self.command, self.path, kind, body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                if error:
                    self.send_header("x-amzn-errortype", error)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Nothing."""

        server = _Server(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", state
        finally:
            state.close()
            server.shutdown()
            thread.join()
            server.server_close()
