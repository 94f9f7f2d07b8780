"""The package says what it has, and does not import torch before it must."""

from __future__ import annotations

import subprocess
import sys

import pytest

from glowplug import loader
from glowplug.loader.strategies import strategy


def test_importing_it_does_not_import_torch() -> None:
    program = """
import sys
import glowplug.loader, glowplug.loader.pagecache, glowplug.loader.devices
from glowplug.loader import LoaderError, evict_page_cache, open_pack, read_state_dict, trace, without_init
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_every_exported_name_is_there() -> None:
    for name in loader.__all__:
        assert name in (
            getattr(loader, name).__name__ if name != name.upper() else getattr(loader, name).name
        )
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        loader.nothing  # noqa: B018


def test_unknown_strategies_are_refused() -> None:
    with pytest.raises(ValueError, match="there are auto, traditional"):
        strategy("none")
