"""What a long command says meanwhile where stderr is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from glowplug.cli.progress import EVERY_S, progress
from glowplug.sim.replays import Cluster, replay
from glowplug.sim.systems import system_of
from glowplug.sim.workloads.registry import make_trace


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_line_now_and_then() -> None:
    out, clock = io.StringIO(), Clock()
    with progress("ladder", Console(file=out, width=100), clock) as tell:
        for second in range(13):
            clock.now_s = float(second)
            tell(second / 20)
    assert out.getvalue().splitlines() == ["ladder, 5 s: 25% of the calls", "ladder, 10 s: 50% of the calls"]


def test_what_is_soon_over_says_nothing() -> None:
    out, clock = io.StringIO(), Clock()
    with progress("ladder", Console(file=out), clock) as tell:
        clock.now_s = EVERY_S - 0.1
        tell(1.0)
    assert not out.getvalue()


@pytest.mark.parametrize("memory_share", [0.5, 0.05])
def test_a_replay_tells_how_many_calls_are_answered(memory_share: float) -> None:
    """Also of a burst, and of what is answered after the last call came."""
    trace = make_trace("poisson:functions=20,rate_per_min=1200,minutes=0.1", 0)
    heard: list[float] = []
    found = replay(
        trace, system_of("ladder", "zygote"), Cluster(nodes=1, memory_share=memory_share), tell=heard.append
    )
    assert heard == sorted(heard)
    assert heard[-1] == 1.0 - found.failed / trace.requests
    assert len({share for share in heard if 0.0 < share < 1.0}) > 5
