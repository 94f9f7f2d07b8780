"""Glowplug: serverless inference without the cold start."""

from glowplug._version import __version__
from glowplug.app import App
from glowplug.handles import endpoint

__all__ = ["App", "__version__", "endpoint"]
