"""Packages that functions require: what is asked for, and what was installed, on one machine's disk.

    environments/requests/<id>/   request.json, and wheels/ that came with an upload
    environments/built/<id>/      built.json, and the virtual environment in a folder that it names
    environments/cache/           what the installer downloaded

A request is there before the deploy that needs it is acknowledged. What is built can always be built again:
it counts from the moment when built.json has its name, and an attempt that was cut short is a folder that
nobody names. Virtual environments are not moved, for their scripts hold their path.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import secrets
import shutil
import sys
from pathlib import Path

import msgspec

from glowplug.bundle.files import move_durably, sha256_of, sync_tree, touch
from glowplug.bundle.provided import provided
from glowplug.bundle.trees import remove_tree, tree_bytes
from glowplug.core.errors import InvalidUpload
from glowplug.core.ids import PackagesId
from glowplug.core.requirements import is_local, location
from glowplug.core.specs import Requirements

RUNTIME = ("msgspec>=0.20", "numpy>=1.26", "xxhash>=4.0")
"""What Glowplug itself imports in a function's process. Older versions cannot be installed beside it."""
_LAYOUT = 1
"""Counted up when what is built here changes its form: older ones are then built again."""
REQUIREMENTS, CONSTRAINTS = "requirements.txt", "constraints.txt"
_REQUEST, _BUILT = "request.json", "built.json"


class Request(msgspec.Struct, frozen=True):
    """`wheels` are SHA-256 by file name; lines name these files as `./wheels/NAME`. `provided` are those of
    the server's own distributions that need not be installed again (provided.py)."""

    requirements: Requirements
    wheels: dict[str, str] = {}
    python: str = ""
    provided: tuple[str, ...] = ()


class BuiltPackages(msgspec.Struct, frozen=True):
    """`packages` are `name==version`, sorted; `folder` is the virtual environment, beside this record."""

    folder: str
    python: str
    installer: str
    packages: tuple[str, ...]
    size_bytes: int
    took_s: float


def interpreter() -> str:
    """What compiled packages and a virtual environment's links depend on."""
    return f"{sys.version} {sys.base_prefix} {platform.machine()} {'-'.join(platform.libc_ver())}"


def packages_id(request: Request) -> PackagesId:
    """The same request of the same interpreter is the same installation."""
    parts = msgspec.json.encode([_LAYOUT, RUNTIME, request], order="deterministic")
    return PackagesId(hashlib.sha256(parts).hexdigest()[:16])


class EnvironmentStore:
    """Paths and moves inside one state folder. Errors of the disk are raised as OSError."""

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir / "environments"
        self.requests = self.root / "requests"
        self.built = self.root / "built"
        self.cache = self.root / "cache"

    def prepare(self) -> None:
        """Makes the folders and removes what an earlier process left half written or half removed."""
        for folder in (self.root, self.requests, self.built):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700 if folder == self.requests else 0o755)  # an index's password may be in one
        for folder in (self.requests, self.built):
            for path in folder.glob(".*"):
                remove_tree(path)

    # requests

    def keep_request(
        self, requirements: Requirements, code: Path, libraries: tuple[str, ...] = ()
    ) -> PackagesId:
        """Stores what is asked for, with the wheels out of an upload's `code`; `libraries` are what the
        function imports of the server's own packages, where its requirements do not name them.

        Raises InvalidUpload, OSError.
        """
        sources: dict[str, Path] = {}
        lines = tuple(_with_wheel(line, code, sources) for line in requirements.lines)
        constraints = tuple(_with_wheel(line, code, sources) for line in requirements.constraints)
        request = Request(
            Requirements(lines, constraints, requirements.build_from_source),
            {name: sha256_of(path) for name, path in sources.items()},
            interpreter(),
            provided(libraries, lines),
        )
        name = packages_id(request)
        if touch(self.requests / name) and (self.requests / name / _REQUEST).exists():
            return name
        temporary = self.requests / f".new-{secrets.token_hex(8)}"
        try:
            (temporary / "wheels").mkdir(parents=True)
            for wheel, path in sources.items():
                shutil.copyfile(path, temporary / "wheels" / wheel)
            (temporary / _REQUEST).write_bytes(msgspec.json.encode(request))
            sync_tree(temporary)
            move_durably(temporary, self.requests / name)
        except OSError:  # another deploy of the same may have been faster
            if not (self.requests / name / _REQUEST).exists():
                raise
        finally:
            remove_tree(temporary)
        return name

    def request(self, name: PackagesId) -> Request | None:
        try:
            data = (self.requests / name / _REQUEST).read_bytes()
            return msgspec.json.decode(data, type=Request)
        except (OSError, msgspec.MsgspecError):
            return None

    def lay_out(self, name: PackagesId, request: Request, home: Path) -> None:
        """Writes what an installer needs into its `home`: the two lists, and the wheels."""
        wanted = request.requirements
        (home / REQUIREMENTS).write_text("".join(f"{line}\n" for line in wanted.lines))
        (home / CONSTRAINTS).write_text("".join(f"{line}\n" for line in (*wanted.constraints, *RUNTIME)))
        if request.wheels:
            shutil.copytree(self.requests / name / "wheels", home / "wheels")

    def forget_requests(self, wanted: set[PackagesId]) -> None:
        """Removes requests that no version names any more. Only while no deploy can be under way."""
        for path in self.requests.iterdir():
            if path.name not in wanted:
                remove_tree(path)

    # what was built

    def whole(self, name: PackagesId) -> BuiltPackages | None:
        """What was built and can be used by this interpreter."""
        found = self.described(name)
        if found is None or found.python != interpreter() or not self.python(name, found).exists():
            return None
        return found

    def described(self, name: str) -> BuiltPackages | None:
        try:
            return msgspec.json.decode((self.built / name / _BUILT).read_bytes(), type=BuiltPackages)
        except (OSError, msgspec.MsgspecError):
            return None

    def python(self, name: PackagesId, built: BuiltPackages) -> Path:
        """Its interpreter."""
        return self.built / name / built.folder / "bin" / "python"

    def new_attempt(self, name: PackagesId) -> Path:
        """A fresh folder to build in. Those of earlier attempts are removed: nobody builds or uses them."""
        folder = self.built / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        self.clear_attempts(name)
        attempt = folder / secrets.token_hex(4)
        attempt.mkdir(mode=0o755)
        return attempt

    def attempts(self) -> list[Path]:
        """What builds left there that were cut short."""
        found = []
        for folder in self.built.iterdir():
            kept = self.described(folder.name)
            found += [p for p in folder.iterdir() if p.is_dir() and (kept is None or p.name != kept.folder)]
        return found

    def clear_attempts(self, name: PackagesId) -> None:
        """Removes what builds left there, all but the environment that counts."""
        kept, folder = self.whole(name), self.built / name
        for path in folder.iterdir() if folder.exists() else ():
            if path.is_dir() and (kept is None or path.name != kept.folder):
                remove_tree(path)

    def publish(self, name: PackagesId, built: BuiltPackages) -> None:
        """From now on this is what was built. What lies below its folder must be flushed already."""
        folder = self.built / name
        temporary = folder / f".{_BUILT}"
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(built))
            file.flush()
            os.fsync(file.fileno())
        move_durably(temporary, folder / _BUILT)

    def used(self, name: PackagesId) -> None:
        """Remembers that it is needed now: what was used last is removed last."""
        with contextlib.suppress(OSError):
            os.utime(self.built / name / _BUILT)

    def used_at_s(self, name: str) -> float:
        try:
            return (self.built / name / _BUILT).stat().st_mtime
        except OSError:
            return 0.0

    def names(self) -> list[PackagesId]:
        """All that are built, the one that was used last at the end."""
        found = [path.name for path in self.built.iterdir() if not path.name.startswith(".")]
        return [PackagesId(name) for name in sorted(found, key=self.used_at_s)]

    def take_away(self, name: str) -> Path | None:
        """Hides what was built under another name, for the caller to remove; None when it is not there."""
        hidden = self.built / f".gone-{secrets.token_hex(8)}"
        try:
            (self.built / name).rename(hidden)
        except OSError:
            return None
        return hidden

    def take_cache_away(self) -> Path | None:
        """As `take_away`, of what installers downloaded: one that begins meanwhile gets a new cache."""
        hidden = self.built / f".gone-{secrets.token_hex(8)}"
        try:
            self.cache.rename(hidden)
        except OSError:
            return None
        return hidden

    def cache_bytes(self) -> int:
        return tree_bytes(self.cache)


def unneeded(
    sizes: list[tuple[PackagesId, int]], needed: set[PackagesId], budget_bytes: int
) -> list[PackagesId]:
    """Which to remove so that all fit into `budget_bytes`: of those that nobody needs the first ones."""
    excess_bytes = sum(size for _, size in sizes) - budget_bytes
    found = []
    for name, size_bytes in sizes:
        if excess_bytes > 0 and name not in needed:
            found.append(name)
            excess_bytes -= size_bytes
    return found


def _with_wheel(line: str, code: Path, sources: dict[str, Path]) -> str:
    """The line with its wheel's path as it will be beside the request."""
    place = location(line)
    if not place or not is_local(place):
        return line
    path = (code / place).resolve()
    if not path.is_relative_to(code.resolve()) or not path.is_file():
        raise InvalidUpload(f"the upload has no wheel {place[:200]!r} that its requirements name")
    if sources.setdefault(path.name, path) != path:
        raise InvalidUpload(f"two wheels of the upload are called {path.name[:200]!r}")
    return line.replace(place, f"./wheels/{path.name}", 1)
