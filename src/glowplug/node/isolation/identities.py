"""Users that nobody else has: a block of ids for each agent, a range of it for each environment.

Inside an environment's user namespace its zygote is 0, the first id of the range, and each function has the
next free one. No id is given to a second function while the environment's zygote lives. The last quarter is
for processes that are confined before their function is known: each has one alone, until its seat is gone.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from pathlib import Path

_FIRST = 0x6000_0000
_BLOCK = 1 << 22
_BLOCKS = 64
RANGE = 1 << 14
"""Ids of one environment."""
FUNCTIONS = RANGE * 3 // 4
"""Those of its zygote and its functions."""
_LOCKS = Path("/run/lock/glowplug")


class IdsExhausted(OSError):
    """All ids are in use: nothing more can be started until something has ended."""


class Identities:
    """The ids of one agent. `first` is the start of its block; pure, for who holds the block."""

    def __init__(self, first: int, count: int = _BLOCK) -> None:
        self._first = first
        self._slots = count // RANGE
        self._environments: dict[str, int] = {}
        self._functions: dict[str, dict[str, int]] = {}
        self._strangers: dict[str, set[int]] = {}
        self._last_slot = -1
        self._last_stranger = RANGE - 1

    def environment(self, key: str) -> int:
        """The host's id of an environment's zygote; the ids of its functions follow it. They go round: what
        was released last comes last, when nothing that it owned is left."""
        slot = self._environments.get(key)
        if slot is None:
            taken = set(self._environments.values())
            following = ((self._last_slot + 1 + n) % self._slots for n in range(self._slots))
            slot = next((n for n in following if n not in taken), None)
            if slot is None:
                raise IdsExhausted(
                    f"{self._slots} environments have users of their own here, and no more fit"
                )
            self._environments[key] = self._last_slot = slot
            self._functions[key] = {}
            self._strangers[key] = set()
        return self._first + slot * RANGE

    def function(self, key: str, function: str) -> int:
        """The id of a function inside the namespace of its environment."""
        self.environment(key)
        known = self._functions[key]
        if function not in known:
            if len(known) + 1 >= FUNCTIONS:
                raise IdsExhausted(f"{len(known)} functions of environment {key} had a user each; restart it")
            known[function] = len(known) + 1
        return known[function]

    def stranger(self, key: str) -> int:
        """An id inside the namespace of this environment that no function has, until it is `given_back`.

        They go round: what was given back last comes last, when nothing that it owned is left.
        """
        self.environment(key)
        taken = self._strangers[key]
        if len(taken) >= RANGE - FUNCTIONS:
            raise IdsExhausted(f"{len(taken)} processes of environment {key} wait for a function")
        while True:
            self._last_stranger = FUNCTIONS + (self._last_stranger + 1 - FUNCTIONS) % (RANGE - FUNCTIONS)
            if self._last_stranger not in taken:
                taken.add(self._last_stranger)
                return self._last_stranger

    def give_back(self, key: str, stranger: int) -> None:
        """When nothing runs as it any more. Again is no error."""
        self._strangers.get(key, set()).discard(stranger)

    def release(self, key: str) -> None:
        """Nothing of the environment runs any more: its range is free for another."""
        self._environments.pop(key, None)
        self._functions.pop(key, None)
        self._strangers.pop(key, None)


def claim_block(name: str) -> tuple[int, int]:
    """(the first id of a block that no other agent of this machine has, the descriptor that holds it).

    `name` picks where the search begins. Raises OSError when there is none, or ids are not ours to give.
    """
    _check_mapped()
    _LOCKS.mkdir(mode=0o700, parents=True, exist_ok=True)
    start = zlib.crc32(name.encode())
    for offset in range(_BLOCKS):
        number = (start + offset) % _BLOCKS
        descriptor = os.open(_LOCKS / f"users-{number:02}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return _FIRST + number * _BLOCK, descriptor
    raise IdsExhausted(f"{_BLOCKS} servers of this machine have a block of users each, and no more fit")


def _check_mapped() -> None:
    """Raises OSError where this host's user namespace lacks the ids."""
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= _FIRST and first + count >= _FIRST + _BLOCK * _BLOCKS:
            return
    raise OSError(f"this container may not use the user ids from {_FIRST} on")
