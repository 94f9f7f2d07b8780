from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from glowplug.bench.kept_runs import KeptRuns, Row

made: list[int] = []


class Cell(msgspec.Struct, frozen=True):
    number: int


def square(cell: Cell) -> Row:
    made.append(cell.number)
    return {"square": cell.number**2}


def fail(cell: Cell) -> Row:
    raise ValueError(f"no {cell.number}")


def run(
    numbers: list[int],
    kept: Path | None = None,
    measure: Callable[[Cell], Row] = square,
    workers: int = 1,
    tell: Callable[[str], None] = lambda words: None,
) -> list[Row]:
    made.clear()
    runs = KeptRuns(measure, tell, workers=workers, kept=kept)
    try:
        return runs.rows("p", [Cell(number) for number in numbers])
    finally:
        runs.close()


def test_each_is_made_once_and_rows_come_in_the_order_asked_for() -> None:
    heard: list[str] = []
    rows = run([3, 1, 3], tell=heard.append)
    assert [row["square"] for row in rows] == [9, 1, 9]
    assert {row["part"] for row in rows} == {"p"}
    assert made == [3, 1]
    assert heard == ["p: 1 of 2 runs", "p: 2 of 2 runs"]


def test_what_is_kept_is_not_made_again(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    run([1, 2], kept)
    kept.write_bytes(kept.read_bytes() + b'["{\\"number\\":3}",{"squ')  # cut off while it was written
    assert [row["square"] for row in run([1, 2, 3], kept)] == [1, 4, 9]
    assert made == [3]


def test_what_fails_is_heard_of() -> None:
    with pytest.raises(ValueError, match="no 1"):
        run([1], measure=fail)


def test_side_by_side_in_processes(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    rows = run(list(range(6)), kept, workers=2)
    assert [row["square"] for row in rows] == [n**2 for n in range(6)]
    assert made == [], "elsewhere"
    assert run(list(range(6)), kept) == rows
    with pytest.raises(ValueError, match="no 7"):
        run([7], measure=fail, workers=2)


KILLED = """
import sys
from glowplug.bench.kept_runs import KeptRuns
from tests.bench.test_kept_runs import Cell, wait

if __name__ == "__main__":
    KeptRuns(wait, lambda words: None, workers=2).rows(sys.argv[1], [Cell(1), Cell(2)])
"""


def wait(cell: Cell) -> Row:
    os.write(1, f"{os.getpid()}\n".encode())  # at once: two of these share the pipe
    signal.pause()
    return {}


def test_who_is_killed_leaves_none_that_run(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, str(script), "p"], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    ) as process:
        assert process.stdout is not None
        try:
            handles = [os.pidfd_open(int(process.stdout.readline())) for _ in range(2)]
        finally:
            process.kill()
    for handle in handles:
        assert select.select([handle], [], [], 60)[0]
        os.close(handle)
