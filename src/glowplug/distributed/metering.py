"""From what channels counted to what it costs."""

from __future__ import annotations

from glowplug.distributed.channels.meter import Meter
from glowplug.policy.plans.billing import Usage


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
