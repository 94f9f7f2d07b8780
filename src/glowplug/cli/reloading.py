"""`serve --reload`: deploys a source again when one of its files changed; what is wrong is shown, and the
version before stays."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from glowplug.bundle.inspect import Inspection
from glowplug.cli.deploying import deploy_files
from glowplug.cli.output import errors
from glowplug.core.errors import GlowplugError

_DEPTH, _MOST = 3, 500
_FOREIGN = ("node_modules", "site-packages", "venv")
POLL_S = 0.3
"""Looking at some dozen files so often costs nothing, and works on every file system."""
Deploy = Callable[[Path, Callable[[Inspection], None]], None]
"""Deploys a source, and tells what was found in it before it travels."""
Stamp = dict[Path, tuple[int, int, int] | None]


class Watched:
    """The files of one source, as its last inspection that went well listed them; where the last one did not
    go well, all code beside the source too, for that may be why."""

    def __init__(self, source: Path) -> None:
        self.source = source.resolve()
        self._files = {self.source}
        self._is_inspected = False
        self._deployed: Stamp = {}
        self._seen: Stamp = {}

    def begin(self) -> None:
        """A deploy begins now: what changes from here on is for the next one."""
        self._is_inspected = False
        self._deployed = self._seen = self._stamp()

    def take(self, inspection: Inspection) -> None:
        """What is watched from now on. Files that are new to the list have not travelled yet."""
        listed = (self.source.parent / name for name in (*inspection.files, *inspection.read))
        self._files = {self.source, *listed}
        self._is_inspected = True
        fresh = stamp(self._files - self._deployed.keys())
        self._deployed = {
            path: found for path, found in (self._deployed | fresh).items() if path in self._files
        }

    def changed(self) -> bool:
        """Whether a file is another than when the last deploy began, and none changed since the last look: an
        editor, or git, may still be writing."""
        before, self._seen = self._seen, self._stamp()
        return self._seen != self._deployed and self._seen == before

    def _stamp(self) -> Stamp:
        return stamp(self._files if self._is_inspected else self._files | code_beside(self.source))


def code_beside(source: Path) -> set[Path]:
    """Python files in the source's folder and below, as far as somebody writes them by hand."""
    found: set[Path] = set()
    for looked_at, (folder, below, names) in enumerate(os.walk(source.parent)):
        depth = len(Path(folder).relative_to(source.parent).parts)
        below[:] = [each for each in below if depth < _DEPTH and each[0] not in "._" and each not in _FOREIGN]
        found.update(Path(folder, name) for name in names if name.endswith(".py"))
        if max(looked_at, len(found)) > _MOST:
            break
    return found


def stamp(files: Iterable[Path]) -> Stamp:
    """What tells a file from itself before: time, size and identity; None when it is not there."""
    found: Stamp = {}
    for path in files:
        try:
            facts = path.stat()
        except OSError:
            found[path] = None
        else:
            found[path] = facts.st_mtime_ns, facts.st_size, facts.st_ino
    return found


async def deploy_and_watch(sources: list[Path], deploy: Deploy) -> None:
    """Until it is cancelled. `deploy` runs in a thread; its errors are shown."""
    watched = [Watched(source) for source in sources]
    for each in watched:
        await _deploy(each, deploy)
    while True:
        await asyncio.sleep(POLL_S)
        for each in watched:
            if await asyncio.to_thread(each.changed):
                errors.print(f"{each.source.name} changed", style="dim")
                await _deploy(each, deploy)


async def _deploy(watched: Watched, deploy: Deploy) -> None:
    watched.begin()
    try:
        await asyncio.to_thread(deploy, watched.source, watched.take)
    except (GlowplugError, OSError) as error:
        errors.print("[bold red]error[/] ", end="")
        errors.print(str(error), markup=False, highlight=False)
        errors.print("  what was deployed before goes on; waiting for a change", style="dim")


def deployer(url: str, token: str | None, quiet: bool) -> Deploy:
    """Deploys one source at a time to `url`."""

    def deploy(source: Path, on_inspected: Callable[[Inspection], None]) -> None:
        deploy_files(url, token, [source], quiet=quiet, on_inspected=on_inspected)

    return deploy
