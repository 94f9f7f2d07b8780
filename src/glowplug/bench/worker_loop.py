"""What a worker's loop costs by itself: `python -m glowplug.bench.worker_loop`.

A real worker in a process of its own is fed from its socket, without a gateway. Counted is its processor
time, from its first request to its last, divided by their number.
"""

from __future__ import annotations

import io
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from glowplug.bundle.instantiate import Served
from glowplug.core.bodies import JSON, NPY
from glowplug.core.specs import Declaration
from glowplug.endpoints import endpoint_spec
from glowplug.node import wire
from glowplug.node.messages import Fork
from glowplug.node.routes import Routes
from glowplug.node.worker import Worker
from glowplug.transport.frames import Flag, FrameDecoder, Kind, RequestMeta, encode
from glowplug.transport.shared_memory import (
    ANCILLARY_BYTES,
    THRESHOLD_BYTES,
    OutgoingRegion,
    descriptor_message,
    received_descriptors,
)

_READ_BYTES = 2**20


def echo(text: str) -> str:
    return text


async def echo_async(text: str) -> str:
    return text


def pause(text: str) -> str:
    """What a call that waits for somebody else costs: it sleeps for a millisecond."""
    time.sleep(0.001)
    return text


def double(x: np.ndarray) -> np.ndarray:
    return x * 2


def cpu_us(
    call: Callable[..., Any],
    body: bytes,
    count: int,
    together: int,
    content_type: str = JSON,
    at_once: int = 1,
) -> float:
    """Microseconds of a worker's processor time for each of `count` requests, of which `together` lie in its
    socket at once and `at_once` may run. A body from THRESHOLD_BYTES on travels in shared memory, and only
    one such at once."""
    data, theirs = socket.socketpair()
    control, their_control = wire.socket_pair()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            data.close()
            control.close()
            _serve(call, theirs, their_control, at_once)
            os.write(tell, repr(time.process_time()).encode())  # a child's begins at 0
        finally:
            os._exit(0)
    theirs.close()
    their_control.close()
    os.close(tell)
    with data, control:
        _feed(data, body, count, together, RequestMeta(call.__name__, content_type, content_type))
    took_s = float(os.read(told, 100))
    os.close(told)
    os.waitpid(pid, 0)
    return took_s / count * 1e6


def _serve(call: Callable[..., Any], data: socket.socket, control: socket.socket, at_once: int) -> None:
    declaration = Declaration(
        call.__name__, "function", "", "", endpoints=(endpoint_spec(call),), target_concurrency=at_once
    )
    served = Served(None, {call.__name__: call}, None)
    served.routes = Routes(served.endpoints, declaration)
    message = Fork("worker", "measured.default", "", sent_s=time.monotonic())
    Worker(message, control, data, served, 0.0).run()


def _feed(sock: socket.socket, body: bytes, count: int, together: int, meta: RequestMeta) -> None:
    region, decoder = OutgoingRegion(), FrameDecoder(2**30)
    in_region = len(body) >= THRESHOLD_BYTES
    owed = 0
    for first in range(0, count, 1 if in_region else together):
        if in_region:
            _, descriptor = region.place(body)
            flags = owed | Flag.IN_REGION | (0 if descriptor is None else Flag.NEW_REGION)
            head = encode(Kind.REQUEST, first, meta, len(body), flags)
            sock.sendmsg([head], [] if descriptor is None else descriptor_message(descriptor))
        else:
            numbers = range(first, min(count, first + together))
            sock.sendall(b"".join(encode(Kind.REQUEST, n, meta, len(body)) + body for n in numbers))
        left = 1 if in_region else len(numbers)
        while left:
            data, ancillary, _, _ = sock.recvmsg(_READ_BYTES, ANCILLARY_BYTES)
            for found in received_descriptors(ancillary):
                os.close(found)
            for frame in decoder.feed(data):
                if frame.kind is Kind.HELLO:
                    continue
                assert frame.kind is Kind.REPLY, frame
                left -= 1
                if frame.flags & Flag.REGION_FREE:
                    region.returned()
                owed = int(Flag.REGION_FREE) if frame.flags & Flag.IN_REGION else 0
    region.close()


def main() -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros(150_000, np.float32))
    for call, at_once in ((echo, 1), (echo, 4), (pause, 4), (echo_async, 4)):
        for together in (1, 8, 32):
            body, count = b'{"text": "hello there"}', 20_000 if call is not pause else 2000
            taken_us = cpu_us(call, body, count, together, at_once=at_once)
            what = f"{call.__name__}, {at_once} at once, {together:2d} in the socket"
            sys.stdout.write(f"{what:42s}{taken_us:7.1f} us\n")
    sys.stdout.write(
        f"{'600 KB array, doubled':42s}{cpu_us(double, stream.getvalue(), 2000, 1, NPY):7.1f} us\n"
    )


if __name__ == "__main__":
    main()
