"""What can go wrong with packs and weights. Every message names the file, the part of it, and what to do.

LoaderError
|- PackCorrupt         the file is not a pack, of another format version, or its bytes are damaged
|  |- PackTruncated    shorter than it says
|- NotRebuildable      the pack is sound, but a class it needs cannot be imported in this process
|- WeightsUnreadable   a weights file that cannot be read, or that no reader may trust
|- WeightsMismatch     a readable weights file that does not fit the module
|- NotPicklable        an object graph that cannot be packed
|- DeviceFull          a reservation that does not fit
|- DeviceFailed        a device that did not do what it was asked to
|- SourceError         bytes that could not be had from where they lie
|  |- SourceUnavailable  the store, or the way to it, failed; trying again may help
|  |- ReadDeadline       the bytes did not come in time
|  |- SourceRefused      the store does not let this caller have it (401, 403)
|  |- SourceMissing      there is nothing of that name (404)
|  |- SourceChanged      it is not the file any more that was opened: its ETag, date or size differs
|  |- RangeRefused       no such range (416), or a server that cannot give parts
|- LoadStopped         the load was given up before its weights were there
"""

from __future__ import annotations


class LoaderError(Exception):
    """Root of the tree."""


class PackCorrupt(LoaderError):
    pass


class PackTruncated(PackCorrupt):
    pass


class NotRebuildable(LoaderError):
    pass


class WeightsUnreadable(LoaderError):
    pass


class WeightsMismatch(LoaderError):
    """`problems` has one line per tensor that is missing, unexpected, or of another shape or dtype."""

    def __init__(self, path: str, problems: list[str]) -> None:
        listed = "\n".join(f"  {line}" for line in problems)
        count = "1 tensor does" if len(problems) == 1 else f"{len(problems)} tensors do"
        super().__init__(f"{path}: {count} not fit the module:\n{listed}")
        self.path = path
        self.problems = problems


class NotPicklable(LoaderError):
    """`fact` is the message without what whoever packs could do about it."""

    def __init__(self, fact: str, remedy: str = "") -> None:
        super().__init__(fact + remedy)
        self.fact = fact


class DeviceFull(LoaderError):
    pass


class DeviceFailed(LoaderError):
    pass


class LoadStopped(LoaderError):
    pass


class SourceError(LoaderError):
    """`done_bytes` at the buffer's beginning arrived all the same, and need not be read again."""

    def __init__(self, message: str, *, done_bytes: int = 0) -> None:
        super().__init__(message)
        self.done_bytes = done_bytes


class SourceUnavailable(SourceError):
    """`retry_after_s` is what the store asked to wait, 0 where it did not."""

    def __init__(self, message: str, *, done_bytes: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(message, done_bytes=done_bytes)
        self.retry_after_s = retry_after_s


class ReadDeadline(SourceError):
    pass


class SourceRefused(SourceError):
    pass


class SourceMissing(SourceError):
    pass


class SourceChanged(SourceError):
    pass


class RangeRefused(SourceError):
    pass
