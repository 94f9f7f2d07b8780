"""Rows that go through the root: the bundles, and runs whose output is the same to the bit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.distributed import assignment, relay
from glowplug.distributed.errors import FrameCorrupt
from glowplug.distributed.frame import Kind, Payload
from glowplug.distributed.network import Floats
from glowplug.distributed.orders import FIRST
from glowplug.distributed.partition.methods import partition
from glowplug.distributed.post import Parcel
from glowplug.distributed.relay import RelayPost, Route, packed, unpacked
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.serial import serial
from glowplug.policy.plans import relay as planned
from glowplug.policy.plans.spread import Cut
from tests.distributed.nets import small_inputs
from tests.distributed.threads import run_in_threads

WORKERS, LAYERS, SAMPLES = 12, 10, 40
NETWORK = ChallengeNetwork(1024, LAYERS)
kinds = st.sampled_from([Kind.NULL, Kind.ROWS, Kind.BYTES])
payloads = st.dictionaries(st.integers(0, 2**16 - 1), st.tuples(kinds, st.binary(max_size=20)))


@given(payloads)
def test_a_bundle_holds_all_but_nothing(given_payloads: dict[int, tuple[Kind, bytes]]) -> None:
    kind, body = packed(given_payloads.items())
    found = unpacked(Payload(kind, body))
    assert {worker: (each.kind, bytes(each.body)) for worker, each in found.items()} == {
        worker: each for worker, each in given_payloads.items() if each[0] != Kind.NULL
    }


@given(payloads, st.binary(min_size=1, max_size=6))
def test_a_bundle_that_is_cut_short_is_damaged(
    given_payloads: dict[int, tuple[Kind, bytes]], more: bytes
) -> None:
    _, body = packed(given_payloads.items())
    with pytest.raises(FrameCorrupt):
        unpacked(Payload(Kind.BYTES, body + more))


def test_the_planner_counts_by_the_bundle_s_numbers() -> None:
    assert relay.ENTRY.size == planned.ENTRY_BYTES


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("barrier", [False, True])
def test_the_output_is_the_same_to_the_bit(tmp_path: Path, background: bool, barrier: bool) -> None:
    x = small_inputs(1024, SAMPLES)
    options = RunOptions(background=background, barrier=barrier, form="encoded", deadline_s=120)
    straight, spared = _ran(x, tmp_path, options, relayed=False), _ran(x, tmp_path, options, relayed=True)
    assert np.array_equal(straight[0], serial(NETWORK, x))
    assert np.array_equal(spared[0], straight[0])
    # Of the early layers few pairs exchange anything; of the others all.
    assert 0 < len(spared[2]) < LAYERS - 1
    pairs, bundles = WORKERS * (WORKERS - 1), 2 * (WORKERS - 1)
    assert sum(straight[1]) - sum(spared[1]) == len(spared[2]) * (pairs - bundles)


def test_nobody_waits_for_a_layer_of_which_some_have_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an early layer most pairs exchange nothing: here such layers are relayed too."""
    monkeypatch.setattr(planned, "PAIRS_A_WORKER", 0)
    x = small_inputs(1024, SAMPLES)
    output, _, steps = _ran(x, tmp_path, RunOptions(form="encoded", deadline_s=120), relayed=True)
    assert steps[0] < FIRST + 6
    assert np.array_equal(output, serial(NETWORK, x))


def _ran(
    x: Floats, folder: Path, options: RunOptions, *, relayed: bool
) -> tuple[Floats, list[int], tuple[int, ...]]:
    """(output, messages sent by each worker, the steps that went through the root)."""
    cut = Cut(rows=WORKERS, partition="layered", relayed=relayed)
    given_cut = assignment.of_cut(NETWORK, SAMPLES, cut, lambda rows: partition(NETWORK, rows, "layered"))
    place = folder / f"{relayed}"
    place.mkdir()
    output, responses, deployed = run_in_threads(NETWORK, x, given_cut, options, place)
    sent = [each.meter.messages_sent for each in sorted(responses, key=lambda one: one.place.worker)]
    return output, sent, deployed.orders.relayed


class Recorded:
    """A post that says what it was asked to do; every other worker's bundle is there, and empty."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []

    def send(self, step: int, parcels: Sequence[Parcel]) -> None:
        self.log.append(("send", step))

    def wait(self, step: int) -> dict[int, Any]:
        self.log.append(("wait", step))
        return {1: {}, 2: {}}

    def wait_until(self, targets: Iterable[int], step: int, most_stalls: int | None = None) -> None:
        self.log.append(("wait until", step))

    def done(self, step: int) -> None:
        self.log.append(("done", step))

    def settle(self, step: int) -> None:
        self.log.append(("settle", step))

    def flush(self) -> None:
        self.log.append(("flush", 0))

    def close(self) -> None:
        self.log.append(("close", 0))


@pytest.mark.parametrize("what", ["done", "settle"])
def test_what_the_root_holds_for_others_goes_on_before_it_says_that_it_is_done(what: str) -> None:
    """Though it has nothing to send or to wait for itself."""
    inner = Recorded()
    post = RelayPost(inner, Route(0, 3, (5, 7), {}, {}), lambda step, source, payload: None, first=0)
    getattr(post, what)(6)
    assert inner.log == [("wait", 10), ("send", 11), (what, 12)]


@pytest.mark.parametrize("what", ["done", "settle"])
def test_a_worker_that_has_nothing_says_so_before_it_says_that_it_is_done(what: str) -> None:
    inner = Recorded()
    post = RelayPost(inner, Route(1, 3, (5, 7), {}, {}), lambda step, source, payload: None, first=0)
    getattr(post, what)(6)
    assert inner.log == [("send", 10), (what, 12)]
