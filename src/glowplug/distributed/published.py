"""The 32 published runs of FSD-Inference, and their cost by the paper's formula.

Source: the authors' result sheet (Joe-Oakley/FSD-Inference-ICDE-2024), `tables/fsd_published_runs.csv`.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

import msgspec

from glowplug.policy.plans.billing import Prices, Usage, function_gib_s


class PublishedRun(msgspec.Struct, frozen=True):
    """One row of the sheet. Seconds and counts are sums over all workers; None where the channel has no
    such call."""

    run: str
    channel: str  # queue, object
    neurons: int
    workers: int
    branching: int
    levels: int
    lambda_mb: int
    samples: int
    lambda_runtime_total_s: float
    batch_runtime_total_s: float
    communication_s: float
    computation_s: float
    compression_s: float
    publish_requests_billed: int | None
    publish_calls: int | None
    messages_sent: int | None
    bytes_sent: int
    poll_calls: int | None
    s3_puts: int | None
    s3_gets: int | None
    s3_lists: int | None
    total_cost_usd: float

    def usage(self) -> Usage:
        """In the units of a bill. The paper bills no bytes on the object channel, and one worker more than
        P: the coordinator that starts the tree."""
        return Usage(
            invocations=self.workers + 1,
            function_gib_s=function_gib_s(self.lambda_runtime_total_s, self.lambda_mb),
            publishes=self.publish_requests_billed or 0,
            published_bytes=self.bytes_sent if self.channel == "queue" else 0,
            queue_calls=self.poll_calls or 0,
            puts=self.s3_puts or 0,
            gets=self.s3_gets or 0,
            lists=self.s3_lists or 0,
        )

    @property
    def random_partition(self) -> bool:
        return self.run.endswith("RANDOM")


def paper_usd(run: PublishedRun, prices: Prices) -> float:
    """What the run costs by the formula of the paper."""
    return prices.usd(run.usage())


@cache
def published_runs() -> tuple[PublishedRun, ...]:
    text = files("glowplug.distributed.tables").joinpath("fsd_published_runs.csv").read_text("utf-8")
    rows = [{name: value or None for name, value in row.items()} for row in csv.DictReader(text.splitlines())]
    return tuple(msgspec.convert(rows, list[PublishedRun], strict=False))


def published(neurons: int, workers: int, channel: str) -> PublishedRun | None:
    """The run with the hypergraph partition; None where none was published."""
    for run in published_runs():
        if (run.neurons, run.workers, run.channel) == (
            neurons,
            workers,
            channel,
        ) and not run.random_partition:
            return run
    return None
