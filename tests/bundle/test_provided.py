"""What the server has need not be installed again, unless it is asked for by name."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from glowplug.bundle import provided as module
from glowplug.bundle.provided import place, provided, remove_placed
from tests.wheels import make_wheel


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Packages of the server's: big needs base and, as an extra, plot; base needs what is not there."""
    folder = tmp_path / "site"
    for name, requires in {
        "big_lib": ["Base_Lib>=1 ; python_version > '3'", "plot_lib ; extra == 'plot'"],
        "base_lib": ["not-there"],
        "plot_lib": [],
    }.items():
        with zipfile.ZipFile(make_wheel(tmp_path / "wheels", name, "1.5", requires=requires)) as wheel:
            wheel.extractall(folder)
    monkeypatch.syspath_prepend(folder)
    module._brought_by.cache_clear()
    yield folder
    module._brought_by.cache_clear()


def test_a_library_brings_what_it_requires() -> None:
    assert provided(["big_lib.part", "json", "nothing"], ["x==1"]) == ("base-lib==1.5", "big-lib==1.5")
    assert provided([], ["x"]) == ()


@pytest.mark.parametrize(
    "line", ["big_lib==2", "Big-Lib[plot]", "big.lib @ https://h/big_lib-2-py3-none-any.whl"]
)
def test_what_is_required_by_name_is_not(line: str) -> None:
    assert provided(["big_lib"], [line]) == ()


def test_a_part_that_is_required_by_name_is_not() -> None:
    assert provided(["big_lib"], ["base-lib<1"]) == ("big-lib==1.5",)


def test_only_what_was_placed_is_removed(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    place(["big-lib", "base-lib", "not-there"], packages)
    assert sorted(path.name for path in packages.iterdir()) == [
        "base_lib-1.5.dist-info",
        "big_lib-1.5.dist-info",
    ]
    (packages / "big_lib-1.5.dist-info" / "INSTALLER").write_text("pip\n")
    (packages / "other-1.dist-info").mkdir()
    remove_placed(packages)
    assert sorted(path.name for path in packages.iterdir()) == ["big_lib-1.5.dist-info", "other-1.dist-info"]
