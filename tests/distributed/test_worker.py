"""Why a worker ended without a result is told, whatever it is."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from glowplug.core.errors import FunctionFailed, InvalidArguments
from glowplug.distributed.errors import ReplayImpossible
from glowplug.distributed.platform_line import Failure, SocketLine
from glowplug.distributed.start import Place, Start
from glowplug.distributed.worker import tell_failures


class NeverMade(InvalidArguments):
    code = "of_the_author\udcff" + 10**6 * "x"

    def __init__(self) -> None:
        pass


class Mute:
    def __str__(self) -> str:
        raise LookupError("no words")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (FunctionFailed("worker 0: no file \udcff"), "function_failed", "worker 0: no file \\udcff"),
        (FunctionFailed(10**6 * "x"), "function_failed", 2000 * "x"),
        (InvalidArguments(ValueError("x")), "invalid_arguments", "x"),  # type: ignore[arg-type]
        (InvalidArguments(Mute()), "function_failed", "InvalidArguments"),  # type: ignore[arg-type]
        (NeverMade(), "of_the_author\\udcff" + 86 * "x", ""),
        (ReplayImpossible("nobody has it"), "replay_impossible", "nobody has it"),
        (ValueError("\udcff"), "internal", "worker 3: ValueError: \\udcff"),
        (ValueError(Mute()), "internal", "worker 3: ValueError: <exception str() failed>"),
    ],
    ids=[
        "no text",
        "long",
        "an error for a message",
        "mute",
        "no message",
        "back to a line",
        "ours",
        "ours, mute",
    ],
)
def test_a_failure_arrives(error: Exception, code: str, message: str) -> None:
    def do() -> Any:
        raise error

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line, heard = SocketLine(ours), SocketLine(theirs)
    try:
        if code == "internal":
            with pytest.raises(type(error)):
                tell_failures(Start(orders="", place=Place("run", 3), deadline_s=1.0), line, do)
        else:
            assert tell_failures(Start(orders="", place=Place("run", 3), deadline_s=1.0), line, do) == 1
        assert heard.heard() == [Failure(code, message)]
    finally:
        ours.close()
        theirs.close()
