"""What one worker does from its start message to its response."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from glowplug.core import npy
from glowplug.distributed.background_post import BackgroundPost
from glowplug.distributed.checkpoints import Checkpoints, checkpoint_blobs
from glowplug.distributed.exchange import Exchange
from glowplug.distributed.faults import end_here
from glowplug.distributed.frame import Kind
from glowplug.distributed.loop import LayerLoop
from glowplug.distributed.orders import BARRIER, FIRST, GO, ROOT, read_orders
from glowplug.distributed.part_file import read_part
from glowplug.distributed.phases import Phases
from glowplug.distributed.platform_line import PlatformLine
from glowplug.distributed.post import InlinePost, Post, Wire
from glowplug.distributed.relay import RelayPost, Route
from glowplug.distributed.results import Results, put_together
from glowplug.distributed.rows_in_flight import opener
from glowplug.distributed.schedule import Schedule, parts_of
from glowplug.distributed.start import Place, Start
from glowplug.distributed.worker_ends import LAST_STALLS, joined, keeps, response, throttled


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
            channel, timing = joined(orders, place, deadline_s)
            closing.callback(channel.close)
            limits = channel.limits
        keep = keeps(orders, limits, place, checkpoints=bool(orders.lines))
        route = Route(place.worker, orders.workers, orders.relayed, schedule.sources(), schedule.targets())
        exchange = Exchange(
            place, route.sources(), route.targets(), first=route.step(first),
            limit_bytes=limits.max_message_bytes, keep=keep,
            looks_are_calls=limits.looks_are_calls, replays=limits.replays, generation=orders.generation,
        )  # fmt: skip
        tells = keep or orders.window > 0
        wire = Wire(channel, exchange, timing, tells=tells)
        for begins, ends in _expected(place, schedule, first):
            wire.expect(route.step(begins), route.step(ends))
        open_payload = opener(schedule)
        over = (BackgroundPost if orders.background else InlinePost)(wire, route.opener(open_payload), phases)
        closing.callback(over.close)
        post: Post = RelayPost(over, route, open_payload, first) if orders.relayed else over
        reached = throttled(line)

        def watch(step: int) -> None:
            reached(step)
            end_here(orders.faults, place, step)

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
        written_bytes = checkpoints.written_bytes
        line.tell(response(place, phases, worked_s, meter, exchange, written_bytes))
        # Whoever took over for it before it told would need its sources still.
        post.done(orders.gather + 1)
        post.flush()
        if keep and not schedule.is_root:
            post.wait_until(route.all_targets(), orders.gather + 1, LAST_STALLS)


def _first(start: Start, schedule: Schedule, checkpoints: Checkpoints) -> int:
    """The line to begin at: the last that was reached in this epoch, else the one at which it began."""
    if start.place.incarnation:
        return checkpoints.latest(schedule.lines) or start.line
    return start.line


def _expected(place: Place, schedule: Schedule, first: int) -> list[tuple[int, int]]:
    """Steps whose payloads may come at once, and before they are waited for: others may be done long before
    the root is, and who takes over gets again all that its predecessor got since its line."""
    gathered = schedule.orders.gather
    found = [(gathered, gathered + 1)] if schedule.is_root else []
    if place.incarnation:
        following = next((line for line in schedule.lines if line > first), gathered)
        found.append((first, following + 1))
    return found


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
