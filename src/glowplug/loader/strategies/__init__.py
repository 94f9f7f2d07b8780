"""How the weights of a pack come into a process. One file per strategy.

A strategy is a function `load(path, device) -> object`: the rebuilt object, its tensors on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from glowplug.loader.devices.base import Device

Load = Callable[[str, Device], object]

STRATEGIES = {"mapped": "glowplug.loader.strategies.mapped:load"}


def strategy(name: str) -> Load:
    """Raises ValueError naming the known ones."""
    try:
        module, _, attribute = STRATEGIES[name].partition(":")
    except KeyError:
        raise ValueError(f"no strategy is called {name!r}; there are {', '.join(STRATEGIES)}") from None
    found: Load = getattr(import_module(module), attribute)
    return found
