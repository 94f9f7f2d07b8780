"""Which files beside a source its code would import later, within a function: they must travel too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def with_later_imports(files: set[Path], folder: Path) -> set[Path]:
    """`files` (below `folder`), every module there that an import statement in one of them names, wherever it
    stands, and so on. What is imported by a name made at run time is not seen."""
    found = set(files)
    unread = [path for path in files if path.suffix == ".py"]
    while unread:
        for path in _imported(unread.pop(), folder):
            if path not in found:
                found.add(path)
                unread.append(path)
    return found


def _imported(source: Path, folder: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return  # whoever imports it is told
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield from _files(folder, name.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            within = list(source.parent.relative_to(folder).parts)
            package = within[: len(within) + 1 - node.level] if node.level else []
            package += node.module.split(".") if node.module else []
            for name in node.names:
                yield from _files(folder, [*package, name.name])


def _files(folder: Path, parts: list[str]) -> Iterator[Path]:
    """The modules on the way to one of `parts`, as far as they are there; the last may be a class."""
    at = folder
    for part in parts:
        at = at / part
        for path in (at.with_name(f"{part}.py"), at / "__init__.py"):
            if path.is_file():
                yield path
