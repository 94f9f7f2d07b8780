"""What the server already brings for a function's libraries, so that no second copy is installed.

An installer that finds a distribution's metadata in an environment takes the distribution for installed. So
while it runs, what is provided stands there as metadata alone; where requirements ask for another version, it
is replaced by that. Afterwards the metadata goes, and the distribution is found in the server's own folders.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from glowplug.core.requirements import requirement_name

_INSTALLER = "glowplug"


def provided(libraries: Iterable[str], lines: Iterable[str]) -> tuple[str, ...]:
    """`name==version` of every distribution of ours that brings one of these libraries, or that such a one
    requires, sorted; but nothing for a library that requirements name themselves."""
    asked = {requirement_name(line) for line in lines}
    roots = {library.partition(".")[0] for library in libraries}
    waiting = [name for root in roots for name in _brought_by().get(root, ()) if name not in asked]
    found: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        distribution = _distribution(name)
        if name in found or name in asked or distribution is None:
            continue
        found[name] = distribution.version
        waiting += [requirement_name(line) for line in distribution.requires or () if "extra ==" not in line]
    return tuple(sorted(f"{name}=={version}" for name, version in found.items()))


def place(names: Iterable[str], packages: Path) -> None:
    """Puts the metadata of provided distributions into a folder of packages. Raises OSError."""
    for name in names:
        distribution = _distribution(name)
        text = distribution.read_text("METADATA") if distribution is not None else None
        if distribution is None or text is None:
            continue
        folder = packages / f"{name.replace('-', '_')}-{distribution.version}.dist-info"
        folder.mkdir()
        files = {"METADATA": text, "INSTALLER": f"{_INSTALLER}\n"}
        for file, content in files.items():
            (folder / file).write_text(content)
        record = "".join(f"{folder.name}/{file},,\n" for file in (*files, "RECORD"))
        (folder / "RECORD").write_text(record)


def remove_placed(packages: Path) -> None:
    """Takes away what `place` put there, unless an installer has replaced it."""
    for file in packages.glob("*.dist-info/INSTALLER"):
        if file.read_text().strip() == _INSTALLER:
            shutil.rmtree(file.parent)


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


@cache
def _brought_by() -> dict[str, tuple[str, ...]]:
    """The normalised names of the distributions that have a module, by the module's name."""
    found = importlib.metadata.packages_distributions()
    return {module: tuple({requirement_name(name) for name in names}) for module, names in found.items()}
