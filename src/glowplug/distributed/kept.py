"""What one worker sent and may be asked for again, by target and step. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from glowplug.distributed.frame import Kind

Sent = tuple[Kind, bytes]


class Kept:
    def __init__(self, targets: Iterable[int]) -> None:
        self.nbytes = 0
        self._kept: dict[int, dict[int, Sent]] = {target: {} for target in targets}
        self._fences = dict.fromkeys(self._kept, 0)
        self._asked = dict.fromkeys(self._kept, 0)

    @property
    def targets(self) -> list[int]:
        return list(self._kept)

    def add(self, target: int, step: int, kind: Kind, content: bytes) -> None:
        self._kept[target][step] = (kind, content)
        self.nbytes += len(content)

    def get(self, target: int, step: int) -> Sent | None:
        return self._kept[target].get(step)

    def asked(self, target: int, step: int) -> None:
        """`target` has come to this step, and misses something of it."""
        self._asked[target] = max(self._asked[target], step)

    def is_done(self, target: int, step: int) -> bool:
        """Whether `target` will not ask for this step any more."""
        return step < self._fences[target]

    def forget(self, target: int, step: int) -> None:
        """`target` will not ask for anything before `step`."""
        self._fences[target] = max(self._fences[target], step)
        kept = self._kept[target]
        for earlier in [each for each in kept if each < step]:
            self.nbytes -= len(kept.pop(earlier)[1])

    def reached(self, target: int) -> int:
        """The step that `target` is known to have come to, if it has not gone on since."""
        return max(self._fences[target], self._asked[target])

    def validate(self) -> None:
        assert self.nbytes == sum(len(body) for kept in self._kept.values() for _, body in kept.values())
        for target, kept in self._kept.items():
            assert not any(self.is_done(target, step) for step in kept)
