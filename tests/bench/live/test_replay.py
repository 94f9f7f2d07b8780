"""`glowplug replay --live`: what of an answer counts as waiting."""

from __future__ import annotations

import pytest

from glowplug.bench.live.load import Outcome
from glowplug.bench.live.replay import has_waited


@pytest.mark.parametrize(
    ("took_s", "origin", "waited"),
    [
        (0.2012, "parked", False), (0.2054, "parked", False),  # the way over HTTP takes a millisecond or more
        (0.2432, "parked", True),  # behind another's answer
        (0.2054, "staged", True), (0.7449, "local", True),
    ],
)  # fmt: skip
def test_the_way_to_a_parked_worker_is_no_waiting(took_s: float, origin: str, waited: bool) -> None:
    assert has_waited(Outcome("ok", 0.0, took_s, 200, origin=origin)) is waited
