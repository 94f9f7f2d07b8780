"""The recorded hour that experiments play: where it is looked for, and where it comes from."""

from __future__ import annotations

import os
from pathlib import Path

_NAME = "azure2019_1h_1000fn"


def hour_path() -> str:
    """Its place in the folder that GLOWPLUG_TRACES names, else in `traces`, whether it is there or not."""
    return str(Path(os.environ.get("GLOWPLUG_TRACES") or "traces") / _NAME)


def no_hour(path: str, setting: str) -> str | None:
    """In words that there is none at `path`, which `setting` of the experiment says, and where it comes from;
    None where there is. Raises RuntimeError with them for another path than the usual one: somebody named it.
    """
    if Path(path).exists():
        return None
    words = (
        f"there is no recorded hour at {path}: give its folder with --set {setting}=FOLDER, or have "
        f"GLOWPLUG_TRACES name the one that {_NAME} lies in. It is an hour of 1,000 functions of the Azure "
        "Functions trace of 2019, which Microsoft publishes as Azure/AzurePublicDataset on GitHub"
    )
    if path != hour_path():
        raise RuntimeError(words)
    return words
