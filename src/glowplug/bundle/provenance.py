"""With which Python, PyTorch and Glowplug a version was built: a pack holds a model as these saw it."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping

from glowplug._version import __version__


def installed() -> dict[str, str]:
    """By name, without loading any of it."""
    found = {"python": platform.python_version(), "glowplug": __version__}
    try:
        return found | {"torch": importlib.metadata.version("torch")}
    except importlib.metadata.PackageNotFoundError:
        return found


def loaded() -> dict[str, str]:
    """Of `installed` what this process has loaded."""
    found = installed()
    if "torch" not in sys.modules:
        found.pop("torch", None)
    return found


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What became another since, in words; empty where nothing did, and nothing of what is not in both."""
    return ", ".join(
        f"{name} {was}, now {now[name]}" for name, was in then.items() if now.get(name, was) != was
    )
