"""Seats where the host allows nothing: folders alone. What it allows is tried with whole nodes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from glowplug.core.specs import Declaration, FunctionSpec
from glowplug.distributed.channels.shared_memory import SharedMemoryRoom
from glowplug.node.isolation import limits
from glowplug.node.isolation.means import Means
from glowplug.node.isolation.seats import Seat, Seats

FUNCTION = 1_700_000_000
"""A user of nobody else's."""


def seats_in(folder: Path) -> Seats:
    def now(call: Any, *arguments: Any) -> None:
        call(*arguments)

    return Seats(Means(), folder, 10**9, now, devices=1)


def test_a_bundle_is_copied_where_it_cannot_be_mounted(tmp_path: Path) -> None:
    bundle, scratch = tmp_path / "bundle", tmp_path / "scratch"
    (bundle / "code").mkdir(parents=True)
    (bundle / "code" / "app.py").write_text("answer = 42")
    scratch.mkdir()
    seats = seats_in(scratch)
    zygote, seat = seats.environment("e"), seats.waiting("e")
    assert seat.folder.parent == zygote.folder.parent
    assert seat.folder != seats.waiting("e").folder, "each has one of its own"
    declaration = Declaration(name="f", kind="model", module="m", qualname="M", memory_bytes=10**8)
    spec = FunctionSpec("f.default", "v", "default", "e", "u", declaration)  # type: ignore[arg-type]
    shown = seats.give(seat, spec, bundle, 0)
    assert (shown / "code" / "app.py").read_text() == "answer = 42"
    assert seat.file_bytes == limits.scratch_limit_bytes(10**8)
    seats.leave(seat)
    assert not seat.folder.exists()
    assert (bundle / "code" / "app.py").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give folders away")
def test_who_is_given_a_folder_cannot_have_another_file_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each change of an owner, the function puts a link in place of whatever it may replace then."""
    seat = Seat("k", "e", 1, FUNCTION, tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("ours")
    chown = os.chown

    def chown_after_the_function(path: Path, *owner: int, **how: bool) -> None:
        if path.parent.stat().st_uid == FUNCTION:
            path.rmdir()
            path.symlink_to(secret)
        chown(path, *owner, **how)

    monkeypatch.setattr(os, "chown", chown_after_the_function)
    folder = seat.new_folder("worker")
    room = SharedMemoryRoom(str(tmp_path))
    room.open("gang", 2)
    seat.hand_over(room.path, room.path.iterdir())
    assert secret.stat().st_uid == 0
    given = (folder, *folder.iterdir(), room.path, *room.path.iterdir())
    assert {path.lstat().st_uid for path in given} == {FUNCTION}
    assert not any(path.is_symlink() for path in given)
    room.close()
