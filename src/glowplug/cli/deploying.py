"""From source files to deployed functions, with progress."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from glowplug.bundle.inspect import Inspection, inspect_source
from glowplug.bundle.uploads import write_upload
from glowplug.cli.output import errors
from glowplug.client import Client
from glowplug.core.errors import BuildFailed, DeadlinePassed
from glowplug.core.status import FunctionStatus

BUILD_S = 2700.0
_LEAST_PAUSE_S, _MOST_PAUSE_S = 0.05, 1.0
_PAUSE_SHARE = 0.1
"""Of the time that a build has taken so far: so much later, at most, is it found to be over."""
_PHASES = {
    "waiting": "waiting for its turn",
    "environment": "installing packages",
    "import": "importing libraries",
    "build": "building",
}


def deploy_files(
    url: str | None,
    token: str | None,
    sources: list[Path],
    *,
    wait: bool = True,
    quiet: bool = False,
    options: dict[str, Any] | None = None,
    on_inspected: Callable[[Inspection], None] = lambda inspection: None,
) -> list[FunctionStatus]:
    """Deploys every declaration in `sources`, once all could be read; with `wait` returns once each is built.
    `on_inspected` is told what was found in each, before it travels.

    Raises InvalidDeclaration, BuildFailed with the errors of all that failed, or what the server answered.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    accepted: list[tuple[str, str]] = []
    with Client(url, token) as client, Progress(*columns, console=errors, disable=quiet) as progress:
        read = []
        for source in sources:
            step = progress.add_task(f"{source.name}: reading", total=1)
            inspection = inspect_source(source)
            on_inspected(inspection)
            read.append((source, inspection, step))
        for source, inspection, step in read:
            with tempfile.TemporaryDirectory(prefix="glowplug-upload-") as folder:
                archive = Path(folder) / "upload.tar"
                write_upload(source, inspection, archive)
                progress.update(step, description=f"{source.name}: uploading")
                upload = client.upload(archive)
            for declaration in inspection.declarations:
                given = {"namespace": declaration.namespace} | (options or {})
                answer = client.deploy(declaration.name, upload, **given)
                accepted.append((f"{answer['name']}.{answer['namespace']}", answer["version"]))
            names = ", ".join(d.name for d in inspection.declarations)
            progress.update(step, completed=1, description=f"{source.name}: uploaded ({names})")
        found, failures = [], []
        for name, version in accepted:
            try:
                found.append(_built(client, progress, name, version, wait))
            except BuildFailed as error:
                failures.append(error.message)
    if failures:
        raise BuildFailed("\n".join(failures))
    return found


def _built(client: Client, progress: Progress, name: str, version: str, wait: bool) -> FunctionStatus:
    step = progress.add_task(f"{name}: building", total=1)
    since_s = time.monotonic()
    while True:
        status = client.describe(name)
        if not wait:
            return status
        if status.version == version and status.state == "ready":
            progress.update(step, completed=1, description=f"{name}: [green]ready[/]")
            return status
        if status.next != version:
            if not status.error:
                return status  # another deploy came after this one
            progress.update(step, completed=1, description=f"{name}: [red]failed[/]")
            raise BuildFailed(f"{name}: {status.error}")
        if status.phase:
            progress.update(step, description=f"{name}: {_PHASES.get(status.phase, status.phase)}")
        waited_s = time.monotonic() - since_s
        if waited_s > BUILD_S:
            raise DeadlinePassed(f"{name} was not built within {BUILD_S:.0f} s; see `glowplug logs {name}`")
        time.sleep(pause_s(waited_s))


def pause_s(waited_s: float) -> float:
    """Until the server is asked again about a build that was waited for so long."""
    return min(_MOST_PAUSE_S, max(_LEAST_PAUSE_S, waited_s * _PAUSE_SHARE))
