"""The calibrated model: how fast a worker computes, encodes and loads, and how slow what lies between
workers is.

Delays of AWS are stated, not measured: nobody can measure them without the cloud. DELAYS sweeps them.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

_HEAVY = 50_000_000
"""Edges times samples, some 20 ms of one core."""
MIB_PER_VCPU = 1769
"""From so much memory on, a Lambda function has one whole vCPU; below, a share of one in proportion."""
RUNTIME_BYTES = 150 * 2**20
"""What a worker holds without its part, as function platforms and control groups count: interpreter, numpy,
numba with LLVM, a channel's client."""
Some = TypeVar("Some", float, NDArray[np.float64])


def is_heavy(edges: float, samples: int) -> bool:
    """Whether a worker has so much of a layer that what two threads take to tell each other does not count:
    then it sends and receives beside computing."""
    return edges * samples >= _HEAVY


class CodecCost(msgspec.Struct, frozen=True):
    """One core's seconds to encode or decode: for each message, each value of its rows, zero or not, each
    value of a sample that lives, and each byte of what is encoded: where rows are alike these are few."""

    message_s: float = 0.0
    value_s: float = 0.0
    live_value_s: float = 0.0
    byte_s: float = 0.0

    def seconds(self, messages: Some, values: Some, live_values: Some, nbytes: Some) -> Some:
        taken = messages * self.message_s + values * self.value_s
        return taken + live_values * self.live_value_s + nbytes * self.byte_s


class MachineModel(msgspec.Struct, frozen=True):
    """One core, as calibrated here.

    `rates` are (share of live samples, edges x samples a second), ascending. `layer_s` is what a layer costs
    however small. `encode` and `decode` are of some rows of a layer, `encode_whole` and `decode_whole` of
    all of them, among which many may be alike; where these are not known they are as the others. `slowdown`
    is how many times slower one vCPU of the platform is than the core that was calibrated; `threads` the
    most that one worker uses.
    """

    rates: tuple[tuple[float, float], ...]
    layer_s: float = 0.0
    encode: CodecCost = CodecCost()
    decode: CodecCost = CodecCost()
    encode_whole: CodecCost | None = None
    decode_whole: CodecCost | None = None
    load_bytes_s: float = 75e6
    runtime_bytes: int = RUNTIME_BYTES
    slowdown: float = 1.0
    threads: int = 1

    def rate(self, live: float) -> float:
        """Edges x samples a second where so many samples are live, between the points that were measured."""
        shares = [share for share, _ in self.rates]
        right = bisect_left(shares, live)
        if right == 0:
            return self.rates[0][1]
        if right == len(shares):
            return self.rates[-1][1]
        (low, slow), (high, fast) = self.rates[right - 1], self.rates[right]
        return slow + (fast - slow) * (live - low) / (high - low)

    def codec(self, *, whole: bool) -> tuple[CodecCost, CodecCost]:
        """To encode and to decode a message of all rows of a layer, or of some."""
        if not whole:
            return self.encode, self.decode
        return self.encode_whole or self.encode, self.decode_whole or self.decode

    def stretch(self, memory_mib: float) -> float:
        """How many times longer than on the calibrated core a worker with so much memory computes."""
        return self.slowdown / min(max(1.0, memory_mib) / MIB_PER_VCPU, float(self.threads))


IDEAL = MachineModel(rates=((1.0, inf),), load_bytes_s=inf)
"""Takes no time for anything: for floors."""


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """A stated delay model. Seconds of a call as its caller sees it, without the transfer.

    `hop_s` is from a message's acceptance to its being there for a poll, for some up to `hop_spread_s`
    longer; `invoke_s` the call that starts a function, `start_s` what the platform takes to start it;
    `bytes_per_s` one worker's bandwidth each way; `parallel` how many calls it makes at a time.
    """

    name: str
    hop_s: float
    hop_spread_s: float = 0.0
    publish_s: float = 0.015
    send_s: float = 0.01
    poll_s: float = 0.01
    delete_s: float = 0.01
    put_s: float = 0.03
    get_s: float = 0.015
    list_s: float = 0.03
    invoke_s: float = 0.03
    start_s: float = 0.3
    bytes_per_s: float = 75e6
    parallel: int = 8


DELAYS = {
    each.name: each
    for each in (
        Delays(name="hop-20ms", hop_s=0.02),
        Delays(name="hop-100ms", hop_s=0.1),
        Delays(name="hop-250ms", hop_s=0.25),
    )
}
"""Per queue hop. (Inferred from a published comparison of 2022: SNS 62 to 225 ms, SQS 14 to 105.)"""
