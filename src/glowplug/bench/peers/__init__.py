"""Other people's software that experiments compare with, run in an environment of its own (`make peers`)."""

from __future__ import annotations

from pathlib import Path

from glowplug.bench.models import examples_dir


def peers_environment() -> Path:
    """The virtual environment that `make peers` makes beside `examples`, whether it exists or not."""
    return examples_dir().parent / ".venv-peers"


def peers_python() -> Path:
    return peers_environment() / "bin" / "python"
