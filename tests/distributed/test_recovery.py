"""What is lost over a store, in virtual time: it comes again, and costs a run little."""

from __future__ import annotations

import pytest

from glowplug.distributed.faults import Faults
from tests.distributed.rows_over_a_store import LAYERS, WORKERS, Ran, Rows, drawn

SEEDS = range(5)
RELAYED = frozenset(range(3, LAYERS + 1, 2))
LOSS_S = 0.12
"""At most this on average: layers take 0.02 s, and who misses something is sure of it after one."""


@pytest.fixture(scope="module")
def clean() -> Ran:
    return Rows(Faults()).run()


def test_a_clean_run_asks_for_nothing_again(clean: Ran) -> None:
    assert (clean.sent_again, clean.damaged) == (0, 0)
    assert len(clean.values) == WORKERS


@pytest.mark.parametrize("faults", [{"drop": 0.01}, {"corrupt": 0.01}])
def test_a_lost_message_costs_a_few_layers(clean: Ran, faults: dict[str, float]) -> None:
    found = [Rows(Faults(seed=seed, **faults)).run() for seed in SEEDS]
    assert all(each.values == clean.values for each in found)
    lost = sum(each.sent_again for each in found)
    assert lost >= len(SEEDS)
    assert sum(each.seconds - clean.seconds for each in found) < LOSS_S * lost


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_the_values_are_the_clean_ones(clean: Ran, seed: int) -> None:
    found = drawn(seed).run()
    assert found.values == clean.values
    assert found.sent_again > 0


def test_a_killed_worker_costs_its_layers_since_the_last_line(clean: Ran) -> None:
    found = Rows(Faults(), (2, 39)).run()
    assert found.values == clean.values
    assert found.seconds - clean.seconds < clean.seconds


def test_through_the_root_the_values_are_the_same_in_fewer_messages(clean: Ran) -> None:
    found = Rows(Faults(), relayed=RELAYED).run()
    assert (found.values, found.sent_again) == (clean.values, 0)
    spared = len(RELAYED) * (WORKERS * (WORKERS - 1) - 2 * (WORKERS - 1))
    assert clean.meter.messages_sent - found.meter.messages_sent == pytest.approx(spared, rel=0.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_goes_through_the_root_survives_whatever_happens(clean: Ran, seed: int) -> None:
    found = drawn(seed, RELAYED).run()
    assert found.values == clean.values
    assert found.sent_again > 0


@pytest.mark.parametrize("layer", [39, 40, 41])
def test_a_root_that_is_killed_passes_on_again(clean: Ran, layer: int) -> None:
    found = Rows(Faults(), (0, layer), RELAYED).run()
    assert found.values == clean.values
