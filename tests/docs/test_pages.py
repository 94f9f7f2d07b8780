"""What the documentation names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from glowplug.bench.result import read_result
from glowplug.core.errors import BY_CODE
from glowplug.options import DEFAULTS, Options

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
DECISIONS = ROOT / "docs" / "decisions"
DECISIONS = ROOT / "docs" / "decisions"
GUIDE = ROOT / "docs" / "guide"
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


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_settings_of_results_name_no_place_of_a_machine(path: Path) -> None:
    settings = read_result(path).settings
    assert [value for value in settings.values() if isinstance(value, str) and value.startswith("/")] == []


def test_results_are_figures_and_pictures() -> None:
    others = [path.name for path in RESULTS.iterdir() if path.suffix not in (".json", ".png")]
    assert others == ["README.md"]


@pytest.mark.parametrize("page", ["README.md", "docs/what-it-reaches.md"])
def test_the_table_of_cold_starts_is_its_results(page: str) -> None:
    shown = {
        name.replace("-", "_").lower(): [int(cell) for cell in cells.split("|")]
        for name, cells in re.findall(
            r"^\| (MiniLM|MobileNetV2|ResNet-50|BERT-base)\S* \(\d+ MB\) \| ((?:\d+ \| ){6}\d+) \|$",
            (ROOT / page).read_text(),
            re.MULTILINE,
        )
    }
    rows = {
        (row["system"], row["model"], row["step"]): row
        for row in read_result(RESULTS / "coldstart.json").rows
        if row["cache"] == "warm"
    }
    models = {model.replace("resnet50", "resnet_50"): model for _, model, _ in rows}
    columns = [("naive", "local"), ("forkserver", "imported")]
    columns += [("glowplug", step) for step in ("local", "imported", "staged", "parked")]
    assert shown == {
        name: [
            *(round(rows[system, model, step]["latency_s"] * 1000) for system, step in columns),
            round(rows["glowplug", model, "parked"]["warm_s"] * 1000),
        ]
        for name, model in models.items()
    }


def test_every_decision_is_in_the_index() -> None:
    index = re.findall(
        r"^\| \[(\d+)\]\((.+?)\) \| (.+) \| .+ \| (.*) \|$",
        (DECISIONS / "README.md").read_text(),
        re.MULTILINE,
    )
    told = []
    for path in sorted(DECISIONS.glob("[0-9]*.md")):
        head = re.match(r"# (\d+): (.+)\n\n(?:\*\*Changed by\*\* (.+)\.\n)?", path.read_text())
        assert head is not None, path.name
        told.append((head[1], path.name, head[2], head[3] or ""))
    assert index == told


def test_every_option_is_explained_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", (GUIDE / "functions.md").read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == list(Options.__annotations__)
    for name, told in rows:
        default = DEFAULTS.get(name)
        if default and name not in ("device_memory", "latency_target"):
            shown = f'"{default}"' if isinstance(default, str) else str(default)
            assert f"`{shown}`" in told, name


def test_every_error_is_explained_with_its_status() -> None:
    table = (GUIDE / "http.md").read_text().partition("## Errors")[2]
    told = {
        code: int(status)
        for status, codes in re.findall(r"^\| (\d+) \| ([^|]+) \|", table, re.MULTILINE)
        for code in re.findall(r"`(\w+)`", codes)
    }
    assert told == {code: kind.status for code, kind in BY_CODE.items()}
