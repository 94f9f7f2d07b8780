"""Experiments by name.

Each is a package whose module `experiment` has `Options`, `run(options, tell) -> Result`,
`report(result, console)` and `plot(result, path)`.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from glowplug.bench.pictures.files import check_picture
from glowplug.bench.progress import progress
from glowplug.cli.output import CommandConsole

EXPERIMENTS = {
    "calibration": "glowplug.bench.calibration.experiment",
    "card": "glowplug.bench.card.experiment",
    "coldstart": "glowplug.bench.coldstart.experiment",
    "distributed": "glowplug.bench.distributed.experiment",
    "endurance": "glowplug.bench.endurance.experiment",
    "gateway": "glowplug.bench.gateway.experiment",
    "loading": "glowplug.bench.loading.experiment",
    "preloading": "glowplug.bench.preloading.experiment",
    "scheduling": "glowplug.bench.scheduling.experiment",
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
    settings: Sequence[str] = (),
    json: Path | None = None,
    plot: Path | None = None,
) -> int:
    """Runs and shows one; 0 when it ran, whatever its claims say, 2 for an unknown name or setting, what this
    machine cannot run, a file that cannot be written, or a picture of what was not run.

    `settings` are of the form NAME=VALUE; of a setting that is a list, values are separated by commas.
    """
    if name not in EXPERIMENTS:
        Console(stderr=True).print(
            f"no experiment is called {name!r}; there are {', '.join(sorted(EXPERIMENTS))}"
        )
        return 2
    module = importlib.import_module(EXPERIMENTS[name])
    try:
        options = options_of(module.Options, quick, repeats, settings)
    except ValueError as error:
        Console(stderr=True).print(f"{name}: {error}", markup=False)
        return 2
    for path in (json, plot):
        if path is not None and not _can_be_written(path):
            Console(stderr=True).print(f"{name}: {path} cannot be written", markup=False)
            return 2
    if plot is not None:
        try:
            check_picture(plot)
        except (ValueError, ImportError) as error:
            Console(stderr=True).print(f"{name}: {plot}: {error}", markup=False)
            return 2
    try:
        with progress(name, CommandConsole(stderr=True)) as tell:
            result = module.run(options, tell)
    except RuntimeError as error:
        Console(stderr=True).print(f"{name}: {error}", markup=False)
        return 2
    if json is not None:
        result.write(json)
    module.report(result, CommandConsole(width=None if sys.stdout.isatty() else PIPE_COLUMNS))
    if plot is not None:
        try:
            module.plot(result, plot)
        except ValueError as error:
            Console(stderr=True).print(f"{name}: no picture: {error}", markup=False)
            return 2
    return 0


def _can_be_written(path: Path) -> bool:
    """Asked before a run, which may take an hour."""
    return os.access(path if path.exists() else path.absolute().parent, os.W_OK) and not path.is_dir()


def options_of(kind: type[Any], quick: bool, repeats: int | None, settings: Sequence[str]) -> Any:
    """The options of an experiment as they were asked for. Raises ValueError naming what makes no sense."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    given: dict[str, Any] = {"quick": quick}
    if repeats is not None:
        given["repeats"] = repeats
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or name not in fields:
            raise ValueError(f"{setting!r} sets nothing; write NAME=VALUE with one of {', '.join(fields)}")
        is_list = isinstance(fields[name].default, tuple)
        given[name] = ([] if not value else value.split(",")) if is_list else value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def _first_line(module: str) -> str:
    spec = find_spec(module)
    source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
