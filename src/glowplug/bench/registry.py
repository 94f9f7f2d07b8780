"""Experiments by name. Each has `Options`, `run(options, tell) -> Result` and `report(result, console)`."""

from __future__ import annotations

import importlib
from types import ModuleType

EXPERIMENTS = {"coldstart": "glowplug.bench.coldstart"}


def experiment(name: str) -> ModuleType:
    """The experiment's module. Raises KeyError that names the known ones."""
    if name not in EXPERIMENTS:
        raise KeyError(f"no experiment is called {name!r}; there are {', '.join(sorted(EXPERIMENTS))}")
    return importlib.import_module(EXPERIMENTS[name])
