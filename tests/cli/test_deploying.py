"""How often a deploy asks whether its build is over."""

from __future__ import annotations

import pytest

from glowplug.cli.deploying import pause_s


@pytest.mark.parametrize(("build_s", "most"), [(0.5, 11), (10.0, 42), (600.0, 640)])
def test_a_long_build_is_asked_about_seldom_and_its_end_is_found_soon(build_s: float, most: int) -> None:
    waited_s, asked = 0.0, 0
    while waited_s < build_s:
        waited_s += pause_s(waited_s)
        asked += 1
    assert asked <= most
    assert waited_s - build_s <= max(0.05, min(1.0, 0.1 * build_s))
