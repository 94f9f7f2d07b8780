"""What part `faults` of `distributed` measured, run by run, kept in a file so that it goes on where it ended.

A file is of one version of the code and one set of settings: whoever changes either begins anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import xxhash

import glowplug

_SOURCES = ("distributed/**/*.py", "bench/distributed/fault*.py")


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Run `number` with what its seed, the number, had go wrong, and the clean run just before it. `left` is
    what either left behind, in words."""

    number: int
    plan: str
    channel: str
    clean_s: float
    faulty_s: float
    restarts: int
    went_back: int
    damaged: int
    sent_again: int
    bytes_sent: int
    rows_sent: int
    equal: bool
    left: tuple[str, ...]

    @property
    def recovery(self) -> float:
        return self.faulty_s / self.clean_s


class Pairs:
    """`found` by number. Without a `folder` nothing is kept."""

    def __init__(self, folder: Path | None, settings: Any) -> None:
        self.found: dict[int, Pair] = {}
        self._path = None if folder is None else folder / f"faults-{_key(settings)}.jsonl"
        if self._path is not None and self._path.exists():
            for line in self._path.read_bytes().splitlines():
                pair = msgspec.json.decode(line, type=Pair)
                self.found[pair.number] = pair

    def add(self, pair: Pair) -> None:
        self.found[pair.number] = pair
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(msgspec.json.encode(pair) + b"\n")


def _key(settings: Any) -> str:
    package = Path(glowplug.__file__).parent
    digest = xxhash.xxh64(msgspec.json.encode(settings))
    for path in sorted(path for pattern in _SOURCES for path in package.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
