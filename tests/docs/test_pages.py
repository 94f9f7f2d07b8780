"""What the documentation names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from glowplug.bench.result import read_result

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PAGES = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    gone = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not gone


def test_the_map_names_what_is_there() -> None:
    package = ROOT / "src" / "glowplug"
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", text))
    assert {"node/", "control/state.py"} <= named
    everything = {f"/{path.relative_to(package)}{'/' * path.is_dir()}" for path in package.rglob("*")}
    gone = [name for name in named if not any(path.endswith(f"/{name}") for path in everything)]
    assert not gone


def test_every_result_can_be_read_and_is_explained() -> None:
    explained = set(re.findall(r"`([\w-]+\.json)`", (RESULTS / "README.md").read_text()))
    assert explained == {path.name for path in RESULTS.glob("*.json")}
    for path in RESULTS.glob("*.json"):
        result = read_result(path)
        assert result.rows, path.name
        assert path.name.startswith(result.experiment), path.name
