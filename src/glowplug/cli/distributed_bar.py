"""A bar of how far the workers of a run are."""

from __future__ import annotations

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from glowplug.cli.output import errors


class StepsBar:
    """Of the steps that all workers have reached; `unit` is what they are called."""

    def __init__(self, workers: int, steps: int, unit: str, *, is_shown: bool) -> None:
        self._reached = dict.fromkeys(range(workers), 0)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(),
            TextColumn("{task.completed}/{task.total} " + unit), TimeElapsedColumn(),
            console=errors, transient=True, disable=not is_shown,
        )  # fmt: skip
        self._task = self._bar.add_task(f"{workers} workers", total=steps)

    def __call__(self, worker: int, step: int) -> None:
        self._reached[worker] = step
        self._bar.update(self._task, completed=min(self._reached.values()))

    def __enter__(self) -> StepsBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
