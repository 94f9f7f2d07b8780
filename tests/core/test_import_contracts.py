"""A contract says nothing of a part that it does not name: so each has to name them all."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
    "importlinter"
]["contracts"]
_SURFACE = {"app", "handles", "options", "client", "answer", "call", "endpoints"}
_ALLOWED: dict[str, set[str]] = {
    "core imports nothing of ours": set(),
    "loader imports nothing of ours": set(),
    "transport, policy, client and endpoints import core alone": {"core"},
    "control imports core and policy": {"core", "policy"},
    "bundle imports core, loader and distributed (and app, where it reads a declaration)": {
        "core", "loader", "distributed", *_SURFACE,
    },
    "node imports core, loader, bundle, transport and distributed": {
        "core", "loader", "bundle", "transport", "distributed", *_SURFACE,
    },
    "distributed imports core, loader, transport and policy.plans": {
        "core", "loader", "transport", "policy.plans",
    },
    "engines import core, node and transport": {"core", "node", "transport"},
    "sim imports core, policy and control": {"core", "policy", "control"},
    "gateway imports core, calls, control.leases and transport": {"core", "calls", "transport"},
    "calls import core alone": {"core"},
    "testing imports no adapter": {"core", "loader", "transport", "policy", "control", "distributed"},
}  # fmt: skip
"""What is meant to be imported, reached by way of others included."""
_ABOUT_OTHERS = {
    "core and loader stand alone",
    "decisions are pure: no clock, randomness, I/O or heavy library",
}
_FREE = {"app", "handles", "options", "compose", "server", "cli", "bench"}
"""They put the others together."""


def parts(package: str = "") -> set[str]:
    folder = ROOT / "src/glowplug" / package
    found = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    return {name for name in found if not name.startswith("_")}


def own(modules: list[str]) -> set[str]:
    return {module.removeprefix("glowplug.") for module in modules}


def test_every_contract_is_looked_at() -> None:
    assert {contract["name"] for contract in _CONTRACTS} == set(_ALLOWED) | _ABOUT_OTHERS
    bound = set().union(*(own(each["source_modules"]) for each in _CONTRACTS if each["name"] in _ALLOWED))
    assert bound | _FREE == parts()


@pytest.mark.parametrize(
    "contract", [c for c in _CONTRACTS if c["name"] in _ALLOWED], ids=lambda c: c["name"]
)
def test_each_part_is_bound_forbidden_or_allowed(contract: dict[str, Any]) -> None:
    sources, forbidden = own(contract["source_modules"]), own(contract["forbidden_modules"])
    allowed = _ALLOWED[contract["name"]]
    wanted: set[str] = set()
    for part in parts() - sources - allowed:
        below = {f"{part}.{name}" for name in parts(part)}
        wanted |= below - allowed if below & allowed else {part}
    assert forbidden == wanted
