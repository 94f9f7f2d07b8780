"""Explains requests in a process of its own: a journal takes seconds to go through, and the server has
none."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from glowplug.control.explaining.explain import explain
from glowplug.control.journal_files import segment_paths
from glowplug.core.errors import Unavailable, UnknownRequest
from glowplug.core.explanation import Explanation
from glowplug.core.ids import RequestId

_TAKES_S = 120.0
_NICE = 10
_COMMAND = "from glowplug.server.explaining import main; main()"
_decoder: msgspec.json.Decoder[Explanation | None] = msgspec.json.Decoder(Explanation | None)


def explain_from(folder: Path, request: RequestId) -> Explanation:
    """What the journal in `folder` tells of a request. Raises UnknownRequest, Unavailable, OSError."""
    return _known(explain([path.read_bytes() for path in segment_paths(folder)], request), request)


def main() -> None:
    """The process: `python -c COMMAND FOLDER REQUEST`; prints JSON, `null` for what the journal does not
    know."""
    os.nice(_NICE)
    folder, request = Path(sys.argv[1]), RequestId(int(sys.argv[2]))
    found = explain([path.read_bytes() for path in segment_paths(folder)], request)
    sys.stdout.buffer.write(msgspec.json.encode(found))


class Explainer:
    """Of the journal in `folder`; None keeps none. One explanation is made at a time."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._turn = asyncio.Lock()

    async def explain(self, request: RequestId) -> Explanation:
        """Of what the journal's files hold by now. Raises UnknownRequest, Unavailable."""
        if self._folder is None:
            raise Unavailable("the server keeps no journal (--no-journal): nothing can be explained")
        async with self._turn:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-c", _COMMAND, str(self._folder), str(request),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                said, complaint = await asyncio.wait_for(process.communicate(), _TAKES_S)
            except TimeoutError:
                raise Unavailable(f"the journal could not be gone through in {_TAKES_S:.0f} s") from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        try:
            found = _decoder.decode(said)
        except msgspec.DecodeError:
            last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
            raise Unavailable(f"the journal cannot be read: {last[:500]}") from None
        return _known(found, request)


def _known(found: Explanation | None, request: RequestId) -> Explanation:
    if found is None:
        raise UnknownRequest(
            f"the journal does not know request {request}: it is older than what is kept, or a gateway "
            "sent it to a worker under a lease, without a decision"
        )
    return found
