"""The samples of one worker, one after another: a head that keeps several under way, and a stage."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn

from glowplug.core.errors import FunctionFailed, GlowplugError, in_words
from glowplug.distributed import carry
from glowplug.distributed.channels.base import Buffer
from glowplug.distributed.errors import is_out_of_memory
from glowplug.distributed.frame import Kind
from glowplug.distributed.phases import Phases
from glowplug.distributed.post import Post
from glowplug.distributed.result_log import ResultLog
from glowplug.distributed.stages import Call, Stage, handover_in
from glowplug.distributed.torch_forward import Forward, Forwards
from glowplug.distributed.torch_keeping import watched
from glowplug.distributed.torch_orders import Seat, TorchOrders
from glowplug.distributed.torch_values import plain, run_packed

_NAMED = 3
Before = Callable[[int, int], None]
"""Told of each sample, and of the step that is next."""


def serve(
    orders: TorchOrders, seat: Seat, stage: Stage, first: int, post: Post, phases: Phases, before: Before
) -> None:
    """Takes each sample from the worker before, and hands it on to the next. Raises FunctionFailed and what
    `Post` raises."""
    keepers: list[str] = []
    for sample in range(first, seat.end):
        before(sample, seat.receives(sample))
        with phases.layers(1):
            call = Call(*post.wait(seat.receives(sample))[seat.source])
            with phases.of("compute"), _told(seat):
                if sample == first:
                    found, keepers = watched(stage, partial(stage, call))
                else:
                    found = stage(call)
            wrap = partial(_packed, found.hidden if seat.is_last else tuple(found))
            if keepers:  # what is handed on may be overwritten by the next sample
                with phases.of("encode"):
                    wrap = partial(_as_it_is, wrap())
            post.send(seat.sends(sample), [(seat.target, wrap)])
        if sample % orders.forgotten_every == 0:
            post.done(seat.receives(sample) + 1)


def lead(
    orders: TorchOrders, seat: Seat, model: nn.Module, inputs: Sequence[Buffer], first: int, log: ResultLog,
    post: Post, phases: Phases, before: Before,
) -> str:  # fmt: skip
    """Adds to `log` what the model returns for each sample; `inputs` are packed. Returns why it had no more
    than one under way, if so. Raises FunctionFailed, InvalidDeclaration for what cannot be carried, and what
    `Post` raises."""
    handover = handover_in([model])
    if handover is None:
        _alone(seat, model, inputs, first, log, phases, before)
        return ""
    handover.peer = Forwards()
    under_way: deque[tuple[int, Forward]] = deque()
    window, keepers = orders.window, list[str]()

    def finish() -> None:
        sample, forward = under_way.popleft()
        hidden = post.wait(seat.receives(sample))[seat.source]
        with phases.of("compute"), _told(seat):
            result = forward.finish(hidden)
        log.add(_result(result))
        if sample % orders.forgotten_every == 0:
            post.done(seat.receives(sample) + 1)

    for sample in range(first, seat.end):
        before(sample, seat.sends(sample))
        with phases.layers(1):
            if len(under_way) == window:
                finish()
            forward = Forward(partial(run_packed, model, inputs[sample % len(inputs)]))
            with phases.of("compute"), _told(seat):
                if sample == first:
                    call, keepers = watched(model, forward.begin)
                    window = 1 if keepers else window
                else:
                    call = forward.begin()
            under_way.append((sample, forward))
            post.send(seat.sends(sample), [(seat.target, partial(_packed, tuple(call)))])
    while under_way:
        finish()
    return _one_by_one(keepers) if keepers else ""


def _one_by_one(keepers: Sequence[str]) -> str:
    named = ", ".join(f"layer {path}" if path else "the model itself" for path in keepers[:_NAMED])
    more = f" and {len(keepers) - _NAMED} more" if len(keepers) > _NAMED else ""
    return (
        f"took one sample at a time, for what its model keeps of a call on {named}{more} would be mixed up "
        "with another's"
    )


def _alone(
    seat: Seat, model: nn.Module, inputs: Sequence[Buffer], first: int, log: ResultLog, phases: Phases,
    before: Before,
) -> None:  # fmt: skip
    for sample in range(first, seat.end):
        before(sample, seat.sends(sample))
        with phases.layers(1):
            with phases.of("compute"), _told(seat):
                result = run_packed(model, inputs[sample % len(inputs)])
            log.add(_result(result))


def _as_it_is(payload: tuple[Kind, bytes]) -> tuple[Kind, bytes]:
    return payload


def _packed(value: Any) -> tuple[Kind, bytes]:
    return Kind.BYTES, carry.pack(value)


def _result(value: Any) -> bytes:
    return carry.pack(plain(value, "what the model returns"))


@contextmanager
def _told(seat: Seat) -> Iterator[None]:
    """Around the author's code, which may raise anything."""
    try:
        yield
    except GlowplugError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        line = in_words(error).splitlines()[-1]
        raise FunctionFailed(f"worker {seat.worker}: {line}") from error
