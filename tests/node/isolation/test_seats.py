"""Seats where the host allows nothing: folders alone. What it allows is tried with whole nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glowplug.core.specs import Declaration, FunctionSpec
from glowplug.node.isolation import limits
from glowplug.node.isolation.means import Means
from glowplug.node.isolation.seats import Seats


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
