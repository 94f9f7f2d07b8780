"""Functions of a library that are others for as long as some block lasts, in the threads that are in one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from glowplug.loader.forks import renew_in_children

T = TypeVar("T")


class Patch(Generic[T]):
    """Replaces attributes of `target()` while any thread is in a block. `wrap(name, original)` makes each
    replacement, which asks `inner` for what the blocks of its own thread were begun with: none, in threads
    without one, which may get hold of it too, and keep it.
    """

    def __init__(
        self,
        target: Callable[[], Any],
        names: tuple[str, ...],
        wrap: Callable[[str, Callable[..., Any]], Callable[..., Any]],
    ) -> None:
        self._target = target
        self._names = names
        self._wrap = wrap
        self._lock = threading.Lock()
        self._blocks = 0
        self._originals: Mapping[str, Callable[..., Any]] = {}
        self._thread = threading.local()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child, where other threads' blocks never end: its own one's are all there are."""
        self._lock = threading.Lock()
        self._blocks = len(self.inner)
        if not self._blocks:
            self._restore()

    @property
    def inner(self) -> list[T]:
        """Of this thread's blocks, outermost first."""
        found: list[T] = self._thread.__dict__.setdefault("inner", [])
        return found

    @contextmanager
    def block(self, value: T) -> Iterator[None]:
        self._begin()
        self.inner.append(value)
        try:
            yield
        finally:
            self.inner.pop()
            self._end()

    def _begin(self) -> None:
        with self._lock:
            if not self._blocks:
                target = self._target()
                self._originals = {
                    name: getattr(target, name) for name in self._names if hasattr(target, name)
                }
                for name, original in self._originals.items():
                    setattr(target, name, self._wrap(name, original))
            self._blocks += 1

    def _end(self) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._restore()

    def _restore(self) -> None:
        for name, original in self._originals.items():
            setattr(self._target(), name, original)
        self._originals = {}
