"""Errors that are likely about what a function has not."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from glowplug.core.errors import NoSpace
from glowplug.node.hints import hint
from glowplug.node.roles import failure


def raised(error: BaseException, because: BaseException | None = None) -> BaseException:
    try:
        raise error from because
    except BaseException as found:
        return found


def test_a_file_that_did_not_travel_is_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as found:
        (tmp_path / "tokenizer.json").read_text()
    failed = failure(found.value)
    assert failed.code == "function_failed"
    assert failed.message.startswith("FileNotFoundError: [Errno 2] No such file or directory")
    assert "include=" in failed.message


def test_a_library_that_hides_why_it_found_no_network_is_explained() -> None:
    deep = raised(
        OSError("no such model"), raised(ValueError("retries"), socket.gaierror(-2, "Name unknown"))
    )
    assert "network=True" in hint(deep)
    assert "network=True" in hint(OSError(errno.ENETUNREACH, "Network is unreachable"))


def test_others_speak_for_themselves() -> None:
    for error in (LookupError("no"), OSError(errno.EIO, "Input/output error"), FileNotFoundError("a word")):
        assert hint(error) == ""
    assert failure(NoSpace("the shelf is full")).message == "the shelf is full"
    loop = ValueError("mine")
    loop.__cause__ = LookupError("yours")
    loop.__cause__.__context__ = loop
    assert hint(loop) == ""
