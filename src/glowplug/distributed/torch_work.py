"""What one worker of a torch model's run does from its start message to its response."""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from glowplug import loader
from glowplug.core.errors import WeightsError
from glowplug.distributed import carry
from glowplug.distributed.background_post import BackgroundPost
from glowplug.distributed.errors import FrameMismatch, is_out_of_memory
from glowplug.distributed.exchange import Exchange
from glowplug.distributed.faults import end_here
from glowplug.distributed.frame import Kind, Payload
from glowplug.distributed.orders import ROOT
from glowplug.distributed.phases import Phases
from glowplug.distributed.platform_line import PlatformLine
from glowplug.distributed.post import InlinePost, Post, Wire
from glowplug.distributed.result_log import ResultLog, checked
from glowplug.distributed.start import Start
from glowplug.distributed.torch_loop import lead, serve
from glowplug.distributed.torch_orders import Seat, TorchOrders, read_inputs, read_torch_orders
from glowplug.distributed.torch_parts import part_name
from glowplug.distributed.worker_ends import joined, keeps, response, throttled

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
"""Of glibc's malloc.h."""
_OWN_PAGES_BYTES = 2**20


def work(start: Start, line: PlatformLine, began_s: float) -> None:
    """As `work.work`. A head goes on after the results in its log, the others at the sample that they are
    told."""
    phases = Phases()
    place = start.place
    _share_one_heap(gives_back=start.memory_bytes > 0)
    with ExitStack() as closing:
        with phases.of("load"):
            orders = read_torch_orders(Path(start.orders))
            seat = orders.seat(place.worker)
            part = _loaded(orders, seat, own=start.memory_bytes > 0)
            log = None
            first = max(seat.first, start.line)
            if seat.is_head:
                log = ResultLog(orders.log(seat.group))
                closing.callback(log.close)
                first = seat.first + log.count
            deadline_s = began_s + start.deadline_s
            channel, timing = joined(orders, place, deadline_s)
            closing.callback(channel.close)
            limits = channel.limits
        keep = keeps(orders, limits, place, checkpoints=False)
        exchange = Exchange(
            place, seat.sources(), seat.targets(), first=orders.step(first, 1),
            limit_bytes=limits.max_message_bytes, keep=keep,
            looks_are_calls=limits.looks_are_calls, replays=limits.replays, generation=orders.generation,
        )  # fmt: skip
        wire = Wire(channel, exchange, timing, tells=keep)
        if seat.is_root:  # the others may be done long before it is
            wire.expect(orders.gather, orders.gather + 1)
        opened = _opener(orders)
        post: Post = (BackgroundPost if orders.background else InlinePost)(wire, opened, phases)
        closing.callback(post.close)
        reached = throttled(line)

        def before(sample: int, step: int) -> None:
            reached(sample - seat.first)
            end_here(orders.faults, place, step)

        began_s, note = time.monotonic(), ""
        with torch.inference_mode():
            if log is not None:
                note = lead(orders, seat, part, read_inputs(orders), first, log, post, phases, before)
            else:
                serve(orders, seat, part, first, post, phases, before)
        with phases.of("gather"):
            if seat.is_head:
                _gather(orders, seat, post)
            post.flush()
        worked_s = time.monotonic() - began_s
        told = response(place, phases, worked_s, channel.meter, exchange, 0)
        line.tell(msgspec.structs.replace(told, note=note))
        # Whoever took over for it before it told would need its sources still.
        post.done(orders.gather + 1)
        post.flush()
        if keep and not seat.is_root:  # until it is ended, if need be: it has told all that is asked of it
            targets = {target for targets in seat.targets().values() for target in targets}
            post.wait_until(targets, orders.gather + 1)


def _share_one_heap(*, gives_back: bool) -> None:
    """Of a head's threads one computes at a time. With heaps of their own, as glibc gives them, each would
    keep what its last call freed. Who `gives_back` has large tensors in no heap, where they leave holes,
    though pages that are new each time take longer."""
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        if gives_back:
            mallopt(_M_MMAP_THRESHOLD, _OWN_PAGES_BYTES)


def _loaded(orders: TorchOrders, seat: Seat, *, own: bool) -> Any:
    """The head's model, or a stage. Where it is `own` its weights are in memory of the worker's: pages of a
    file may be counted as another's."""
    sys.path[:0] = [each for each in orders.modules if each not in sys.path]
    try:
        with loader.open_pack(Path(orders.parts) / part_name(seat.stage)) as pack:
            content: Any = pack.load(_copied if own else None)
    except (OSError, loader.LoaderError) as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        raise WeightsError(f"worker {seat.worker} cannot load its part: {error}") from error
    return content["part"]


def _copied(weights: memoryview) -> torch.Tensor:
    """Aligned as what torch makes itself."""
    found = torch.empty(weights.nbytes, dtype=torch.uint8)
    found.numpy()[:] = np.frombuffer(weights, np.uint8)
    return found


def _opener(orders: TorchOrders) -> Any:
    def opened(step: int, source: int, payload: Payload) -> Any:
        if payload.kind != Kind.BYTES:
            raise FrameMismatch(f"step {step} of worker {source}: a payload of {payload.kind!r}")
        if step < orders.gather:
            return carry.unpack(payload.body)
        first, end = orders.shares[source // orders.stages]
        return checked(payload.body, end - first, f"worker {source}")

    return opened


def _gather(orders: TorchOrders, seat: Seat, post: Post) -> None:
    """The root puts all logs into one, in the order of their samples."""
    mine = orders.log(seat.group)
    if not seat.is_root:
        post.send(orders.gather, [(ROOT, lambda: (Kind.BYTES, mine.read_bytes()))])
        return
    came = post.wait(orders.gather) if len(orders.shares) > 1 else {}
    partial = orders.result.with_suffix(".partial")
    with partial.open("wb") as file:
        with mine.open("rb") as log_file:
            shutil.copyfileobj(log_file, file)
        for _, log in sorted(came.items()):
            file.write(log)
    partial.rename(orders.result)
