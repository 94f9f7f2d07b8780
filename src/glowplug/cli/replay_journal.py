"""`glowplug replay` of a journal: its events are handled again."""

from __future__ import annotations

import sys
from pathlib import Path

from glowplug.cli.output import console, print_json
from glowplug.control.journal import ReplayReport
from glowplug.control.journal_files import replay as replay_journal
from glowplug.control.journal_files import segment_paths
from glowplug.core.errors import InvalidUpload
from glowplug.core.units import show_bytes

_MISMATCHES_SHOWN = 20


def journal_at(place: Path) -> Path:
    """Raises InvalidUpload where there is none."""
    if not segment_paths(place):
        raise InvalidUpload(
            f"no journal in {place}: give the folder that holds the journal-*.gpj files, or a workload such "
            "as zipf:functions=35"
        )
    return place


def journal(place: Path, json: bool) -> None:
    """Ends with an exit status of 1 when an event gave other commands."""
    report = replay_journal(place)
    if json:
        print_json(report)
    else:
        _tell(report)
    sys.exit(bool(report.mismatches))


def _tell(report: ReplayReport) -> None:
    console.print(
        f"{report.events:,} events in {report.segments} segments were handled again: "
        f"{report.commands:,} commands, "
        + (f"{len(report.mismatches)} events gave others" if report.mismatches else "all as they were"),
        highlight=False,
    )
    if report.torn_bytes:
        console.print(
            f"  {show_bytes(report.torn_bytes)} were cut off at the end: something was killed as it wrote"
        )
    if report.foreign:
        console.print(f"  left out: {report.foreign} segments that another version of Glowplug wrote")
    for each in report.mismatches[:_MISMATCHES_SHOWN]:
        console.print(f"  {each.segment}, event {each.number}: {each.event}", markup=False, highlight=False)
