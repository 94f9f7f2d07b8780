"""SNS and SQS in virtual time."""

from __future__ import annotations

from collections.abc import Sequence

from glowplug.distributed.channels.messaging import LONGEST_POLL_S, MOST_MESSAGES, Entry, Received
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.metered.cloud import Cloud, VirtualQueue
from glowplug.distributed.errors import ChannelClosed, ChannelMissing, RunExists


class VirtualMessagingService:
    """`messaging.MessagingService`. What was polled stays hidden until it is released: a run is shorter than
    the time after which it would show again."""

    def __init__(self, cloud: Cloud) -> None:
        self.meter = Meter()
        self._cloud = cloud

    def open(self, run: str, workers: int, topics: int) -> None:
        if run in self._cloud.queues:
            raise RunExists(f"run {run!r} is open in this cloud")
        self._cloud.queues[run] = [VirtualQueue(self._cloud.time) for _ in range(workers)]
        self.meter.admin(topics + workers * (2 + topics))

    def connect(self, run: str, workers: int, worker: int) -> VirtualMessaging:
        if run not in self._cloud.queues:
            raise ChannelMissing(f"run {run!r} is not open in this cloud")
        return VirtualMessaging(self._cloud, run, worker)

    def remove(self, run: str, workers: int, topics: int) -> None:
        for queue in self._cloud.queues.pop(run, []):
            queue.arrival.set()
        self.meter.admin(topics + workers)

    def options(self) -> dict[str, object]:
        return {}


class VirtualMessaging:
    def __init__(self, cloud: Cloud, run: str, worker: int) -> None:
        self.meter = Meter()
        self._cloud = cloud
        self._time = cloud.time
        self._delays = cloud.delays
        self._run = run
        self._worker = worker
        self._received_s = 0.0
        """When what earlier polls brought has come: polls beside each other share a worker's bandwidth."""

    def publish(self, topic: int, calls: Sequence[Sequence[Entry]]) -> None:
        sizes = [sum(entry.topic_bytes for entry in call) for call in calls]
        for nbytes in sizes:
            self.meter.publish(nbytes)
        self._deliver(calls, sizes, self._delays.publish_s)

    def send(self, calls: Sequence[Sequence[Entry]]) -> None:
        sizes = [sum(entry.queue_bytes for entry in call) for call in calls]
        for nbytes in sizes:
            self.meter.queue_send(nbytes)
        self._deliver(calls, sizes, self._delays.send_s)

    def poll(self, wait_s: float) -> list[Received]:
        queue = self._queue(self._worker)
        self._time.sleep(self._delays.poll_s / 2)
        until_s = self._time.now_s() + min(wait_s, LONGEST_POLL_S)
        taken = queue.take(MOST_MESSAGES)
        # Another poll that waits may be quicker.
        while not taken and self._time.now_s() < until_s and self._run in self._cloud.queues:
            queue.arrival.wait(until_s - self._time.now_s())
            taken = queue.take(MOST_MESSAGES)
        nbytes = sum(entry.queue_bytes for _, entry in taken)
        self.meter.poll(nbytes, len(taken))
        now_s = self._time.now_s()
        self._received_s = max(now_s, self._received_s) + nbytes / self._delays.bytes_per_s
        self._time.sleep(self._received_s - now_s + self._delays.poll_s / 2)
        return [Received(entry.content, str(number)) for number, entry in taken]

    def delete(self, receipts: Sequence[str]) -> None:
        self.meter.deletes += 1
        self._cloud.spend(1, self._delays.delete_s, 0)
        self._queue(self._worker).forget([int(receipt) for receipt in receipts])

    def release(self, receipts: Sequence[str]) -> None:
        self._queue(self._worker).show([int(receipt) for receipt in receipts])

    def close(self) -> None:
        pass

    def _queue(self, worker: int) -> VirtualQueue:
        try:
            return self._cloud.queues[self._run][worker]
        except KeyError:
            raise ChannelClosed(f"run {self._run!r} is over") from None

    def _deliver(self, calls: Sequence[Sequence[Entry]], sizes: Sequence[int], call_s: float) -> None:
        """A call's messages leave when those before it have; so many calls at a time as the worker makes."""
        sent_s = self._time.now_s()
        for number, (call, nbytes) in enumerate(zip(calls, sizes, strict=True)):
            sent_s += nbytes / self._delays.bytes_per_s
            accepted_s = sent_s + number // self._delays.parallel * call_s
            for entry in call:
                self._queue(entry.target).arrive(accepted_s + self._cloud.hop_s(), entry)
        self._cloud.spend(len(calls), call_s, sum(sizes))
