"""An object store in virtual time: what was put can be read, and is listed, when its put has ended."""

from __future__ import annotations

from collections.abc import Sequence

from glowplug.policy.plans.model import Delays
from glowplug.sim.agenda import Agenda
from glowplug.sim.processes import Process
from glowplug.sim.spreads.world import Counts, Node

Key = tuple[int, ...]
LIST_KEYS = 1000
"""A listing has so many keys a call."""


class ObjectStore:
    def __init__(self, agenda: Agenda, delays: Delays, nodes: Sequence[Node], counts: Counts) -> None:
        self._agenda = agenda
        self._delays = delays
        self._nodes = nodes
        self._counts = counts
        self._there_s: dict[Key, float] = {}
        self._folders: dict[Key, list[tuple[float, Key]]] = {}

    def put(self, worker: int, folder: Key, key: Key, nbytes: float) -> float:
        """Begins now; returns when it ends, in its turn among the worker's calls in flight."""
        ends_s = self._nodes[worker].call(self._delays.put_s, nbytes)
        self._counts.puts += 1
        self._counts.messages += 1
        self._counts.sent_bytes += int(nbytes)
        self._there_s[key] = ends_s
        self._folders.setdefault(folder, []).append((ends_s, key))
        return ends_s

    def get(self, worker: int, key: Key, nbytes: float) -> tuple[float, bool]:
        """Begins now; returns (when it ends, whether the object was there)."""
        self._counts.gets += 1
        found = self._there_s.get(key, float("inf")) <= self._agenda.now_s
        self._counts.gets_missed += not found
        return self._nodes[worker].call(self._delays.get_s, nbytes if found else 0), found

    def list(self, folder: Key, got: list[Key]) -> Process:
        """The keys that are there now, which come when the call ends."""
        now_s = self._agenda.now_s
        keys = [key for there_s, key in self._folders.get(folder, []) if there_s <= now_s]
        many = max(1, -(-len(keys) // LIST_KEYS))
        self._counts.lists += many
        yield many * self._delays.list_s
        got += keys
