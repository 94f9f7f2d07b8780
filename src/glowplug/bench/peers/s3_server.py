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
from collections.abc import Iterator
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


@dataclass(frozen=True)
class S3Store:
    """A running store. `environment` has its endpoint and credentials in the AWS tools' variables."""

    endpoint: str
    environment: dict[str, str]
    filer_port: int

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
                process, ports, store = _start(program, Path(folder) / str(attempt))
                break
            except RuntimeError:
                # A port that was free a moment ago may be taken by now.
                if attempt == ATTEMPTS:
                    raise
        try:
            yield store
        finally:
            _end(process, ports)


def _start(program: Path, folder: Path) -> tuple[subprocess.Popen[bytes], dict[str, int], S3Store]:
    folder.mkdir()
    roles = ("master", "volume", "filer", "s3")
    ports = _free_ports([name for role in roles for name in (f"{role}.port", f"{role}.port.grpc")])
    credentials = {"AWS_ACCESS_KEY_ID": secrets.token_hex(8), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}
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
    log = folder / "log"
    command = [sys.executable, "-m", "glowplug.bench.peers.s3_server", str(os.getpid())]
    command += [str(program), "-logtostderr=true", "server"]
    command += [f"-{name}={value}" for name, value in options.items()]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **credentials},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_ready(process, ports, log)
    except BaseException:
        _end(process, ports)
        raise
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    environment = {
        **credentials,
        "AWS_ENDPOINT_URL": endpoint,
        # SDKs differ in the name that they look for.
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        # obstore refuses to go without TLS unless told.
        "AWS_ALLOW_HTTP": "true",
    }
    return process, ports, S3Store(endpoint, environment, ports["filer.port"])


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


def _end(process: subprocess.Popen[bytes], ports: dict[str, int]) -> None:
    # It takes 15 s to take leave of clients, and nothing that it has is to be kept.
    process.kill()
    end_tree(process)
    for role in ("master", "volume", "filer", "s3"):
        # It puts these there whatever its options say.
        Path(f"/tmp/seaweedfs-{role}-grpc-{ports[f'{role}.port.grpc']}.sock").unlink(missing_ok=True)


def _free_ports(names: list[str]) -> dict[str, int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
