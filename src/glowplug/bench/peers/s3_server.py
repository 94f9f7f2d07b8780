"""A real S3 store on this machine: SeaweedFS in one process, with a folder that ends with it.

    python -m glowplug.bench.peers.s3_server PARENT PROGRAM ARGUMENT ...

replaces itself by that program, which then dies with the process PARENT.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from glowplug.bench.peers import peers_environment
from glowplug.bench.systems.processes import end_tree
from glowplug.core.forks import die_with_parent

READY_S = 60.0
POLL_S = 0.05
ATTEMPTS = 3
BUCKET = "models"
REGION = "us-east-1"
UPLOAD_S = 600.0
CHUNK_MIB = 8
"""The size in which stored files are split: that of a usual multipart upload's parts."""
_ROLES = ("master", "volume", "filer", "s3")


@dataclass(frozen=True)
class S3Store:
    """A running store. `environment` has its endpoint and credentials in the AWS tools' variables; `restart`
    kills it as a crash does, and returns when it answers again, with all that it had."""

    endpoint: str
    environment: dict[str, str]
    filer_port: int
    restart: Callable[[], None]

    def upload(self, path: Path, key: str | None = None) -> str:
        """Stores the file and returns its `s3://` URL. Raises RuntimeError, OSError."""
        key = key or path.name
        # The store's own door needs no signature; readers come through S3's all the same.
        connection = http.client.HTTPConnection("127.0.0.1", self.filer_port, timeout=UPLOAD_S)
        with contextlib.closing(connection), path.open("rb") as content:
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(path.stat().st_size),
            }
            connection.request("PUT", f"/buckets/{BUCKET}/{quote(key)}", content, headers)
            reply = connection.getresponse()
            said = reply.read().decode(errors="replace")
        if reply.status != 201:
            raise RuntimeError(f"storing {path} answered {reply.status}: {said[:500]}")
        return f"s3://{BUCKET}/{key}"


def weed() -> Path | None:
    """SeaweedFS's program: of the peers' environment, of this one, or on the PATH."""
    for folder in (peers_environment() / "bin", Path(sys.executable).parent):
        if (folder / "weed").is_file():
            return folder / "weed"
    found = shutil.which("weed")
    return Path(found) if found else None


@contextlib.contextmanager
def s3_store() -> Iterator[S3Store]:
    """An empty store on free ports, reachable from this machine only; killed when the block is left.

    It also dies with the thread that started it, whatever kills that. Everything runs in one process that
    shares the cores with its readers. Raises FileNotFoundError without SeaweedFS, RuntimeError with the end
    of its log when it does not come up.
    """
    program = weed()
    if program is None:
        raise FileNotFoundError("SeaweedFS's `weed` is not installed: run `make peers`")
    with tempfile.TemporaryDirectory(prefix="glowplug-s3-") as folder:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                process = _Process(program, Path(folder) / str(attempt))
                break
            except RuntimeError:
                # A port that was free a moment ago may be taken by now.
                if attempt == ATTEMPTS:
                    raise
        try:
            yield process.store
        finally:
            process.end()


class _Process:
    """Raises RuntimeError with the end of its log when it does not come up."""

    def __init__(self, program: Path, folder: Path) -> None:
        folder.mkdir()
        self._log = folder / "log"
        self._ports = _free_ports([name for role in _ROLES for name in (f"{role}.port", f"{role}.port.grpc")])
        self._credentials = {
            "AWS_ACCESS_KEY_ID": secrets.token_hex(8), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)
        }  # fmt: skip
        self._command = _command(program, folder, self._ports)
        self._start()

    @property
    def store(self) -> S3Store:
        endpoint = f"http://127.0.0.1:{self._ports['s3.port']}"
        environment = {
            **self._credentials,
            "AWS_ENDPOINT_URL": endpoint,
            # SDKs differ in the name that they look for.
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            # obstore refuses to go without TLS unless told.
            "AWS_ALLOW_HTTP": "true",
        }
        return S3Store(endpoint, environment, self._ports["filer.port"], self._restart)

    def end(self) -> None:
        # It takes 15 s to take leave of clients, and nothing that it has is to be kept.
        self._process.kill()
        end_tree(self._process)
        for role in _ROLES:
            # It puts these there whatever its options say.
            port = self._ports[f"{role}.port.grpc"]
            Path(f"/tmp/seaweedfs-{role}-grpc-{port}.sock").unlink(missing_ok=True)

    def _restart(self) -> None:
        self.end()
        self._start()

    def _start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **self._credentials},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_ready(self._process, self._ports, self._log)
        except BaseException:
            self.end()
            raise


def _command(program: Path, folder: Path, ports: dict[str, int]) -> list[str]:
    options = {
        "dir": folder,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "s3": "true",
        "s3.localSocket": folder / "s3.sock",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "filer.localSocket": folder / "filer.sock",
        "filer.maxMB": CHUNK_MIB,
        "volume.max": 0,
        "master.volumeSizeLimitMB": 1024,
        # By default it reports its use to its makers.
        "master.telemetry": "false",
        **ports,
    }
    command = [sys.executable, "-m", "glowplug.bench.peers.s3_server", str(os.getpid())]
    command += [str(program), "-logtostderr=true", "server"]
    return command + [f"-{name}={value}" for name, value in options.items()]


def _wait_ready(process: subprocess.Popen[bytes], ports: dict[str, int], log: Path) -> None:
    deadline_s = time.monotonic() + READY_S
    while not all(
        _answers(ports[port], path) for port, path in (("filer.port", "/"), ("s3.port", "/healthz"))
    ):
        if process.poll() is not None or time.monotonic() > deadline_s:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"SeaweedFS did not come up (status {process.poll()}):\n{tail}")
        time.sleep(POLL_S)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_S)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def _free_ports(names: list[str]) -> dict[str, int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
