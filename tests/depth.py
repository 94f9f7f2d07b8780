"""How many examples a random test runs."""

from __future__ import annotations

import os

DEPTH = int(os.environ.get("GLOWPLUG_TEST_DEPTH", "1"))
"""So many times as many as usually (`make fuzz`)."""


def examples(usually: int) -> int:
    return usually * DEPTH
