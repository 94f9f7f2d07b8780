"""`glowplug replay`: a journal's events, handled again, must give the same commands."""

from __future__ import annotations

import sys
from pathlib import Path

from glowplug.cli.functions import Json
from glowplug.cli.output import console, print_json
from glowplug.compose import default_state_dir
from glowplug.control.journal_files import replay as replay_journal
from glowplug.core.errors import InvalidUpload


def replay(folder: Path | None = None, *, json: Json = False) -> None:
    """Handle a journal's events again and compare the commands. Exit status 1 when one differs.

    Examples:

        glowplug replay
        glowplug replay /var/lib/glowplug/journal --json

    Parameters
    ----------
    folder
        The journal's folder. Default: that of `glowplug serve`.
    """
    place = folder or default_state_dir() / "journal"
    if not place.is_dir():
        raise InvalidUpload(f"no journal in {place}: give the folder that holds the journal-*.gpj files")
    report = replay_journal(place)
    if json:
        print_json(report)
    else:
        console.print(report)
    sys.exit(bool(report.mismatches))
