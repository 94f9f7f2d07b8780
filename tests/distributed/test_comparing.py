"""What is said of a run and its prediction: how far apart they are, and what can be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.comparing import Comparison, compare
from glowplug.distributed.phases import Phases
from glowplug.distributed.platform_line import Response
from glowplug.distributed.prices import price_table
from glowplug.distributed.runner import Run
from glowplug.distributed.start import Place
from glowplug.policy.plans.score import Score
from glowplug.policy.plans.spread import Cut

TABLE = price_table()
SHIPPED = Meter(puts=7, put_bytes=5_000)
"""What a platform itself put into the store."""


def ran(meter: Meter, **how: Any) -> Run:
    known: dict[str, Any] = {
        "output": np.zeros(0, np.bool_), "seconds": 4.0, "workers": (), "platform_meter": Meter(),
        "gib_s": 2.0, "invocations": 2, "rows_sent": 0, "restarts": 0, "epochs": 1,
    }  # fmt: skip
    return Run(meter=meter, **{**known, **how})


def response(*, checkpoint_bytes: int = 0, peak_bytes: int = 0) -> Response:
    return Response(Place("run", 0), Phases().times(), 0.0, Meter(), 0, 0, checkpoint_bytes, peak_bytes)


def compared(run: Run, channel: str, *, on_cloud: bool = False) -> Comparison:
    score = Score("rows", channel, 2, 512, 1, Cut(rows=2), 5.0, 1e-4, 1.0, 110, 2_000, 9, {})
    prices, broker = TABLE.prices(), TABLE.broker
    return compare(score, run, "hop-100ms", prices, broker, on_cloud=on_cloud)


def comparable(one: Comparison) -> list[str]:
    numbers = {"calls": one.calls, "nbytes": one.nbytes, "seconds": one.seconds, "usd": one.usd}
    return [name for name, number in numbers.items() if number.comparable]


def test_in_a_cloud_everything_is_and_what_the_platform_ships_is_not_the_channels() -> None:
    meter = Meter(puts=40, gets=59, lists=1, put_bytes=2_500).plus(SHIPPED)
    found = compared(ran(meter, platform_meter=SHIPPED), "object", on_cloud=True)
    assert comparable(found) == ["calls", "nbytes", "seconds", "usd"]
    assert found.why == ()
    assert (found.calls.metered, found.calls.off) == (100, pytest.approx(0.1))
    assert (found.nbytes.metered, found.nbytes.off) == (2_500, pytest.approx(-0.2))
    assert found.seconds.off == pytest.approx(0.25)
    prices = TABLE.prices()
    functions = 3 * prices.invocation + 2 * prices.function_gib_s
    assert found.usd.metered == pytest.approx(functions + 47 * prices.put + 59 * prices.get + prices.listing)


@pytest.mark.parametrize(
    ("channel", "left"),
    [("queue", ["nbytes"]), ("object", ["nbytes"]), ("nats", ["calls"]), ("shared_memory", ["calls"])],
)
def test_elsewhere_what_depends_on_delays_is_not(channel: str, left: list[str]) -> None:
    found = compared(ran(Meter()), channel)
    assert comparable(found) == left
    assert len(found.why) == 2
    assert "functions of 512 MiB and delays as stated (hop-100ms)" in found.why[0]
    assert (found.calls.metered, found.calls.off) == (0, None)


def test_what_was_lost_or_kept_meanwhile_is_not_predicted() -> None:
    """Checkpoints are written where nobody asked for them too: under a window."""
    checkpointed = ran(Meter(), workers=(response(), response(checkpoint_bytes=1)))
    for found in (
        compared(ran(Meter(), restarts=1), "queue", on_cloud=True),
        compared(ran(Meter(), epochs=2), "queue", on_cloud=True),
        compared(checkpointed, "object", on_cloud=True),
    ):
        assert comparable(found) == []
        assert "nor of checkpoints" in found.why[-1]
    assert comparable(compared(checkpointed, "queue", on_cloud=True))


def test_who_held_more_than_was_priced_is_named() -> None:
    """Workers of this machine may hold more than functions would be given."""
    within, beyond = (
        compared(
            ran(Meter(), workers=(response(peak_bytes=1), response(peak_bytes=most))), "queue", on_cloud=True
        )
        for most in (512 * 2**20, 600 * 10**6)
    )
    assert within.why == ()
    assert beyond.why == ("a worker held 600 MB, more than the 512 MiB that it is priced with",)
    assert comparable(beyond) == comparable(within)


def test_a_broker_is_rented_and_its_messages_cost_nothing() -> None:
    few, many = (compared(ran(Meter(publishes=n, publish_units=n)), "nats") for n in (1, 1_000_000))
    prices = TABLE.prices()
    rented = 4.0 / 3600 * prices.server_hour[TABLE.broker]
    assert few.usd.metered == many.usd.metered
    assert few.usd.metered == pytest.approx(3 * prices.invocation + 2 * prices.function_gib_s + rented)
