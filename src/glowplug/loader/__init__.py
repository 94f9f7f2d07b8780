"""Packing torch models into one file, and having them back in milliseconds.

A library of its own: it knows nothing of servers. Importing it does not import torch.

    import glowplug.loader as loader
    loader.pack(model, example_input, "model.pack")
    model = loader.load("model.pack")  # ready before its weights are: the first pass overlaps them

No submodule may have the name of something exported here: importing it would hide that.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    BACKGROUND: Priority
    BATCH: Priority
    INTERACTIVE: Priority
    from glowplug.loader.api import load, pack, start_load
    from glowplug.loader.arbiter import Priority
    from glowplug.loader.arena import Arena
    from glowplug.loader.construct import without_init
    from glowplug.loader.errors import (
        DeviceFailed,
        DeviceFull,
        LoaderError,
        LoadStopped,
        NotPicklable,
        NotRebuildable,
        PackCorrupt,
        PackTruncated,
        RangeRefused,
        ReadDeadline,
        SourceChanged,
        SourceError,
        SourceMissing,
        SourceRefused,
        SourceUnavailable,
        WeightsMismatch,
        WeightsUnreadable,
    )  # fmt: skip
    from glowplug.loader.info import PackInfo
    from glowplug.loader.pagecache import evict_page_cache, page_cache_bytes
    from glowplug.loader.pipeline import Loading
    from glowplug.loader.prime import Prime
    from glowplug.loader.reader import MappedPack, open_pack
    from glowplug.loader.sources.retrying import Retry
    from glowplug.loader.tracing import Trace, trace
    from glowplug.loader.weights import assign, read_state_dict
    from glowplug.loader.writer import write_pack

_HOMES = {
    "api": ("load", "pack", "start_load"),
    "arbiter": ("Priority",),
    "arena": ("Arena",),
    "construct": ("without_init",),
    "errors": (
        "DeviceFailed", "DeviceFull", "LoadStopped", "LoaderError",
        "NotPicklable", "NotRebuildable", "PackCorrupt", "PackTruncated", "RangeRefused", "ReadDeadline",
        "SourceChanged", "SourceError", "SourceMissing", "SourceRefused", "SourceUnavailable",
        "WeightsMismatch", "WeightsUnreadable",
    ),
    "info": ("PackInfo",),
    "pagecache": ("evict_page_cache", "page_cache_bytes"),
    "pipeline": ("Loading",),
    "prime": ("Prime",),
    "reader": ("MappedPack", "open_pack"),
    "sources.retrying": ("Retry",),
    "tracing": ("Trace", "trace"),
    "weights": ("assign", "read_state_dict"),
    "writer": ("write_pack",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BACKGROUND", "BATCH", "INTERACTIVE", "Arena", "DeviceFailed", "DeviceFull", "LoadStopped",
    "LoaderError", "Loading", "MappedPack", "NotPicklable", "NotRebuildable", "PackCorrupt", "PackInfo",
    "PackTruncated", "Prime", "Priority", "RangeRefused", "ReadDeadline", "Retry", "SourceChanged",
    "SourceError", "SourceMissing", "SourceRefused", "SourceUnavailable", "Trace", "WeightsMismatch",
    "WeightsUnreadable", "assign", "evict_page_cache", "load", "open_pack", "pack", "page_cache_bytes",
    "read_state_dict", "start_load", "trace", "without_init", "write_pack",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("BACKGROUND", "BATCH", "INTERACTIVE"):
        return import_module(f"{__name__}.arbiter").Priority[name]
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
