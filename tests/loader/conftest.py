"""A pack that many tests load, and a place for what loads remember."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from glowplug import loader
from glowplug.loader import checked


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which files were checked is not remembered in the home of who runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def wide(tmp_path: Path) -> Any:
    """(pack, its weights' offset, input, answer) of a net with many units."""
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    from tests.loader import nets

    torch.manual_seed(1)
    model, x = nets.Wide().eval(), torch.linspace(-1, 1, 512).view(1, 512)
    loader.pack(model, x, tmp_path / "wide.pack")
    with loader.open_pack(tmp_path / "wide.pack") as pack, torch.inference_mode():
        assert len(pack.info.units) >= 4
        return tmp_path / "wide.pack", pack.info.weights_offset, x, model(x)


@pytest.fixture
def copied(wide: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """(a pack that came here by other means, its weights' offset, input, answer), old enough by now."""
    path, offset, x, expected = wide
    shutil.copy(path, tmp_path / "copied.pack")
    assert checked._wait_beyond((tmp_path / "copied.pack").stat().st_ctime_ns)
    monkeypatch.setattr(checked, "SETTLED_NS", 0)
    return tmp_path / "copied.pack", offset, x, expected
