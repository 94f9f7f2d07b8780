"""Byte-exact accounts of each node's memory: who holds what, and what is on its way out.

Memory counts until it is seen to be free, so what is leaving is still used.
"""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct, gc=False):
    node: str
    held_bytes: int
    leaving: bool = False


class Ledger(msgspec.Struct):
    budget: dict[str, int] = {}
    used: dict[str, int] = {}
    leaving: dict[str, int] = {}
    entries: dict[str, Entry] = {}

    def open(self, node: str, budget_bytes: int) -> None:
        self.budget[node] = budget_bytes
        self.used.setdefault(node, 0)
        self.leaving.setdefault(node, 0)

    def close(self, node: str) -> None:
        """Only when nothing is held there."""
        del self.budget[node], self.used[node], self.leaving[node]

    def free_bytes(self, node: str) -> int:
        """Negative while the budget is exceeded, by a measurement or because it shrank."""
        return self.budget[node] - self.used[node]

    def reserve(self, key: str, node: str, held_bytes: int) -> bool:
        """False, and nothing happens, when the budget would be exceeded."""
        if held_bytes > self.budget[node] - self.used[node]:
            return False
        self.record(key, node, held_bytes)
        return True

    def record(self, key: str, node: str, held_bytes: int) -> None:
        """Enters what is a fact already, whatever the budget says."""
        if key in self.entries:
            raise ValueError(f"{key} is in the ledger already")
        self.entries[key] = Entry(node, held_bytes)
        self.used[node] += held_bytes

    def resize(self, key: str, held_bytes: int) -> None:
        """Brings an entry to what was measured, whatever the budget says."""
        entry = self.entries[key]
        self.used[entry.node] += held_bytes - entry.held_bytes
        if entry.leaving:
            self.leaving[entry.node] += held_bytes - entry.held_bytes
        entry.held_bytes = held_bytes

    def leave(self, key: str) -> None:
        entry = self.entries[key]
        if not entry.leaving:
            entry.leaving = True
            self.leaving[entry.node] += entry.held_bytes

    def release(self, key: str) -> None:
        entry = self.entries.pop(key)
        self.used[entry.node] -= entry.held_bytes
        if entry.leaving:
            self.leaving[entry.node] -= entry.held_bytes

    def held_bytes(self, key: str) -> int:
        entry = self.entries.get(key)
        return 0 if entry is None else entry.held_bytes
