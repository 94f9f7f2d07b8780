"""Every strategy, from every kind of source, gives the plain answer, bit for bit, or an error that says
why.
"""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug import loader
from glowplug.loader.arena import Arena
from glowplug.loader.clock import RealClock
from glowplug.loader.devices import device
from glowplug.loader.devices.virtual import Profile, VirtualDevice
from glowplug.loader.errors import DeviceFailed
from glowplug.loader.fetching import Fetchers
from glowplug.loader.pipeline import Loading, begin
from glowplug.loader.sources.base import WeightSource
from glowplug.loader.sources.file import open_file
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.strategies import STRATEGIES, strategy
from tests.loader import nets

pytestmark = pytest.mark.torch

IDS = torch.arange(24).view(2, 12)
NETS: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "conv": (nets.ConvNet, (torch.linspace(-1, 1, 300).view(1, 3, 10, 10),)),
    "tied": (nets.TiedTransformer, (IDS,)),
    "reversed": (nets.Reversed, (torch.linspace(-1, 1, 12).view(3, 4),)),
    "wide": (nets.Wide, (torch.linspace(-1, 1, 512).view(1, 512),)),
    "recurrent": (nets.Recurrent, (torch.linspace(-1, 1, 24).view(2, 3, 4),)),
}
SOURCES: dict[str, Callable[[Path], WeightSource]] = {
    "file": open_file,
    "memory": lambda path: MemorySource(path.read_bytes(), path.name),
}


@pytest.fixture(scope="module", params=NETS)
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(build, inputs, pack, the plain answer)"""
    build, inputs = NETS[request.param]
    torch.manual_seed(1)
    model = nets.randomised(build())
    path = tmp_path_factory.mktemp("packs") / f"{request.param}.pack"
    loader.pack(model, inputs, path)
    with torch.inference_mode():
        return build, inputs, path, model(*inputs)


def start(source: WeightSource, name: str, build: Any = None, **more: Any) -> Loading:
    return begin(source, strategy(name), device=device("cpu"), build=build, fetchers=Fetchers(), **more)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_answer_is_the_plain_one(packed: Any, name: str, kind: str) -> None:
    build, inputs, path, expected = packed
    if name == "mapped" and kind != "file":
        pytest.skip("only files of a local disk are mapped")
    loading = start(SOURCES[kind](path), name, build)
    with torch.inference_mode():
        assert torch.equal(loading.model(*inputs), expected)
        loading.wait()
        assert torch.equal(loading.model(*inputs), expected)


@pytest.mark.parametrize("name", ["streamed", "cicada", "pisel", "mapped"])
def test_a_watched_load_records_every_stage(packed: Any, name: str) -> None:
    build, inputs, path, _ = packed
    loading = start(open_file(path), name, build, watched=True)
    with torch.inference_mode():
        loading.model(*inputs)
    timeline = loading.finish()
    stages = {one.stage for one in timeline.intervals}
    assert {"build", "fetch", "compute"} <= stages
    assert ("apply" in stages) == (name in ("cicada", "pisel"))
    assert all(0 <= one.start_s <= one.end_s <= timeline.end_s for one in timeline.intervals)
    assert 0 < timeline.utilisation_compute <= timeline.utilisation_union <= 1
    assert b'"traceEvents"' in timeline.perfetto()


@pytest.mark.parametrize("name", ["streamed", "cicada", "mapped"])
def test_safetensors_are_loaded_by_the_same_pipeline(packed: Any, name: str, tmp_path: Path) -> None:
    build, inputs, path, expected = packed
    from safetensors.torch import save_model

    save_model(loader.load(path), str(tmp_path / "plain.safetensors"))
    model = start(open_file(tmp_path / "plain.safetensors"), name, build).model
    if build is nets.Reversed:  # a plain tensor attribute is not in a state dict; build() makes it
        assert torch.equal(model.scale, torch.full((4,), 3.0))
    with torch.inference_mode():
        assert torch.allclose(model(*inputs), expected)


def test_torch_files_are_loaded_too(packed: Any, tmp_path: Path) -> None:
    build, inputs, path, expected = packed
    torch.save(loader.load(path).state_dict(), tmp_path / "plain.pt")
    model = loader.load(tmp_path / "plain.pt", build=build)
    with torch.inference_mode():
        assert torch.allclose(model(*inputs), expected)


def test_auto_maps_files_and_streams_the_rest() -> None:
    assert strategy("auto", mappable=True).name == "mapped"
    assert strategy("auto", mappable=False).name == "streamed"


def test_an_unmappable_source_cannot_be_mapped(packed: Any) -> None:
    with pytest.raises(ValueError, match="use strategy streamed"):
        start(MemorySource(packed[2].read_bytes(), "x.pack"), "mapped")


def test_strategies_that_build_say_that_they_need_to(packed: Any) -> None:
    with pytest.raises(ValueError, match="pisel builds the model itself: give the function"):
        start(open_file(packed[2]), "pisel")


def test_weights_alone_say_what_they_need(packed: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_model

    save_model(loader.load(packed[2]), str(tmp_path / "plain.safetensors"))
    torch.save({}, tmp_path / "plain.pt")
    with pytest.raises(ValueError, match=r"plain\.safetensors: it holds weights only.*as build="):
        loader.load(tmp_path / "plain.safetensors")
    with pytest.raises(loader.WeightsUnreadable, match=r"plain\.pt is no pack.*build="):
        loader.load(tmp_path / "plain.pt")


class Held:
    """A source whose reads beyond the head wait until they are let go; `asked` tells of each."""

    def __init__(self, inner: WeightSource, open_bytes: int = 0) -> None:
        self.inner, self.open_bytes = inner, open_bytes
        self.name, self.size, self.advice = inner.name, inner.size, inner.advice
        self.go, self.asked = threading.Event(), threading.Event()
        self.offsets: list[int] = []
        self.error: BaseException | None = None
        self.closed = threading.Event()

    def read_into(self, buffer: Any, offset: int, length: int) -> None:
        if offset >= self.open_bytes:
            self.offsets.append(offset)
            self.asked.set()
            assert self.go.wait(30)
            if self.error is not None:
                raise self.error
        self.inner.read_into(buffer, offset, length)

    def close(self) -> None:
        self.inner.close()
        self.closed.set()


@pytest.fixture
def wide(tmp_path: Path) -> Any:
    """(pack, its weights' offset, input, answer) of a net with many units."""
    torch.manual_seed(1)
    model, x = nets.Wide().eval(), NETS["wide"][1][0]
    loader.pack(model, x, tmp_path / "wide.pack")
    with loader.open_pack(tmp_path / "wide.pack") as pack, torch.inference_mode():
        assert len(pack.info.units) >= 4
        return tmp_path / "wide.pack", pack.info.weights_offset, x, model(x)


@pytest.mark.parametrize("name", ["streamed", "cicada"])
def test_the_object_is_there_before_its_weights(wide: Any, name: str) -> None:
    path, offset, x, expected = wide
    source = Held(open_file(path), offset)
    loading = start(source, name, nets.Wide)
    assert not loading.done
    assert source.asked.wait(30)
    source.go.set()
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)
    loading.wait()
    assert loading.done


def test_an_example_input_is_read_by_who_asks_for_it(tmp_path: Path) -> None:
    """It is an image, and longer than all that a load needs before its weights."""
    model, x = nets.ConvNet().eval(), torch.zeros(1, 3, 300, 300)
    info = loader.pack(model, x, tmp_path / "image.pack")
    assert info.prime is not None
    end = info.weights_offset
    read: dict[bool, int] = {}
    for primed in (False, True):
        source = Ranges((tmp_path / "image.pack").read_bytes(), "image.pack")
        loading = start(source, "streamed", primed=primed)
        loading.wait()
        read[primed] = sum(min(length, end - offset) for offset, length in source.ranges if offset < end)
        prime = loading.prime()
        assert (prime is not None) == primed
    assert read[False] < info.prime.nbytes < read[True]
    assert prime is not None
    prime.run(loading.model)


class Ranges(MemorySource):
    """Keeps what it was asked for."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data, name)
        self.ranges: list[tuple[int, int]] = []

    def read_into(self, buffer: Any, offset: int, length: int) -> None:
        self.ranges.append((offset, length))
        super().read_into(buffer, offset, length)


def test_a_stall_sends_what_is_awaited_ahead(wide: Any) -> None:
    path, offset, _, _ = wide
    source = Held(open_file(path), offset)
    loading = begin(source, strategy("streamed"), device=device("cpu"), fetchers=Fetchers(threads=1))
    assert source.asked.wait(30)
    last = loading.contents.header.units[-1]
    stalled = threading.Event()
    promote = loading._gates.on_stall

    def on_stall(unit: int) -> None:
        promote(unit)
        stalled.set()

    loading._gates.on_stall = on_stall
    layer = dict(loading.model.named_modules())[last.layers[0]]
    waiting = threading.Thread(target=lambda: layer.weight)
    waiting.start()
    assert stalled.wait(30)
    source.go.set()
    waiting.join(30)
    loading.wait()
    assert len(source.offsets) >= 3
    assert source.offsets[1] == max(source.offsets)


@pytest.mark.parametrize("name", ["streamed", "cicada", "pisel"])
def test_a_store_that_fails_is_named_to_who_waits(wide: Any, name: str) -> None:
    path, offset, x, _ = wide
    source = Held(open_file(path), offset)
    source.error = OSError("the link is cut")
    source.go.set()
    with pytest.raises(OSError, match="the link is cut"):
        start(source, name, nets.Wide).model(x)
    assert source.closed.wait(30)


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
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


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


def test_what_is_mapped_is_checked_for_who_asks(wide: Any) -> None:
    path, offset, x, expected = wide
    with torch.inference_mode():
        assert torch.equal(loader.load(path, strategy="mapped", verify=True)(x), expected)
    with loader.open_pack(path) as pack:
        unit = pack.info.units[2]
    with path.open("r+b") as file:
        file.seek(offset + unit.offset + 5)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(loader.PackCorrupt, match=r"wide\.pack: unit 2 "):
        loader.load(path, strategy="mapped", verify=True)(x)


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


def test_memory_is_recycled(wide: Any) -> None:
    path, _, x, expected = wide
    arena = Arena(64 * 2**20)
    for _ in range(2):
        loading = start(MemorySource(path.read_bytes(), "x.pack"), "streamed", arena=arena)
        with torch.inference_mode():
            assert torch.equal(loading.model(x), expected)
        loading.wait()
        del loading
        for _ in range(500):  # a thread may still be on its way out with a reference
            gc.collect()
            if arena.held_bytes:
                break
        assert arena.held_bytes > 0


@pytest.mark.parametrize("name", ["streamed", "mapped"])
def test_weights_reach_a_device_through_a_small_ring(wide: Any, name: str) -> None:
    path, _, x, expected = wide
    loading = begin(open_file(path), strategy(name), device=device("virtual"), fetchers=Fetchers())
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_first_pass_waits_for_copies_that_are_under_way(packed: Any, name: str) -> None:
    """Everything has been sent when the pass begins, and nothing has come."""
    build, inputs, path, expected = packed
    card = VirtualDevice(Profile(2**30, 2e7), RealClock())
    loading = begin(open_file(path), strategy(name), device=card, build=build, fetchers=Fetchers())
    for event in loading._gates._events:
        event.wait(30)
    with torch.inference_mode():
        assert torch.equal(loading.model(*inputs), expected)
    loading.wait()
    assert loading.done


def test_a_load_whose_copy_fails_says_so(wide: Any) -> None:
    path, _, x, _ = wide
    card = VirtualDevice(Profile(2**30, 1e9), RealClock())
    card.fail_copies(1000)
    loading = begin(open_file(path), strategy("mapped"), device=card, fetchers=Fetchers())
    with pytest.raises(DeviceFailed, match="failed to copy"):
        loading.model(x)
    with pytest.raises(DeviceFailed, match="failed to copy"):
        loading.wait()
    assert loading._landed.wait(30)
    assert card.free_bytes == card.capacity_bytes, "nothing of it stays reserved"


class Broken(VirtualDevice):
    """Has room by its books, and cannot give it."""

    def allocate(self, reservation: Any) -> memoryview:
        raise DeviceFailed("out of memory")


@pytest.mark.parametrize("name", ["streamed", "mapped"])
def test_a_load_that_cannot_begin_leaves_nothing_reserved(wide: Any, name: str) -> None:
    card = Broken(Profile(2**30, 1e9), RealClock())
    with pytest.raises(DeviceFailed, match="out of memory"):
        begin(open_file(wide[0]), strategy(name), device=card, fetchers=Fetchers())
    assert card.free_bytes == card.capacity_bytes


def test_a_promoted_load_goes_on(wide: Any) -> None:
    path, offset, x, expected = wide
    source = Held(open_file(path), offset)
    loading = start(source, "streamed", priority=loader.BACKGROUND)
    assert source.asked.wait(30)
    loading.promote(loader.INTERACTIVE)
    source.go.set()
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)


def test_weights_that_do_not_fit_the_build_are_listed(wide: Any) -> None:
    path, _, _, _ = wide
    with pytest.raises(loader.WeightsMismatch, match=r"layers\.0\.weight: unexpected"):
        start(open_file(path), "cicada", nets.ConvNet)
