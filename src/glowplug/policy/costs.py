"""What moves on the ladder cost: measured seconds and bytes, with defaults until something was measured.

One table for everybody: dispatch, eviction, the simulator and the dashboard read the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from glowplug.core.ladder import Step

_SMOOTHING = 0.3
_DEFAULT_S = {"run": 0.05, "staged": 0.05, "imported": 0.15, "environment": 1.5, "stage": 0.2}
DISK_BYTES_PER_S = 1e9
"""How fast weights come back to the page cache; used until a device was measured."""
COPY_BYTES_PER_S = 6e9
"""How fast they go from there to a device, until one went: half of what PCIe 3 x16 can do, pinned or not."""


class Costs(msgspec.Struct):
    """Seconds by subject (a version or an environment's key) and move, smoothed; bytes as last measured.

    Moves: `run` (inside the worker), `staged` and `imported` (an instance's climb from there; to a device,
    with its weights in the node's memory and without), `stage` (a version's zygote), `environment` (an
    environment's zygote).
    """

    seconds: dict[str, dict[str, float]] = {}
    held: dict[str, int] = {}
    batches: dict[str, dict[int, float]] = {}

    def learn(self, subject: str, move: str, took_s: float, count: int = 1) -> None:
        """`count` times it took `took_s` on average."""
        moves = self.seconds.get(subject)
        if moves is None:
            moves = self.seconds[subject] = {}
        before_s = moves.get(move)
        weight = _SMOOTHING if count == 1 else 1 - (1 - _SMOOTHING) ** count
        moves[move] = took_s if before_s is None else before_s + weight * (took_s - before_s)

    def learn_held(self, subject: str, held_bytes: int) -> None:
        self.held[subject] = held_bytes

    def assume(self, subject: str, batch_s: Mapping[int, float], **seconds: float) -> None:
        """What a profile says of moves, where nothing was measured yet; 0 where it says nothing."""
        for move, took_s in seconds.items():
            if took_s:
                self.seconds.setdefault(subject, {}).setdefault(move, took_s)
        for size, took_s in batch_s.items():
            self.batches.setdefault(subject, {}).setdefault(size, took_s)

    def learn_batch(self, subject: str, size: int, took_s: float) -> None:
        """A batch of `size` took so long; one of 1 is a `run`."""
        if size <= 1:
            self.learn(subject, "run", took_s)
            return
        sizes = self.batches.setdefault(subject, {})
        before_s = sizes.get(size)
        sizes[size] = took_s if before_s is None else before_s + _SMOOTHING * (took_s - before_s)

    def batch_s(self, subject: str, size: int) -> float:
        """Expected seconds of a batch: between the sizes that are known by proportion, and beyond them no
        gain is assumed that nobody has seen."""
        run_s = self.expect_s(subject, "run")
        if size <= 1:
            return run_s
        known = self.batches.get(subject)
        if not known:
            return run_s * size
        exact_s = known.get(size)
        if exact_s is not None:
            return exact_s
        below, below_s, above, above_s = 1, run_s, 0, 0.0
        for each, took_s in known.items():
            if below < each < size:
                below, below_s = each, took_s
            elif each > size and (not above or each < above):
                above, above_s = each, took_s
        if above:
            return below_s + (above_s - below_s) * (size - below) / (above - below)
        return below_s * size / below

    def expect_s(self, subject: str, move: str) -> float:
        moves = self.seconds.get(subject)
        return _DEFAULT_S[move] if moves is None else moves.get(move, _DEFAULT_S[move])

    def measured_s(self, subject: str, move: str) -> float | None:
        """None until it was measured once."""
        moves = self.seconds.get(subject)
        return None if moves is None else moves.get(move)

    def climb_s(self, version: str, origin: Step) -> float:
        """Expected seconds of an instance's climb from `origin` (STAGED, else as from IMPORTED)."""
        return self.expect_s(version, "staged" if origin >= Step.STAGED else "imported")

    def held_bytes(self, subject: str) -> int | None:
        return self.held.get(subject)

    def forget(self, subject: str) -> None:
        self.seconds.pop(subject, None)
        self.held.pop(subject, None)
        self.batches.pop(subject, None)
