"""Experiments by name.

Each is a module with `Options`, `run(options, tell) -> Result`, `report(result, console)` and
`plot(result, path)`.
"""

from __future__ import annotations

import ast
import importlib
import sys
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

EXPERIMENTS = {
    "coldstart": "glowplug.bench.coldstart",
    "endurance": "glowplug.bench.endurance",
    "gateway": "glowplug.bench.gateway",
    "loading": "glowplug.bench.loading",
}
PIPE_COLUMNS = 150
"""The width of a table that goes to a file or a pipe."""


def describe() -> dict[str, str]:
    """What each experiment measures: the first line of its file, which is not imported for it."""
    return {name: _first_line(module) for name, module in sorted(EXPERIMENTS.items())}


def run(
    name: str,
    *,
    quick: bool = False,
    repeats: int | None = None,
    json: Path | None = None,
    plot: Path | None = None,
) -> int:
    """Runs and shows one; 0 when every claim holds, 1 when one does not, 2 for an unknown name."""
    if name not in EXPERIMENTS:
        Console(stderr=True).print(
            f"no experiment is called {name!r}; there are {', '.join(sorted(EXPERIMENTS))}"
        )
        return 2
    module = importlib.import_module(EXPERIMENTS[name])
    options = module.Options(quick=quick) if repeats is None else module.Options(quick=quick, repeats=repeats)
    with Console(stderr=True).status(name) as status:
        result = module.run(options, status.update)
    module.report(result, Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS))
    if json is not None:
        result.write(json)
    if plot is not None:
        module.plot(result, plot)
    return 0 if result.holds else 1


def _first_line(module: str) -> str:
    spec = find_spec(module)
    source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
