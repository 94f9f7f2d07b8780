"""What a forked child becomes: a function's zygote, a worker, a build, or the probe of a new bundle."""

from __future__ import annotations

import os
import socket
import traceback
from pathlib import Path

import msgspec

from glowplug.bundle.builder import build_bundle
from glowplug.bundle.instantiate import Phases, Served, serve_bundle
from glowplug.bundle.manifest import MANIFEST, Manifest
from glowplug.core.errors import GlowplugError
from glowplug.node import procfs, wire
from glowplug.node.messages import BuildDone, Failed, Fork, ProbeDone, ZygoteReady
from glowplug.node.parallel import rest_threads, restore_threads
from glowplug.node.worker import Worker
from glowplug.node.zygote import serve_forks, settle


def run(
    message: Fork, control: socket.socket, extra: list[int], served: Served | None, imported_s: float = 0.0
) -> None:
    """Runs the role of `message` to its end. `served` is what the forking zygote had staged, if any."""
    try:
        if message.role == "build":
            _build(message, control)
        elif message.role == "stage":
            _stage(message, control)
        elif message.role == "probe":
            _probe(message, control)
        else:
            Worker(message, control, socket.socket(fileno=extra[0]), served, imported_s).run()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the agent is gone, and so are we
    except Exception as error:
        traceback.print_exc()
        wire.send(control, failure(error))


def failure(error: BaseException) -> Failed:
    """How an error of a user's code, or of ours about it, travels: its code and its last line."""
    if isinstance(error, GlowplugError):
        return Failed(error.code, error.message[:2000])
    line = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    return Failed("function_failed", line[:2000])


def load(message: Fork, phases: Phases) -> Served:
    """Climbs to STAGED in this process."""
    bundle = Path(message.bundle)
    manifest = msgspec.json.decode((bundle / MANIFEST).read_bytes(), type=Manifest)
    return serve_bundle(manifest, bundle, Path(message.pack), phases)


def _build(message: Fork, control: socket.socket) -> None:
    assert message.declaration is not None
    restore_threads()
    os.chdir(message.output)
    result = build_bundle(message.declaration, Path(message.code), Path(message.output) / "pack")
    wire.send(control, BuildDone(result))


def _stage(message: Fork, control: socket.socket) -> None:
    phases = Phases()
    served = load(message, phases)
    threads = prepare_to_fork(served)
    wire.send(control, ZygoteReady(phases.seconds, procfs.private_bytes(), threads))
    serve_forks(control, lambda m, sock, extra: run(m, sock, extra, served))


def prepare_to_fork(served: Served) -> int:
    """Leaves as little to copy as can be, and returns the number of threads: above one, do not fork."""
    rest_threads()
    if served.pack is not None:
        served.pack.release_pages()
    settle()
    return procfs.thread_count()


def _probe(message: Fork, control: socket.socket) -> None:
    """Stages the bundle, then measures a primed worker: a fork where that is safe, else this process."""
    served = load(message, Phases())
    threads = prepare_to_fork(served)
    staged_bytes = procfs.private_bytes()
    if threads > 1:
        peak, parked = measure_primed(served)
        wire.send(control, ProbeDone(threads, staged_bytes, parked, peak))
        return
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        restore_threads()
        os.write(writer, msgspec.json.encode(measure_primed(served)))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(child, 0)
    if not data:
        code = os.waitstatus_to_exitcode(status)
        wire.send(
            control, Failed("build_failed", f"running the model on its example ended the process ({code})")
        )
        return
    peak, parked = msgspec.json.decode(data, type=tuple[int, int])
    wire.send(control, ProbeDone(threads, staged_bytes, parked, peak))


def measure_primed(served: Served) -> tuple[int, int]:
    """Primes, and returns the private bytes before and after giving memory back."""
    served.rehearse()
    peak = procfs.private_bytes()
    settle()
    return peak, procfs.private_bytes()
