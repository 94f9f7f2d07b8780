"""Reads requirements files where a function is declared: what is left are lines that name no other file.

Understands pip's format, with `-r` and `-c` in it, and `pylock.toml` (PEP 751). A wheel beside the source is
named relative to the source's folder and travels with it.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from glowplug.core.errors import InvalidDeclaration
from glowplug.core.requirements import check_requirements, is_local, location, requirement_name
from glowplug.core.specs import Requirements

_FILE_OPTION = re.compile(r"(-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+|(?=\S))(\S.*)")
_COMMENT = re.compile(r"(^|\s+)#.*$")
_FOREIGN_LOCKS = {
    "uv.lock": "uv export --format requirements-txt > requirements.txt",
    "poetry.lock": "poetry export > requirements.txt",
    "Pipfile.lock": "pipenv requirements --hash > requirements.txt",
}


class Resolved:
    """`requirements` without file names, the `wheels` that must travel, relative to the folder, and the files
    that were `read`."""

    def __init__(self, requirements: Requirements, wheels: tuple[str, ...], read: tuple[Path, ...]) -> None:
        self.requirements = requirements
        self.wheels = wheels
        self.read = read


def resolve_requirements(declared: Requirements, folder: Path, what: str) -> Resolved:
    """Raises InvalidDeclaration, naming the file and the line."""
    reading = _Reading(folder.resolve(), what)
    for constraint, lines in ((False, declared.lines), (True, declared.constraints)):
        for line in lines:
            reading.take(line, folder, constraint)
    found = Requirements(tuple(reading.lines), tuple(reading.constraints), declared.build_from_source)
    check_requirements(found, what)
    read = dict.fromkeys(path for path, _ in reading.opened)
    return Resolved(found, tuple(dict.fromkeys(reading.wheels)), tuple(read))


class _Reading:
    """What was read so far; `opened` keeps files that name each other from going on for ever."""

    def __init__(self, root: Path, what: str) -> None:
        self.root = root
        self.what = what
        self.lines: list[str] = []
        self.constraints: list[str] = []
        self.wheels: list[str] = []
        self.opened: dict[tuple[Path, bool], None] = {}

    def take(self, line: str, folder: Path, constraint: bool) -> None:
        line = _COMMENT.sub("", line).strip()
        if not line:
            return
        named = _FILE_OPTION.fullmatch(line)
        if named is not None:
            self._open(folder / named[2].strip(), constraint or named[1] in ("-c", "--constraint"))
        elif requirement_name(line) == "glowplug":
            return  # the server brings its own, and no other could talk to it
        else:
            (self.constraints if constraint else self.lines).append(self._rooted(line, folder))

    def _open(self, path: Path, constraint: bool) -> None:
        path = path.resolve()
        if (path, constraint) in self.opened:
            return
        self.opened[path, constraint] = None
        export = _FOREIGN_LOCKS.get(path.name)
        if export is not None:
            raise InvalidDeclaration(f"{self.what}: {path.name} cannot be read here; write another: {export}")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidDeclaration(f"{self.what}: requirements {path} cannot be read: {error}") from error
        if path.suffix == ".toml":
            lines = _lock_lines(text, path, self.what)
        else:
            lines = re.sub(r"\\\r?\n", " ", text).splitlines()
        for line in lines:
            self.take(line, path.parent, constraint)

    def _rooted(self, line: str, folder: Path) -> str:
        """With a path in it made relative to the root, for that is what is there where it is installed."""
        option = re.fullmatch(r"(-f|--find-links)[\s=]+(\S+)", line)
        if option is not None and is_local(option[2]):
            return f"--find-links {(folder / option[2]).resolve()}"
        place = location(line)
        if not place or not is_local(place) or not place.endswith(".whl"):
            return line
        path = (folder / place).resolve()
        if not path.is_relative_to(self.root) or not path.is_file():
            raise InvalidDeclaration(f"{self.what}: no wheel {place} in the source file's folder")
        relative = path.relative_to(self.root).as_posix()
        self.wheels.append(relative)
        return line.replace(place, f"./{relative}", 1)


def _lock_lines(text: str, path: Path, what: str) -> list[str]:
    """A pylock.toml as pinned lines with hashes."""
    try:
        lock: dict[str, Any] = tomllib.loads(text)
        packages = lock["packages"]
        return [line for package in packages for line in _locked(package, what)]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InvalidDeclaration(f"{what}: {path.name} is no lock file of PEP 751: {error!r}") from error


def _locked(package: dict[str, Any], what: str) -> list[str]:
    name = package["name"]
    if "version" not in package or not (package.get("wheels") or package.get("sdist")):
        raise InvalidDeclaration(f"{what}: the lock has no released version of {name}; build a wheel of it")
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
    hashes = [f" --hash={kind}:{value}" for file in files for kind, value in file.get("hashes", {}).items()]
    marker = f" ; {package['marker']}" if "marker" in package else ""
    return [f"{name}=={package['version']}{marker}{''.join(dict.fromkeys(hashes))}"]
