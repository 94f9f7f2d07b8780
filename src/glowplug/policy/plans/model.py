"""The calibrated model: how fast a worker computes, packs and loads, and how slow what lies between workers is.

Delays of AWS are stated, not measured: nobody can measure them without the cloud. DELAYS sweeps them.
"""

from __future__ import annotations

from bisect import bisect_left

import msgspec

MIB_PER_VCPU = 1769
"""From so much memory on, a Lambda function has one whole vCPU; below, a share of one in proportion."""


class MachineModel(msgspec.Struct, frozen=True):
    """One core, as calibrated here.

    `rates` are (share of live samples, edges x samples a second), ascending. `layer_s` is what a layer costs
    however small. Codec rates are in activation values (row x live sample) a second. `slowdown` is how many times
    slower one vCPU of the platform is than the core that was calibrated; `threads` the most that one worker uses.
    """

    rates: tuple[tuple[float, float], ...]
    layer_s: float = 0.0
    encode_values_s: float = float("inf")
    decode_values_s: float = float("inf")
    load_bytes_s: float = 75e6
    runtime_bytes: int = 150 * 2**20
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

    def layer_compute_s(self, edges: float, samples: int, live: float) -> float:
        """One core's seconds for a part of a layer."""
        return edges * samples / self.rate(live)

    def stretch(self, memory_mib: float) -> float:
        """How many times longer than on the calibrated core a worker with so much memory computes."""
        return self.slowdown / min(memory_mib / MIB_PER_VCPU, float(self.threads))


class Delays(msgspec.Struct, frozen=True):
    """A stated delay model, in seconds.

    `hop_s` is from the end of a publish until the message can be received. `call_s` is a call to a queue or a
    topic; `put_s`, `get_s` and `list_s` to an object store. `invoke_s` is the call that starts a function,
    `start_s` what the platform takes to start it. `bytes_s` is one worker's bandwidth; `threads` how many calls of
    one worker are in flight.
    """

    name: str
    hop_s: float
    call_s: float = 0.015
    put_s: float = 0.04
    get_s: float = 0.02
    list_s: float = 0.03
    invoke_s: float = 0.03
    start_s: float = 0.3
    bytes_s: float = 75e6
    threads: int = 16


DELAYS = {
    each.name: each
    for each in (Delays("hop-20ms", 0.02), Delays("hop-100ms", 0.1), Delays("hop-250ms", 0.25))
}
"""Per queue hop. (Inferred from published comparisons: SNS 62 to 225 ms, SQS 14 to 105 ms, eu-west-1, 2022.)"""
