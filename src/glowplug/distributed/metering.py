"""From what channels counted to what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glowplug.distributed.channels.meter import Meter
from glowplug.policy.plans.billing import Usage

if TYPE_CHECKING:
    from glowplug.distributed.run_place import Took


def usage_of(meter: Meter) -> Usage:
    """What is billed for a meter's calls: SNS and SQS by units of 64 KiB, bytes where they pass a topic, S3
    by calls. Making and removing queues costs as any call to SQS."""
    return Usage(
        publishes=meter.publish_units,
        published_bytes=meter.publish_bytes,
        queue_calls=meter.queue_send_units + meter.poll_units + meter.admin_calls,
        queue_deletes=meter.deletes,
        puts=meter.puts,
        gets=meter.gets,
        lists=meter.lists,
    )


def billed(run: Took, broker: str | None = None) -> Usage:
    """As the platform would bill it: one more function starts the first workers. Where there is a `broker`,
    the kind of server that it runs on, that is rented while the run takes, and messages cost nothing."""
    functions = Usage(invocations=run.invocations + 1, function_gib_s=run.gib_s)
    counted = usage_of(run.meter)
    if broker is None:
        return functions + counted
    objects = Usage(puts=counted.puts, gets=counted.gets, lists=counted.lists)
    return functions + objects + Usage(server_s={broker: run.seconds})
