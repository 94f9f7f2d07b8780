"""Functions of one model: its weights are in memory once, are counted once, and stay while one of them is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glowplug.control.journal_files import replay
from glowplug.loader.pagecache import evict_page_cache, page_cache_bytes
from tests.e2e.conftest import Server, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.torch, pytest.mark.xdist_group("e2e")]
pytest.importorskip("torch", reason="pip install 'glowplug[torch]'")

NAMES = ("one", "two", "three")
OUTPUTS, INPUTS = 4000, 10_000
WEIGHT_BYTES = 4 * OUTPUTS * INPUTS
BUDGET_BYTES = 750 * 10**6
"""Of the three functions with what each has of its own, and of the weights once, not three times."""
SOURCE = f"""
import torch
import glowplug
app, elsewhere = glowplug.App("alike"), glowplug.App("elsewhere", namespace="other")


class Alike:
    def build(self):
        return torch.nn.Linear({INPUTS}, {OUTPUTS}, bias=False)

    def example(self):
        return {{"value": 1.0}}

    @glowplug.endpoint
    def answer(self, value: float) -> float:
        return float(self.model(torch.full((1, {INPUTS}), value)).sum())


def weights():
    return {{"weight": torch.ones({OUTPUTS}, {INPUTS})}}


for name in {NAMES}:
    made = type(name.capitalize(), (Alike,), {{"__module__": __name__}})
    declare = (elsewhere if name == "three" else app).model(
        name=name, weights=weights, libraries=["torch"], memory="100MB", keep_warm="1h"
    )
    globals()[made.__name__] = declare(made)
"""
ADDRESSES = {"one": "one", "two": "two", "three": "three.other"}


@pytest.fixture
def alike(folder: Path) -> Iterator[Server]:
    with serving(folder, options=["--memory", str(BUDGET_BYTES)]) as server:
        server.deploy(server.write(SOURCE))
        yield server


def node(server: Server) -> Any:
    (found,) = server.client.info()["nodes"]
    return found


def ask(server: Server, name: str) -> str:
    """From which step it answered."""
    response = server.post(ADDRESSES[name], {"value": 1.0})
    assert response.status_code == 200, response.text
    assert response.json() == WEIGHT_BYTES / 4
    return str(response.headers["x-glowplug-origin"])


def pack_of(server: Server) -> Path:
    (pack,) = (server.folder / "state" / "packs").glob("*.pack")
    return pack


def proportional_bytes(server: Server, pack: Path) -> tuple[int, int]:
    """Of the pack's pages the shares of all processes together, and how many processes have it mapped."""
    shares, processes = 0, 0
    for pid in server.tree():
        inside, found = False, 0
        try:
            lines = Path(f"/proc/{pid}/smaps").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            first = line.split(maxsplit=1)[0]
            if not first.endswith(":"):
                inside = line.endswith(pack.name)
                found += inside
            elif inside and first == "Pss:":
                shares += int(line.split()[1]) * 1024
        processes += bool(found)
    return shares, processes


def metric_bytes(server: Server) -> int:
    lines = server.http.get("/metrics").text.splitlines()
    local = [line for line in lines if line.startswith("glowplug_held_bytes{") and 'step="local"' in line]
    assert len(local) == len(NAMES)
    return sum(int(float(line.rpartition(" ")[2])) for line in local)


def drops_pages(folder: Path) -> bool:
    """Whether this file system can drop a file's pages, as tmpfs cannot."""
    path = folder / "dropped"
    path.write_bytes(bytes(2**20))
    evict_page_cache(path)
    return page_cache_bytes(path) == 0


def test_three_functions_of_one_model_hold_its_weights_once(alike: Server, folder: Path) -> None:
    pack = pack_of(alike)
    pack_bytes = pack.stat().st_size
    assert pack_bytes >= WEIGHT_BYTES
    for name in NAMES:
        ask(alike, name)
    until(
        lambda: all({"staged", "parked"} <= {s.step for s in held(alike, name)} for name in NAMES),
        "all are staged and parked",
    )
    assert [ask(alike, name) for name in (*NAMES, *NAMES)] == ["parked"] * 6
    found = node(alike)
    assert found["cached_bytes"] == pack_bytes
    assert found["reserved_bytes"] <= BUDGET_BYTES < found["reserved_bytes"] + 2 * pack_bytes
    assert WEIGHT_BYTES <= page_cache_bytes(pack) <= pack_bytes
    shares, processes = proportional_bytes(alike, pack)
    assert processes >= 3
    assert shares <= pack_bytes + 2**20
    assert pack_bytes - len(NAMES) <= metric_bytes(alike) <= pack_bytes
    parts = [each for name in NAMES for each in held(alike, name) if each.step == "local"]
    assert [(each.held_bytes, each.functions) for each in parts] == [(pack_bytes // 3, 3)] * 3
    shown = subprocess.run(
        [sys.executable, "-m", "glowplug", "ps", "--steps", "--url", alike.url],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert shown.stdout.count("its part of 3") == 3
    assert not replay(folder / "state" / "journal").mismatches


def held(server: Server, name: str) -> Any:
    return server.client.describe(ADDRESSES[name]).held


def test_one_goes_and_the_others_go_on(alike: Server, folder: Path) -> None:
    pack = pack_of(alike)
    pack_bytes = pack.stat().st_size
    for name in NAMES:
        ask(alike, name)
    alike.client.undeploy("one")
    until(lambda: "one" not in {f.name for f in alike.client.functions()}, "it is gone")
    assert [ask(alike, name) for name in ("two", "three")] == ["parked", "parked"]
    assert node(alike)["cached_bytes"] == pack_bytes
    assert page_cache_bytes(pack) >= WEIGHT_BYTES
    # A new version of the same model: its build makes the same pack, and needs no room for another.
    alike.deploy_some(alike.write(SOURCE + "\n# a change\n"), "one", "two")
    assert pack_of(alike) == pack
    assert node(alike)["cached_bytes"] == pack_bytes
    for name in NAMES:
        ask(alike, name)
    for name in NAMES:
        alike.client.undeploy(ADDRESSES[name])
    until(lambda: node(alike)["cached_bytes"] == 0, "the weights went with the last of them")
    assert not drops_pages(folder) or not pack.exists() or page_cache_bytes(pack) < 2**20
    assert not replay(folder / "state" / "journal").mismatches


def test_an_agent_that_comes_back_counts_them_once_again(alike: Server) -> None:
    pack_bytes = pack_of(alike).stat().st_size
    for name in NAMES:
        ask(alike, name)
    subprocess.run(["kill", "-9", str(alike.agent_pid)], check=True)
    until(lambda: alike.post("one", {"value": 1.0}).status_code == 200, "it answers again")
    for name in NAMES:
        ask(alike, name)
    assert node(alike)["cached_bytes"] == pack_bytes
