"""Lets a source be read where its requirements are not installed: they are, where its functions run.

Only what the source's own files import is stood in for. A library's optional imports stay missing, as it
expects them to be.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any


def is_beside(file: Path, folder: Path) -> bool:
    """Whether a module is the source's own: of a file below its folder, and of no interpreter or virtual
    environment that lies there too."""
    if not file.is_relative_to(folder):
        return False
    parts = file.relative_to(folder).parts
    if ".venv" in parts or "site-packages" in parts:
        return False
    return not any(file.is_relative_to(prefix) for prefix in _interpreters(folder))


def _interpreters(folder: Path) -> list[Path]:
    """Where Python's own files are, if that is below `folder`: above it they say nothing."""
    prefixes = (Path(prefix) for prefix in (sys.prefix, sys.base_prefix))
    return [prefix for prefix in prefixes if prefix != folder and prefix.is_relative_to(folder)]


class StandIn:
    """Takes the place of anything that a missing module would have: enough for decorators, base classes,
    annotations and calls at import."""

    def __init__(self, name: str) -> None:
        self._stands_for = name

    def __repr__(self) -> str:
        return self._stands_for

    def __getattr__(self, name: str) -> StandIn:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self._stands_for}.{name}")

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        decorated = arguments[0] if len(arguments) == 1 and not named else None
        if inspect.isfunction(decorated) or inspect.isclass(decorated):
            return decorated
        return StandIn(f"{self._stands_for}(...)")

    def __getitem__(self, key: Any) -> StandIn:
        shown = inspect.formatannotation(key) if isinstance(key, type) else repr(key)
        return StandIn(f"{self._stands_for}[{shown}]")

    def __or__(self, other: Any) -> StandIn:
        return StandIn(f"{self._stands_for} | {inspect.formatannotation(other)}")

    def __ror__(self, other: Any) -> StandIn:
        return StandIn(f"{inspect.formatannotation(other)} | {self._stands_for}")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return ()


class _StandInModule(ModuleType):
    __path__: list[str] = []  # noqa: RUF012 (a package's attribute, by its name)

    def __getattr__(self, name: str) -> StandIn:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self.__name__}.{name}")


class StandInFinder(MetaPathFinder, Loader):
    """Comes last: finds what nobody else did, when a file below `folder` asks for it. `names` are those that
    were stood in for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        root = fullname.partition(".")[0]
        if root in sys.stdlib_module_names or root == "glowplug":
            return None
        if root not in self.names and (path is not None or not self._asked_by_source()):
            return None
        self.names.add(root)
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandInModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""

    def _asked_by_source(self) -> bool:
        frame = inspect.currentframe()
        while frame is not None and ("importlib" in frame.f_code.co_filename or frame.f_globals is globals()):
            frame = frame.f_back
        if frame is None:
            return False
        return is_beside(Path(frame.f_code.co_filename), self._folder)
