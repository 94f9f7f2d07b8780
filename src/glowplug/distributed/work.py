"""What one worker does from its start message to its response."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from glowplug.core import npy
from glowplug.distributed.background_post import BackgroundPost
from glowplug.distributed.channels.base import Limits
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.registry import join
from glowplug.distributed.checkpoints import Checkpoints, checkpoint_blobs
from glowplug.distributed.exchange import Exchange
from glowplug.distributed.faults import Faults, disturbed, end_here
from glowplug.distributed.frame import Kind
from glowplug.distributed.loop import LayerLoop
from glowplug.distributed.orders import BARRIER, FIRST, GO, ROOT, Orders, read_orders
from glowplug.distributed.part_file import read_part
from glowplug.distributed.phases import Phases
from glowplug.distributed.platform_line import PlatformLine, Reached, Response
from glowplug.distributed.post import InlinePost, Post, Wire
from glowplug.distributed.relay import RelayPost, Route
from glowplug.distributed.results import Results, put_together
from glowplug.distributed.rows_in_flight import opener
from glowplug.distributed.schedule import Schedule, parts_of
from glowplug.distributed.start import Place, Start
from glowplug.distributed.timing import Timing, patiently

_TELL_EVERY_S = 0.2
_LAST_STALLS = 6
"""Whoever is done may have said so in a note that was lost."""


def work(start: Start, line: PlatformLine, began_s: float) -> None:
    """Tells `line` of the response when the worker's part is done. Then, where it keeps what it sent, it
    stays until nobody needs that any more. `began_s` is as time.monotonic tells it. Raises GlowplugError,
    MemoryError."""
    phases = Phases()
    place = start.place
    with ExitStack() as closing:
        with phases.of("load"):
            orders = read_orders(Path(start.orders))
            parts = {
                partition: read_part(orders.part(partition, role), own=start.memory_bytes > 0)
                for partition, role in parts_of(orders, place.worker)
            }
            inputs = npy.mapped(Path(orders.inputs))
            schedule = Schedule(orders, place.worker, parts)
            blobs = checkpoint_blobs(orders.checkpoints) if orders.lines else None
            if blobs is not None:
                closing.callback(blobs.close)
            checkpoints = Checkpoints(blobs, orders.run, place.worker, place.epoch, orders.generation)
            first = _first(start, schedule, checkpoints)
            deadline_s = began_s + start.deadline_s
            end = patiently(lambda: join(orders.address, place.worker), deadline_s)
            channel = disturbed(end, orders.faults, place)
            closing.callback(channel.close)
            limits = channel.limits
            timing = Timing(orders.stall_s, limits.slow_s, deadline_s)
        keep = _keeps(orders, limits, place) if orders.keep is None else orders.keep
        route = Route(place.worker, orders.workers, orders.relayed, schedule.sources(), schedule.targets())
        exchange = Exchange(
            place, route.sources(), route.targets(), first=route.step(first),
            limit_bytes=limits.max_message_bytes, keep=keep,
            looks_are_calls=limits.looks_are_calls, replays=limits.replays, generation=orders.generation,
        )  # fmt: skip
        tells = keep or orders.window > 0
        wire = Wire(channel, exchange, timing, tells=tells)
        open_payload = opener(schedule)
        over = (BackgroundPost if orders.background else InlinePost)(wire, route.opener(open_payload), phases)
        closing.callback(over.close)
        post: Post = RelayPost(over, route, open_payload, first) if orders.relayed else over
        watch = _watcher(line, orders.faults, place)
        loop = LayerLoop(schedule, parts, inputs, post, checkpoints, phases, watch)
        if orders.barrier and first < FIRST:
            with phases.of("barrier"):
                meet(schedule, post, waits=not place.incarnation)
        began_s = time.monotonic()
        results = loop.run(first)
        with phases.of("gather"):
            gather(schedule, post, results)
            post.flush()
        meter = channel.meter if blobs is None else channel.meter.plus(blobs.meter)
        worked_s = time.monotonic() - began_s
        line.tell(_response(place, phases, worked_s, meter, exchange, checkpoints))
        # Whoever took over for it before it told would need its sources still.
        post.done(orders.gather + 1)
        post.flush()
        if keep and not schedule.is_root:
            post.wait_until(route.all_targets(), orders.gather + 1, _LAST_STALLS)


def _response(
    place: Place, phases: Phases, worked_s: float, meter: Meter, exchange: Exchange, checkpoints: Checkpoints
) -> Response:
    return Response(
        place=place,
        phases=phases.times(),
        worked_s=worked_s,
        meter=meter,
        damaged=exchange.damaged,
        sent_again=exchange.sent_again,
        checkpoint_bytes=checkpoints.written_bytes,
        peak_bytes=_peak_bytes(),
        keeps=exchange.keep,
    )


def _peak_bytes() -> int:
    """The most memory that was resident. What getrusage tells begins with the parent's at the fork."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _keeps(orders: Orders, limits: Limits, place: Place) -> bool:
    """Where nothing is given again: for whoever takes over, and in a later epoch also since what an earlier
    one's workers were about to receive may be lost."""
    return (bool(orders.lines) or place.epoch > 0) and not limits.replays


def _first(start: Start, schedule: Schedule, checkpoints: Checkpoints) -> int:
    """The line to begin at: the last that was reached in this epoch, else the one at which it began."""
    if start.place.incarnation:
        return checkpoints.latest(schedule.lines) or start.line
    return start.line


def meet(schedule: Schedule, post: Post, *, waits: bool) -> None:
    """Who takes over for another does not wait: the others have met, or wait for it."""
    others = [worker for worker in range(schedule.orders.workers) if worker != ROOT]
    if schedule.is_root:
        if waits:
            post.wait(BARRIER)
        post.send(GO, [(worker, _null) for worker in others])
    else:
        post.send(BARRIER, [(ROOT, _null)])
        if waits:
            post.wait(GO)


def gather(schedule: Schedule, post: Post, results: Results) -> None:
    orders, step = schedule.orders, schedule.orders.gather
    if schedule.is_root:
        packed = {worker: payload.body for worker, payload in post.wait(step).items()}
        if orders.final_shares(ROOT):
            packed[ROOT] = results.pack()
        output = put_together(orders, packed)
        partial = Path(f"{orders.result}.partial")
        with partial.open("wb") as file:
            np.save(file, output)
        partial.rename(orders.result)
    elif orders.final_shares(schedule.worker):
        post.send(step, [(ROOT, lambda: (Kind.BYTES, results.pack()))])


def _null() -> tuple[Kind, bytes]:
    return Kind.NULL, b""


def _watcher(line: PlatformLine, faults: Faults, place: Place) -> Callable[[int], None]:
    told_s = 0.0

    def before(step: int) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if now_s - told_s >= _TELL_EVERY_S:
            told_s = now_s
            line.tell(Reached(step))
        end_here(faults, place, step)

    return before
