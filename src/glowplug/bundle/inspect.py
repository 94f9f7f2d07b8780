"""Reads the declarations of a source file, in a process of its own:
`python -P -m glowplug.bundle.inspect FILE`.

Prints one JSON object: the declarations, and the files that must travel (relative to the source's folder).
A user's code runs here and nowhere in the caller.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bundle.later_imports import with_later_imports
from glowplug.bundle.requirements import resolve_requirements
from glowplug.bundle.schemas import with_schemas
from glowplug.bundle.stand_ins import StandInFinder, is_beside
from glowplug.core.errors import GlowplugError, InvalidDeclaration, in_words
from glowplug.core.specs import Declaration
from glowplug.handles import READING

IMPORT_S = 300.0
"""A source that imports for so long does not end."""
_MARK = b"\x1e"
"""Before and after the answer: a user's code may print while it is imported, and when it ends."""


class Inspection(msgspec.Struct, frozen=True):
    """`files` are code, weights and includes, as paths relative to the source file's folder; `read` are lists
    of requirements, wherever they lie, which do not travel."""

    declarations: tuple[Declaration, ...] = ()
    files: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    error: str = ""


def inspect_source(source: Path, python: str = sys.executable, limit_s: float = IMPORT_S) -> Inspection:
    """Imports `source` in a fresh process and returns what it declares.

    Raises InvalidDeclaration with what its exception says; the whole traceback is on stderr.
    """
    if not source.is_file():
        raise InvalidDeclaration(
            f"no file {source}: give the path of a Python file that declares a glowplug.App"
        )
    if source.suffix != ".py":
        raise InvalidDeclaration(f"{source} is no Python source: its name must end in .py")
    environment = os.environ | {READING: "1"}
    try:
        done = subprocess.run(
            [python, "-P", "-m", "glowplug.bundle.inspect", str(source.resolve())],
            stdout=subprocess.PIPE, env=environment, check=False, timeout=limit_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InvalidDeclaration(f"{source}: importing it did not end within {limit_s:.0f} s") from None
    try:
        found = msgspec.json.decode(done.stdout.split(_MARK)[-2], type=Inspection)
    except (IndexError, msgspec.MsgspecError):
        raise InvalidDeclaration(f"{source}: importing it ended with exit status {done.returncode}") from None
    if found.error:
        raise InvalidDeclaration(f"{source}: {found.error}")
    return found


def import_source(source: Path) -> Any:
    """Imports a source file by its stem, with its folder first on sys.path, and returns the module."""
    if not source.stem.isidentifier():
        raise InvalidDeclaration(f"{source.name}: the file's name must be a Python identifier")
    sys.path.insert(0, str(source.parent))
    module = importlib.import_module(source.stem)
    if Path(module.__file__ or "").resolve() != source:
        raise InvalidDeclaration(f"{source.name}: Python has a module of that name; give the file another")
    return module


def find_targets(module: Any) -> list[tuple[Declaration, Any]]:
    """Every declaration of each App among `module`'s attributes, in order, with its class or function.

    Raises InvalidDeclaration for what a process that imports its module would not find there.
    """
    from glowplug.app import App
    from glowplug.handles import is_same

    apps = {id(value): value for value in vars(module).values() if isinstance(value, App)}
    found = [target for app in apps.values() for target in app.targets.values()]
    named: dict[tuple[str, str], tuple[Declaration, Any]] = {}
    for declaration, target in found:
        _check_found(declaration, target)
        name = (declaration.module, declaration.qualname)
        other, held = named.setdefault(name, (declaration, target))
        if not is_same(held, target):
            raise InvalidDeclaration(
                f"{declaration.name}: {declaration.qualname} is declared already, as {other.name}: call one"
                " of the two something else"
            )
    return found


def _check_found(declaration: Declaration, target: Any) -> None:
    if "<" in declaration.qualname:
        raise InvalidDeclaration(
            f"{declaration.name}: {declaration.qualname} is no name at the top of a module, where its"
            " processes look for it: declare it there, and for other weights a subclass"
        )
    left = vars(target).get("__glowplug__") if isinstance(target, type) else None
    if left is not None and callable(left.weights) and not left.at_home:
        raise InvalidDeclaration(
            f"{declaration.name}: its weights are a callable, which its processes look for where the class is"
            f" written: declare it in {declaration.module}, or make a subclass here"
        )


def _files(source: Path, declarations: list[Declaration]) -> tuple[str, ...]:
    folder = source.parent
    imported = {source}
    for module in list(sys.modules.values()):
        origin = getattr(module, "__file__", None)
        if origin and origin.endswith(".py") and is_beside(Path(origin), folder):
            imported.add(Path(origin))
    found = {path.relative_to(folder).as_posix() for path in with_later_imports(imported, folder)}
    for declaration in declarations:
        for name in (*declaration.include, *((declaration.weights,) if declaration.weights else ())):
            path = (folder / name).resolve()
            if not path.is_relative_to(folder):
                raise InvalidDeclaration(
                    f"{declaration.name}: {name!r} lies outside the source file's folder"
                )
            if not path.is_file():
                raise InvalidDeclaration(f"{declaration.name}: no file {name!r} beside {source.name}")
            found.add(path.relative_to(folder).as_posix())
    return tuple(sorted(found))


def _resolve(declarations: list[Declaration], folder: Path) -> tuple[list[Declaration], set[str], set[str]]:
    """The declarations with their requirements read, the wheels that belong to those, and the files that they
    were read from."""
    found: list[Declaration] = []
    wheels: set[str] = set()
    read: set[str] = set()
    for declaration in declarations:
        if declaration.requirements is not None:
            resolved = resolve_requirements(declaration.requirements, folder, declaration.name)
            wheels.update(resolved.wheels)
            read.update(map(str, resolved.read))
            wanted = resolved.requirements if resolved.requirements.lines else None
            declaration = msgspec.structs.replace(declaration, requirements=wanted)
        found.append(declaration)
    return found, wheels, read


def _declared(source: Path) -> list[Declaration]:
    """What it declares. Modules that are missing here may be among what it requires: see stand_ins.py."""
    try:
        return [with_schemas(*found) for found in find_targets(import_source(source))]
    except ModuleNotFoundError:
        for name, module in list(sys.modules.items()):
            is_ours = name.partition(".")[0] in ("__main__", "glowplug")
            origin = Path(getattr(module, "__file__", None) or "/")
            if not is_ours and is_beside(origin, source.parent):
                del sys.modules[name]
        finder = StandInFinder(source.parent)
        sys.meta_path.append(finder)
        found = [with_schemas(*each) for each in find_targets(import_source(source))]
        if not any(declaration.requirements for declaration in found):
            raise
        return found


def _hint(error: BaseException, source: Path) -> str:
    if not isinstance(error, ImportError) or "relative import" not in str(error):
        return ""
    return (
        f"; {source.name} is imported by itself, not as a part of {source.parent.name}: write `import MODULE`"
        " for what lies beside it, or deploy a file that lies beside the package"
    )


def _main() -> int:
    source = Path(sys.argv[1]).resolve()
    try:
        declarations, wheels, read = _resolve(_declared(source), source.parent)
        if not declarations:
            raise InvalidDeclaration(
                "it declares nothing: make an App and decorate a class or a function with it"
            )
        files = {*_files(source, declarations), *wheels}
        answer = Inspection(tuple(declarations), tuple(sorted(files)), tuple(sorted(read)))
    except GlowplugError as error:
        answer = Inspection(error=error.message)
    except BaseException as error:
        traceback.print_exc()
        answer = Inspection(error=in_words(error) + _hint(error, source))
    sys.stdout.flush()
    os.write(1, _MARK + msgspec.json.encode(answer) + _MARK)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
