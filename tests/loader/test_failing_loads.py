"""A load that cannot end well says why to who waits, and leaves nothing behind."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import contextlib
import errno
import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug import loader
from glowplug.loader import background
from glowplug.loader.clock import RealClock
from glowplug.loader.devices import device
from glowplug.loader.devices.base import Reservation
from glowplug.loader.devices.virtual import Profile, VirtualDevice
from glowplug.loader.errors import DeviceFailed
from glowplug.loader.fetchers import Fetchers
from glowplug.loader.pipeline import begin
from glowplug.loader.sources.file import open_file
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.strategies import strategy
from tests.loader import nets
from tests.loader.loads import Held, start

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("name", ["streamed", "cicada", "pisel"])
def test_a_store_that_fails_is_named_to_who_waits(wide: Any, name: str) -> None:
    path, offset, x, _ = wide
    source = Held(open_file(path), offset)
    source.error = OSError("the link is cut")
    source.go.set()
    with pytest.raises(OSError, match="the link is cut"):
        start(source, name, nets.Wide).model(x)
    assert source.closed.wait(30)


@pytest.mark.parametrize("watched", [False, True])
def test_what_is_missing_when_the_timeline_is_taken_is_waited_for(wide: Any, watched: bool) -> None:
    path, offset, x, expected = wide
    source = Held(open_file(path), offset)
    loading = start(source, "streamed", watched=watched)
    loading.finish()
    assert not loading.done
    stalled, answers = threading.Event(), []
    loading._gates.on_stall = lambda unit: stalled.set()
    pass_ = threading.Thread(target=lambda: answers.append(loading.model(x)))
    pass_.start()
    assert stalled.wait(30)
    source.go.set()
    pass_.join(30)
    assert torch.equal(answers[0], expected)
    loading.wait()
    assert all(type(layer._parameters) is dict for layer in loading.model.layers)


def test_a_load_can_be_given_up(wide: Any) -> None:
    path, offset, x, _ = wide
    source = Held(open_file(path), offset)
    loading = start(source, "streamed")
    loading.stop()
    with pytest.raises(loader.LoadStopped, match=r"wide\.pack: the load was given up"):
        loading.model(x)
    source.go.set()


def test_a_load_that_failed_leaves_no_descriptor_and_no_thread(wide: Any) -> None:
    path, offset, _, _ = wide
    gc.collect()
    descriptors, fetchers = len(list(Path("/proc/self/fd").iterdir())), Fetchers()
    for _ in range(3):
        source = Held(open_file(path), offset)
        source.error = OSError("no")
        source.go.set()
        loading = begin(source, strategy("streamed"), device=device("cpu"), fetchers=fetchers)
        with pytest.raises(OSError, match="no"):
            loading.wait()
        assert source.closed.wait(30)
        del loading
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith(("fetch-", "apply")):
            thread.join(30)
    assert fetchers.threads == 0
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors


def test_threads_that_cannot_be_started_are_not_counted_on(
    wide: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, x, expected = wide
    fetchers, start_thread = Fetchers(), threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(RuntimeError, match="new thread"):
        begin(open_file(path), strategy("streamed"), device=device("cpu"), fetchers=fetchers)
    assert fetchers.threads == 0
    monkeypatch.setattr(threading.Thread, "start", start_thread)
    loading = begin(open_file(path), strategy("streamed"), device=device("cpu"), fetchers=fetchers)
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)


def test_a_load_is_promoted_where_it_can_be_read_or_stays_what_it_was(
    wide: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, offset, x, expected = wide
    source = Held(open_file(path), offset)
    loading = start(source, "streamed", priority=loader.BACKGROUND)
    assert source.asked.wait(30)
    start_thread = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(RuntimeError, match="new thread"):
        loading.promote(loader.INTERACTIVE)
    monkeypatch.setattr(threading.Thread, "start", start_thread)
    source.go.set()
    assert loading._delivery.landed.wait(30)
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)


def test_a_store_that_fails_while_an_object_is_rebuilt_is_not_taken_for_its_class(tmp_path: Path) -> None:
    info = loader.pack(nets.Doubled().eval(), torch.zeros(1, 512), tmp_path / "d.pack")
    source = Held(open_file(tmp_path / "d.pack"), info.weights_offset)
    source.error = loader.SourceUnavailable("the store is down")
    source.go.set()
    with pytest.raises(loader.SourceUnavailable, match=r"the store is down .*unit"):
        start(source, "streamed")


def test_a_build_that_fails_when_its_weights_are_there_gives_their_room_back(wide: Any) -> None:
    card = VirtualDevice(Profile(2**30, 1e9), RealClock())
    source = Held(open_file(wide[0]))
    source.go.set()

    def late() -> Any:
        assert source.closed.wait(30)
        return torch.nn.Linear(2, 2)

    with pytest.raises(loader.WeightsMismatch):
        begin(source, strategy("cicada"), device=card, build=late, fetchers=Fetchers())
    assert card.free_bytes == card.capacity_bytes


def test_what_loads_is_stopped_at_the_end_of_the_program_though_nobody_holds_it(wide: Any) -> None:
    path, offset, x, _ = wide
    source = Held(open_file(path), offset)
    before = set(background._loads)
    model = start(source, "streamed").model
    gc.collect()
    (load,) = set(background._loads) - before
    load.stop()
    with pytest.raises(loader.LoadStopped, match="given up"):
        model(x)
    source.go.set()
    assert source.closed.wait(30)


@pytest.mark.parametrize("name", ["streamed", "cicada"])
def test_damage_is_named_by_unit_tensor_and_offset(wide: Any, name: str) -> None:
    path, offset, x, _ = wide
    with loader.open_pack(path) as pack:
        unit = pack.info.units[2]
    content = bytearray(path.read_bytes())
    content[offset + unit.offset + 5] ^= 1
    loading = start(MemorySource(bytes(content), "bad.pack"), name, nets.Wide)
    with pytest.raises(
        loader.PackCorrupt, match=rf"bad\.pack: unit 2 \(layers: {unit.layers[0]}.*; tensors: .*bytes"
    ):
        loading.model(x)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.EIO, "Input/output error", "bad.pack"), OSError),
        (TimeoutError("the disk sleeps"), TimeoutError),
        (loader.PackTruncated("bad.pack ends early"), loader.PackTruncated),
        (loader.SourceUnavailable("bad.pack: no"), loader.SourceUnavailable),
    ],
)
@pytest.mark.parametrize("name", ["streamed", "cicada"])
def test_what_cannot_be_read_is_named_by_unit_tensor_and_offset(
    wide: Any, name: str, error: Exception, kind: type[Exception]
) -> None:
    path, offset, x, _ = wide
    source = Held(open_file(path), offset)
    source.error = error
    source.go.set()
    loading = start(source, name, nets.Wide)
    with pytest.raises(
        kind, match=r"unit \d \(layers: layers\.\d.*; tensors: layers\..*\), bytes \d+ to \d+"
    ):
        loading.wait()
    with pytest.raises(kind, match="layers") as caught:
        loading.model(x)
    assert getattr(caught.value, "errno", None) == getattr(error, "errno", None)
    assert source.closed.wait(30)


def test_a_file_that_shrinks_is_named_by_unit_and_tensor(wide: Any) -> None:
    path, offset, _, _ = wide
    source = Held(open_file(path), offset)
    loading = start(source, "streamed")
    os.truncate(path, offset + 100)
    source.go.set()
    with pytest.raises(loader.PackTruncated, match=r"unit \d \(layers: .*tensors: layers\..*, bytes \d+ to"):
        loading.wait()


def test_what_is_mapped_is_checked_for_who_asks(wide: Any) -> None:
    path, offset, x, expected = wide
    with torch.inference_mode():
        assert torch.equal(loader.load(path, strategy="mapped", verify=True)(x), expected)
    with loader.open_pack(path) as pack:
        unit = pack.info.units[2]
    damage(path, offset + unit.offset + 5)
    with pytest.raises(loader.PackCorrupt, match=r"wide\.pack: unit 2 "):
        loader.load(path, strategy="mapped", verify=True)(x)


@pytest.mark.parametrize("name", ["streamed", "cicada", "pisel", "mapped"])
def test_nothing_is_checked_for_who_says_so(wide: Any, name: str) -> None:
    path, offset, x, expected = wide
    with loader.open_pack(path) as pack:
        unit = pack.info.units[2]
    damage(path, offset + unit.offset + 1)
    with torch.inference_mode():
        answer = loader.load(path, strategy=name, build=nets.Wide, verify=False)(x)
    assert answer.shape == expected.shape
    assert not torch.equal(answer, expected)


def damage(path: Path, at: int) -> None:
    """One bit of the file is another from now on, in pages that are mapped already too."""
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 64]))


def test_damage_on_the_way_is_fetched_again(wide: Any) -> None:
    path, offset, x, expected = wide

    class Flips(MemorySource):
        flipped = False

        def read_into(self, buffer: Any, at: int, length: int) -> None:
            super().read_into(buffer, at, length)
            if at >= offset and not self.flipped:
                self.flipped = True
                memoryview(buffer)[3] ^= 255

    loading = start(Flips(path.read_bytes(), "x.pack"), "streamed")
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)


def test_a_load_whose_copy_fails_says_so(wide: Any) -> None:
    path, _, x, _ = wide
    card = VirtualDevice(Profile(2**30, 1e9), RealClock())
    card.fail_copies(1000)
    loading = begin(open_file(path), strategy("mapped"), device=card, fetchers=Fetchers())
    with pytest.raises(DeviceFailed, match="failed to copy"):
        loading.model(x)
    with pytest.raises(DeviceFailed, match="failed to copy"):
        loading.wait()
    assert loading._delivery.landed.wait(30)
    assert not loading.done
    with pytest.raises(DeviceFailed, match="failed to copy"):
        loading.model(x)
    assert card.free_bytes == card.capacity_bytes, "nothing of it stays reserved"


class Broken(VirtualDevice):
    """Counts room, and has none when it comes to it: another program took the memory."""

    def allocate(self, reservation: Reservation) -> Any:
        raise DeviceFailed("out of memory")


@pytest.mark.parametrize("name", ["streamed", "mapped"])
def test_a_load_that_cannot_begin_gives_its_room_back(wide: Any, name: str) -> None:
    card = Broken(Profile(2**30, 1e9), RealClock())
    with pytest.raises(DeviceFailed, match="out of memory"):
        begin(open_file(wide[0]), strategy(name), device=card, fetchers=Fetchers())
    assert card.free_bytes == card.capacity_bytes


@pytest.mark.parametrize("on", ["cpu", "virtual"])
@pytest.mark.parametrize("name", ["streamed", "cicada"])
@pytest.mark.parametrize(
    "values", [{"weight": 0}, {"weight": -1.0}, {"weight": None}, {"in_flight_bytes": None}]
)
def test_a_load_that_is_asked_for_wrongly_leaves_nothing(
    wide: Any, name: str, on: str, values: dict[str, Any]
) -> None:
    card = VirtualDevice(Profile(2**30, 1e9), RealClock())
    source = Held(open_file(wide[0]), 2**40)
    with pytest.raises((ValueError, TypeError)):
        begin(
            source,
            strategy(name),
            device=device("cpu") if on == "cpu" else card,
            fetchers=Fetchers(),
            **values,
        )
    assert source.closed.is_set()
    assert card.free_bytes == card.capacity_bytes


WRONG = [
    ({"weight": 0}, "must be above zero"),
    ({"strategy": "best"}, "no strategy is called 'best'"),
    ({"device": "abacus"}, "no device is called 'abacus'"),
    ({"device": torch.device("meta")}, "no device is called 'meta'"),
    ({"device": None}, "no device is called 'None'"),
    ({"priority": 7}, r"priority=7 is none; there are loader\.BACKGROUND"),
    ({"priority": "interactive"}, "priority='interactive' is none"),
    ({"priority": None}, "priority=None is none"),
    ({"weight": float("nan")}, "weight=nan: a load's weight must be above zero"),
    ({"weight": float("inf")}, "weight=inf: a load's weight must be above zero"),
    ({"weight": 10**400}, "weight=1000.*: a load's weight must be above zero"),
    ({"weight": "1"}, "weight='1': a load's weight must be above zero"),
    ({"in_flight_bytes": -1}, "in_flight_bytes=-1 must be a whole number"),
    ({"in_flight_bytes": 1e6}, "in_flight_bytes=1000000.0 must be a whole number"),
    ({"only": "torch"}, r"only='torch' is no list of names: write only=\('my\.package',\)"),
    ({"only": (torch,)}, "is no list of names"),
    ({"only": 1}, "only=1 is no list of names"),
    ({"bogus": 1}, "bogus= is no option for"),
]


@pytest.mark.parametrize(
    ("values", "said"), [*WRONG, ({"strategy": "streamed", "primed": True, "only": ()}, "without only=")]
)
def test_what_there_is_none_of_is_said_and_no_file_stays_open(
    wide: Any, values: dict[str, Any], said: str
) -> None:
    """A source that nobody closed lives on in its error."""
    with pytest.raises(ValueError, match=said) as caught:
        loader.start_load(wide[0], **values)
    assert not packs_open(), caught


@pytest.mark.parametrize(("values", "said"), WRONG)
def test_it_is_said_of_a_file_of_torch_before_1_6_too(
    tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    state = torch.nn.Linear(2, 2).state_dict()
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=said):
        loader.load(tmp_path / "old.pt", build=lambda: torch.nn.Linear(2, 2), **values)


@pytest.mark.parametrize("name", ["wide.pack", "net.pt", "old.pt"])
def test_a_build_that_makes_no_module_is_named(wide: Any, tmp_path: Path, name: str) -> None:
    state = torch.nn.Linear(2, 2).state_dict()
    for other in ("net.pt", "old.pt"):
        torch.save(state, tmp_path / other, _use_new_zipfile_serialization=other != "old.pt")
    with pytest.raises(ValueError, match=r"build=dict returned a dict, and no torch\.nn\.Module"):
        loader.load(tmp_path / name, strategy="pisel", build=dict)


def test_a_device_may_be_torchs_own(wide: Any) -> None:
    path, _, x, expected = wide
    for name in ("cpu", "cpu:0"):
        loading = loader.start_load(path, torch.device(name))
        loading.wait()
        with torch.inference_mode():
            assert torch.equal(loading.model(x), expected)


def test_a_load_is_promoted_to_classes_that_are_there(wide: Any) -> None:
    path, offset, x, expected = wide
    held = Held(open_file(path), offset)
    loading = start(held, "streamed", priority=0)
    with pytest.raises(ValueError, match="priority=9 is none"):
        loading.promote(9)  # type: ignore[arg-type]
    held.go.set()
    loading.wait()
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pipe.pack"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    ways: list[Callable[[], Any]] = [
        lambda: loader.load(path), lambda: loader.load(f"file://{path}"), lambda: loader.open_pack(path),
        lambda: loader.load(path, direct=True),
    ]  # fmt: skip
    for way in ways:
        with pytest.raises(loader.WeightsUnreadable, match=r"pipe\.pack is no regular file") as caught:
            way()
        assert str(path) not in packs_open(), caught


def packs_open() -> list[str]:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(fd.readlink()))
    return [name for name in found if name.endswith(".pack")]
