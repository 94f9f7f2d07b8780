"""A budget for memory beside what the machine has."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from glowplug.cli.budget import beyond_the_machine
from glowplug.core.errors import InvalidArguments

GB = 10**9


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The files of one with 8.192 GB, half of which is in use."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n")
    return tmp_path


def test_what_there_is_may_be_asked_for(machine: Path) -> None:
    with capture_logs() as logged:
        for gives_way in (True, False):
            assert beyond_the_machine(8_192_000_000, gives_way, machine) == ""
    assert not logged


def test_more_than_that_is_told_where_it_gives_way(machine: Path) -> None:
    with capture_logs() as logged:
        assert "more than the 8.2 GB" in beyond_the_machine(100_000 * GB, True, machine)
    assert [(line["log_level"], line["budget"], line["there_is"]) for line in logged] == [
        ("warning", "100.0 TB", "8.2 GB")
    ]


def test_and_refused_where_it_does_not(machine: Path) -> None:
    with pytest.raises(InvalidArguments, match=r"--memory: 9.0 GB is more than the 8.2 GB .* --no-give-way"):
        beyond_the_machine(9 * GB, False, machine)


def test_a_machine_that_does_not_say_is_believed(tmp_path: Path) -> None:
    assert beyond_the_machine(100_000 * GB, False, tmp_path) == ""
