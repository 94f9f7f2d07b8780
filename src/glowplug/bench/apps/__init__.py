"""Apps that experiments deploy: their files are given to `glowplug serve`, and imported by nobody here."""

from __future__ import annotations

from pathlib import Path

APPS = Path(__file__).parent
