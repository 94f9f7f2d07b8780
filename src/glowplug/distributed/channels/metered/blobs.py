"""An object store in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from glowplug.distributed.channels.blobs import Range
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.metered.cloud import Cloud
from glowplug.distributed.channels.pace import FIRST_S

_LISTED = 1000
"""Keys that one LIST answers."""


class VirtualBlobs:
    """`blobs.Blobs` of one worker."""

    def __init__(self, cloud: Cloud) -> None:
        self.meter = Meter()
        self.look_again_s = FIRST_S
        self.looks_are_calls = True
        self._cloud = cloud
        self._delays = cloud.delays

    def put(self, blobs: Sequence[tuple[str, bytes]]) -> None:
        """Each is there when its call is done."""
        time, done_s = self._cloud.time, self._cloud.time.now_s()
        for number, (key, content) in enumerate(blobs):
            self.meter.put(len(content))
            done_s += len(content) / self._delays.bytes_per_s
            put_s = (number // self._delays.parallel + 1) * self._delays.put_s
            time.at(done_s + put_s, partial(self._cloud.store.put, key, content))
        self._cloud.spend(len(blobs), self._delays.put_s, sum(len(content) for _, content in blobs))

    def create(self, key: str, content: bytes) -> bool:
        self.meter.put(len(content))
        self._cloud.spend(1, self._delays.put_s, len(content))
        if self._cloud.store.get(key) is not None:
            return False
        self._cloud.store.put(key, content)
        return True

    def glance(self, keys: Sequence[str]) -> set[str]:
        return set(keys)

    def get(self, ranges: Sequence[Range]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for first in range(0, len(ranges), self._delays.parallel):
            self._cloud.time.sleep(self._delays.get_s / 2)
            part = [self._read(one) for one in ranges[first : first + self._delays.parallel]]
            nbytes = sum(len(content) for content in part if content is not None)
            self._cloud.time.sleep(self._delays.get_s / 2 + nbytes / self._delays.bytes_per_s)
            found += part
        return found

    def list(self, prefix: str) -> list[str]:
        self._cloud.time.sleep(self._delays.list_s / 2)
        found = self._cloud.store.keys(prefix)
        calls = max(1, -(-len(found) // _LISTED))
        self.meter.lists += calls
        self._cloud.time.sleep(calls * self._delays.list_s - self._delays.list_s / 2)
        return found

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.meter.blob_deletes += 1
            self._cloud.store.delete(key)

    def clear(self, prefix: str, but: str = "") -> None:
        self.delete([key for key in self.list(prefix) if key != but])

    def close(self) -> None:
        pass

    def options(self) -> dict[str, object]:
        return {}

    def _read(self, wanted: Range) -> bytes | None:
        content = self._cloud.store.get(wanted.key)
        part = None if content is None else content[wanted.start : wanted.start + wanted.length]
        self.meter.get(None if part is None else len(part))
        return part
