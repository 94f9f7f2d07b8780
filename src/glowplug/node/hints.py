"""What an error of a user's code is likely about, where this is no usual place for a program."""

from __future__ import annotations

import errno
import socket

from glowplug.core.errors import in_words

_FILES = (
    "a function has the files that its source imports, those of weights= and include=, and nothing else: "
    "name it in include= and find it from __file__; it writes into its working folder alone"
)
_NETWORK = "a function has no network unless it says network=True"
_UNREACHED = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EAFNOSUPPORT)
_MOST_CAUSES = 20


def explained(error: BaseException, most_chars: int) -> str:
    """What a user's exception says, cut, and a hint."""
    why = hint(error)
    return in_words(error)[:most_chars] + (f"\n({why})" if why else "")


def hint(error: BaseException) -> str:
    """A sentence about why, or nothing. `error` may have been raised because of the one that tells."""
    found: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if found is None:
            return ""
        if isinstance(found, socket.gaierror) or (isinstance(found, OSError) and found.errno in _UNREACHED):
            return _NETWORK
        if isinstance(found, (FileNotFoundError, PermissionError)) and found.filename:
            return _FILES
        found = found.__cause__ or found.__context__
    return ""
