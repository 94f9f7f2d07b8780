"""What a forked child becomes: a function's zygote, a worker, a build, or the probe of a new bundle."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from glowplug.bundle.builder import build_bundle
from glowplug.bundle.gangs import connect_here
from glowplug.bundle.instantiate import Phases, Served, serve_bundle
from glowplug.bundle.manifest import MANIFEST, Manifest
from glowplug.bundle.provenance import changes, loaded
from glowplug.core.errors import GlowplugError, print_safely, sayable, told
from glowplug.loader.devices.base import Device
from glowplug.node import procfs, wire
from glowplug.node.hints import explained
from glowplug.node.messages import BuildDone, Failed, Fork, ProbeDone, ZygoteReady
from glowplug.node.on_device import open_device, wait_in_context
from glowplug.node.parallel import rest_threads, restore_threads
from glowplug.node.part import run_part
from glowplug.node.routes import Routes
from glowplug.node.ties import Ties
from glowplug.node.worker import Worker
from glowplug.node.zygote import give_back, serve_forks, settle

T = TypeVar("T")


def run(
    message: Fork, control: socket.socket, extra: list[int], served: Served | None, imported_s: float = 0.0
) -> None:
    """Runs the role of `message` to its end. `served` is what the forking zygote had staged, if any."""
    try:
        if message.role == "context":
            message, extra = wait_in_context(message, control, extra)
        if message.role == "build":
            _build(message, control)
        elif message.role == "stage":
            _stage(message, control)
        elif message.role == "probe":
            _probe(message, control)
        elif message.role == "part":
            run_part(message, control)
        else:
            data, *more = extra
            device = open_device(message.device, more) if message.device is not None else None
            Worker(message, control, socket.socket(fileno=data), served, imported_s, more, device).run()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the agent is gone, and so are we
    except (Exception, SystemExit) as error:
        print_safely(error)
        wire.send(control, failure(error))


def failure(error: BaseException) -> Failed:
    """How an error of a user's code, or of ours about it, travels: its code, what it says, and a hint."""
    with contextlib.suppress(Exception):  # its attributes are the user's code
        if isinstance(error, GlowplugError) and not error.of_a_call:
            said = "\n".join([told(error)[:2000], *getattr(error, "__notes__", ())])
            return Failed(sayable(str(error.code)[:100]), sayable(said[:4000]))
    return Failed("function_failed", sayable(explained(error, 2000)))


def load(message: Fork, phases: Phases, weights: Sequence[int] = (), device: Device | None = None) -> Served:
    """Climbs to STAGED in this process. `weights` are descriptors: their file, when this process may not open
    it, and while they are still on their way who tells of them. They are brought to the
    `device`."""
    bundle = Path(message.bundle)
    manifest = msgspec.json.decode((bundle / MANIFEST).read_bytes(), type=Manifest)
    packed = weights[0] if weights else Path(message.pack)
    arrivals = weights[1] if len(weights) > 1 else None
    try:
        served = serve_bundle(manifest, bundle, packed, phases, arrivals, device)
    except Exception as error:
        if changed := changes(manifest.built_with, loaded()):
            with contextlib.suppress(Exception):  # not every class takes one
                error.add_note(f"(it was built with {changed}: deploy it again)")
        raise
    served.routes = Routes(served.endpoints, manifest.declaration)
    if served.routes.wants_a_loop:
        from glowplug.node import loop_worker  # noqa: F401  asyncio, once for all children
    elif served.routes.concurrency > 1:
        from glowplug.node import threaded_worker  # noqa: F401
    return served


def _build(message: Fork, control: socket.socket) -> None:
    assert message.declaration is not None
    restore_threads()
    os.chdir(message.output)
    result = build_bundle(message.declaration, Path(message.code), Path(message.output) / "pack")
    wire.send(control, BuildDone(result))


def _stage(message: Fork, control: socket.socket) -> None:
    phases, before = Phases(), Ties.now()
    served = load(message, phases)
    if message.rehearse:
        rehearse_quietly(served)
    threads = prepare_to_fork()
    held_bytes = procfs.private_dirty_bytes()
    wire.send(control, ZygoteReady(phases.seconds, held_bytes, threads, ties=before.new(ours_of(served))))

    def set_mapped(mapped: bool) -> None:
        if served.pack is not None:
            (served.pack.map_pages if mapped else served.pack.release_pages)()

    serve_forks(control, lambda m, sock, extra: run(m, sock, extra, served), set_mapped)


def rehearse_quietly(served: Served) -> bool:
    """Runs the model once before forking, so that its children inherit what a first pass has to make.

    That is: kernels compiled for its shapes, symbols bound, allocator and dispatcher warmed. False when the
    model raised, which the next request will show to whoever asked.
    """
    try:
        return served.rehearse()
    except Exception as error:
        print_safely(error)
        return False


def prepare_to_fork() -> int:
    """Leaves as little to copy as can be, and returns the number of threads: above one, do not fork.

    The weights' page tables are not copied (decision 002), as long as nobody wrote to the weights.
    """
    rest_threads()
    settle()
    return procfs.thread_count()


def ours_of(served: Served) -> tuple[int, ...]:
    """The descriptors that staging itself keeps open: forks only map what is behind them, or read it where
    they say."""
    return (served.pack.fileno(),) if served.pack is not None else ()


def _probe(message: Fork, control: socket.socket) -> None:
    """Stages the bundle, then measures: a zygote that rehearses, and a worker forked from it and primed.

    Whatever may not fork is found out here, in processes that nobody waits for.
    """
    before = Ties.now()
    served = load(message, Phases())
    if served.handover is not None:
        # All workers are this one process: what the whole model needs is more than any of them does.
        for pack in connect_here(served.handover, [Path(path) for path in message.parts]):
            pack.close()
    threads = prepare_to_fork()
    ties = before.new(ours_of(served))
    if threads > 1 or ties:
        peak, parked = measure_primed(served)
        wire.send(control, ProbeDone(threads, False, procfs.private_dirty_bytes(), parked, peak, ties))
        return
    zygote = in_child(lambda: _rehearsed(served))
    rehearsed, staged_bytes = zygote if zygote is not None else (False, procfs.private_dirty_bytes())
    measured = in_child(lambda: measure_worker(served, rehearsed))
    if measured is None:
        wire.send(control, Failed("build_failed", "running the model on its example ended the process"))
        return
    wire.send(control, ProbeDone(threads, rehearsed, staged_bytes, measured[1], measured[0]))


def _rehearsed(served: Served) -> tuple[bool, int]:
    """Whether this process may still fork after it ran the model, and its private bytes then."""
    before = Ties.now()
    may_fork = rehearse_quietly(served) and prepare_to_fork() == 1 and not before.new(ours_of(served))
    return may_fork, procfs.private_dirty_bytes()


def measure_worker(served: Served, rehearsed: bool) -> tuple[int, int]:
    """(peak, parked) private bytes of a worker, forked from a zygote like the one that will be."""
    if rehearsed:
        rehearse_quietly(served)
        prepare_to_fork()
        found = in_child(lambda: measure_primed(served))
        if found is not None:
            return found
    return measure_primed(served)


def in_child(measure: Callable[[], tuple[T, int]]) -> tuple[T, int] | None:
    """What `measure` returns in a fork of this process; None when that ended early. When that was killed this
    process ends alike: the agent tells whether it was for its memory, or nobody's fault."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writer, msgspec.json.encode(measure()))
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
        os.kill(os.getpid(), signal.SIGKILL)
    return tuple(msgspec.json.decode(data)) if data else None


def measure_primed(served: Served) -> tuple[int, int]:
    """(peak, parked) private bytes of this process, primed as a worker is."""
    restore_threads()
    served.rehearse()
    peak = procfs.private_dirty_bytes()
    return peak, give_back(peak)
