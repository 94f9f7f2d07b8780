"""What has come to one end: each key once, nothing from before the fence, no more than may be kept."""

from __future__ import annotations

from collections.abc import Collection

from glowplug.distributed.channels.base import MessageKey
from glowplug.distributed.errors import InboxFull

KEPT_BYTES = 256 * 2**20
"""Of what nobody waits for yet. A sender is at most a layer or two ahead; what is beyond this was sent by
somebody who does not wait."""


class Inbox:
    """Pure. Not safe for two threads at once."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._allowed_bytes = kept_bytes
        self._kept: dict[MessageKey, bytes] = {}
        self._kept_bytes = 0
        self._seen: set[MessageKey] = set()
        self._fence = (0, 0)
        self._awaited: set[tuple[int, int, int]] = set()
        self._expected: list[range] = []

    def await_these(self, wanted: Collection[MessageKey]) -> None:
        """Payloads of which some part is waited for now: they may be as large as they are."""
        self._awaited = {(key.epoch, key.layer, key.source) for key in wanted}

    def expect(self, first: int, end: int) -> None:
        """The same of layers from `first` to before `end`, from now on."""
        self._expected.append(range(first, end))

    def wants(self, key: MessageKey) -> bool:
        """Whether `key` is new: it did not come yet, and is not late."""
        return key not in self._seen and (key.epoch, key.layer) >= self._fence

    def put(self, key: MessageKey, payload: bytes) -> bool:
        """Whether it was new. Raises InboxFull."""
        if not self.wants(key):
            return False
        if self._kept_bytes + len(payload) > self._allowed_bytes and not self._is_awaited(key):
            early = [len(each) for kept, each in self._kept.items() if not self._is_awaited(kept)]
            if sum(early) + len(payload) > self._allowed_bytes:
                raise InboxFull(
                    f"{sum(early)} bytes in {len(early)} messages came that nobody received, and "
                    f"{key} exceeds the {self._allowed_bytes} that are kept: receive them, or fence them off"
                )
        self._seen.add(key)
        self._kept[key] = payload
        self._kept_bytes += len(payload)
        return True

    def take(self, wanted: Collection[MessageKey]) -> dict[MessageKey, bytes]:
        found = {key: self._kept.pop(key) for key in wanted if key in self._kept}
        self._kept_bytes -= sum(map(len, found.values()))
        return found

    def reject(self, keys: Collection[MessageKey]) -> None:
        self.take(keys)
        self._seen.difference_update(keys)

    def fence(self, epoch: int, layer: int) -> None:
        self._fence = max(self._fence, (epoch, layer))
        self._seen = {key for key in self._seen if (key.epoch, key.layer) >= self._fence}
        self.take([key for key in self._kept if (key.epoch, key.layer) < self._fence])

    def validate(self) -> None:
        assert self._kept.keys() <= self._seen
        assert self._kept_bytes == sum(map(len, self._kept.values()))
        assert all((key.epoch, key.layer) >= self._fence for key in self._seen)

    def _is_awaited(self, key: MessageKey) -> bool:
        is_expected = any(key.layer in layers for layers in self._expected)
        return is_expected or (key.epoch, key.layer, key.source) in self._awaited
