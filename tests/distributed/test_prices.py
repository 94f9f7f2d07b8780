"""Prices, the published runs, and what a meter's counts cost."""

from __future__ import annotations

import pytest

from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.metering import usage_of
from glowplug.distributed.prices import price_table
from glowplug.distributed.published import PublishedRun, paper_usd, published, published_runs
from glowplug.policy.plans.billing import Usage


def test_there_are_32_published_runs() -> None:
    runs = published_runs()
    assert len(runs) == 32
    assert {(each.channel, each.neurons) for each in runs} == {
        (channel, neurons) for channel in ("queue", "object") for neurons in (1024, 4096, 16384, 65536)
    }
    assert sum(each.random_partition for each in runs) == 1


@pytest.mark.parametrize("run", published_runs(), ids=lambda run: run.run)
def test_the_formula_gives_every_published_total(run: PublishedRun) -> None:
    assert paper_usd(run, price_table().prices()) == pytest.approx(run.total_cost_usd, rel=1e-9, abs=0)


def test_a_published_run_is_found_by_its_size() -> None:
    found = published(16384, 42, "object")
    assert found is not None
    assert not found.random_partition
    assert published(1024, 9, "queue") is None


def test_the_table_has_a_date_and_says_where_each_price_is_from() -> None:
    table = price_table()
    year, _, month = table.as_of.partition("-")
    assert 2023 <= int(year) <= 2100
    assert 1 <= int(month) <= 12
    assert all(each.origin for each in (*table.rates.values(), *table.servers.values()))
    assert table.broker in table.servers


def test_from_how_many_queries_an_hour_a_server_costs_less() -> None:
    table = price_table()
    assert table.break_even_per_hour("c5.large", 0.001) == pytest.approx(85)


def test_the_cheapest_server_has_what_is_needed() -> None:
    table = price_table()
    assert table.cheapest(1) == "c5.large"
    assert table.cheapest(3) == "c5.xlarge"
    assert table.cheapest(1, 17 * 2**30) == "c5.4xlarge"
    assert table.cheapest(1000) is None


def test_what_a_meter_counts_is_billed_by_units() -> None:
    meter = Meter()
    meter.publish(100)
    meter.publish(200_000)
    meter.queue_send(70_000)
    meter.poll(65_536, 3)
    meter.poll(65_537, 3)
    meter.put(10)
    meter.get(None)
    meter.lists += 2
    meter.deletes += 1
    meter.admin_calls += 5
    assert usage_of(meter) == Usage(
        publishes=1 + 4, published_bytes=200_100, queue_calls=2 + 1 + 2 + 5, queue_deletes=1, puts=1, gets=1,
        lists=2,
    )  # fmt: skip
