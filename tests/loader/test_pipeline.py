"""Every strategy, from every kind of source, gives the plain answer, bit for bit, or an error that says
why.
"""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug import loader
from glowplug.loader.arena import Arena
from glowplug.loader.clock import RealClock
from glowplug.loader.devices import device
from glowplug.loader.devices.virtual import Profile, VirtualDevice
from glowplug.loader.fetchers import Fetchers
from glowplug.loader.pipeline import begin
from glowplug.loader.sources import WeightSource, open_source
from glowplug.loader.sources.base import Advice
from glowplug.loader.sources.file import open_file
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.strategies import STRATEGIES, strategy
from tests.loader import nets
from tests.loader.loads import start
from tests.loader.sources.buckets import bucket_served
from tests.loader.sources.server import serving

pytestmark = pytest.mark.torch

IDS = torch.arange(24).view(2, 12)
NETS: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "conv": (nets.ConvNet, (torch.linspace(-1, 1, 300).view(1, 3, 10, 10),)),
    "tied": (nets.TiedTransformer, (IDS,)),
    "reversed": (nets.Reversed, (torch.linspace(-1, 1, 12).view(3, 4),)),
    "wide": (nets.Wide, (torch.linspace(-1, 1, 512).view(1, 512),)),
    "recurrent": (nets.Recurrent, (torch.linspace(-1, 1, 24).view(2, 3, 4),)),
}


class Store(NamedTuple):
    """Where packs lie: `put` says at which address one lies from then on, `options` open it."""

    kind: str
    put: Callable[[Path], str]
    options: dict[str, Any]

    def open(self, path: Path) -> WeightSource:
        if self.kind == "memory":
            return MemorySource(path.read_bytes(), path.name)
        return open_source(self.put(path), **self.options)


REMOTE = ("http", pytest.param("s3", marks=pytest.mark.broker))


@pytest.fixture(scope="module", params=["file", "memory", *REMOTE])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "http":
        with serving(b"") as server:

            def put(path: Path) -> str:
                server.content = path.read_bytes()
                return server.url

            yield Store("http", put, {})
    elif request.param == "s3":
        with bucket_served() as options:
            import obstore.store

            bucket = obstore.store.from_url("s3://bucket", **options)

            def upload(path: Path) -> str:
                obstore.put(bucket, path.name, path.read_bytes())
                return f"s3://bucket/{path.name}"

            yield Store("s3", upload, options)
    else:
        yield Store(request.param, str, {})


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


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_answer_is_the_plain_one(packed: Any, name: str, store: Store) -> None:
    build, inputs, path, expected = packed
    if name == "mapped" and store.kind != "file":
        pytest.skip("only files of a local disk are mapped")
    loading = start(store.open(path), name, build)
    with torch.inference_mode():
        assert torch.equal(loading.model(*inputs), expected)
        loading.wait()
        assert torch.equal(loading.model(*inputs), expected)


@pytest.mark.parametrize("store", REMOTE, indirect=True)
@pytest.mark.parametrize("name", ["auto", *(name for name in STRATEGIES if name != "mapped")])
def test_an_address_is_all_that_a_load_needs(wide: Any, name: str, store: Store) -> None:
    path, _, x, expected = wide
    model = loader.load(
        store.put(path),
        strategy=name,
        priority=loader.INTERACTIVE,
        retry=loader.Retry(attempts=2),
        **store.options,
    )
    with torch.inference_mode():
        assert torch.equal(model(x), expected)


@pytest.mark.parametrize("name", ["auto", "cicada", "pisel"])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_plain_files_are_loaded_from_every_store(wide: Any, name: str, suffix: str, store: Store) -> None:
    from safetensors.torch import save_model

    path, _, x, expected = wide
    plain, model = path.with_suffix(f".{suffix}"), loader.load(path)
    if suffix == "pt":
        torch.save(model.state_dict(), plain)
    else:
        save_model(model, str(plain))
    source = store.open(plain)
    with torch.inference_mode():
        loaded = start(source, strategy(name, mappable=source.advice.mappable).name, nets.Wide).model
        assert torch.equal(loaded(x), expected)


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
        assert torch.equal(model(*inputs), expected)


def test_auto_maps_files_and_streams_the_rest() -> None:
    assert strategy("auto", mappable=True).name == "mapped"
    assert strategy("auto", mappable=False).name == "streamed"


def test_an_unmappable_source_cannot_be_mapped(packed: Any) -> None:
    with pytest.raises(ValueError, match="use strategy streamed"):
        start(MemorySource(packed[2].read_bytes(), "x.pack"), "mapped")


@pytest.mark.parametrize("on", ["cpu", "virtual"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_pack_is_its_own_builder(packed: Any, name: str, on: str) -> None:
    _, inputs, path, expected = packed
    model = loader.load(path, on, name, priority=loader.INTERACTIVE)
    with torch.inference_mode():
        assert torch.equal(model(*inputs), expected)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("net", [nets.Views, nets.Aliased, nets.Remade])
def test_what_else_holds_a_weight_has_it_when_the_skeleton_builds(
    net: Any, name: str, tmp_path: Path
) -> None:
    """Some of it is made where the skeleton is unpickled, which is before some strategies fetch."""
    width = {nets.Views: 4, nets.Aliased: 8, nets.Remade: 512}[net]
    model, x = net().eval(), torch.linspace(-1, 1, width).view(1, width)
    loader.pack(model, x, tmp_path / "net.pack")
    loading = start(open_file(tmp_path / "net.pack"), name)
    with torch.inference_mode():
        assert torch.equal(loading.model(x), model(x))


@pytest.mark.parametrize(("name", "begun"), [("cicada", True), ("pisel", False), ("traditional", False)])
def test_a_strategy_fetches_when_it_would_have(wide: Any, name: str, begun: bool) -> None:
    """Its build stage is the skeleton's; what is fetched behind the build is not fetched beside it."""
    path, _, x, _ = wide
    loading = start(open_file(path), name, watched=True)
    with torch.inference_mode():
        loading.model(x)
    stages = loading.finish().intervals
    built = next(one for one in stages if one.stage == "build")
    weights = [one for one in stages if one.stage == "fetch" and one.unit >= 0]
    assert not [one for one in stages if one.stage == "apply"]
    assert begun or min(one.start_s for one in weights) >= built.end_s
    if name == "traditional":
        assert loading.done


def test_weights_alone_say_what_they_need(packed: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_model

    save_model(loader.load(packed[2]), str(tmp_path / "plain.safetensors"))
    torch.save(loader.load(packed[2]).state_dict(), tmp_path / "plain.pt")
    with pytest.raises(ValueError, match=r"plain\.safetensors: it holds weights only.*as build="):
        loader.load(tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match=r"plain\.pt: it holds weights only.*as build="):
        loader.load(tmp_path / "plain.pt")


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


def test_memory_is_recycled(wide: Any) -> None:
    path, _, x, expected = wide
    arena = Arena(64 * 2**20)
    for _ in range(2):
        loading = start(MemorySource(path.read_bytes(), "x.pack"), "streamed", arena=arena)
        with torch.inference_mode():
            assert torch.equal(loading.model(x), expected)
        loading.wait()
        del loading
        until_s = time.monotonic() + 60
        while not arena.held_bytes:  # a thread may still be on its way out with a reference
            assert time.monotonic() < until_s, "its memory did not come back"
            gc.collect()


@pytest.mark.parametrize("name", ["streamed", "mapped"])
def test_weights_reach_a_device_through_a_small_ring(wide: Any, name: str) -> None:
    path, _, x, expected = wide
    loading = begin(open_file(path), strategy(name), device=device("virtual"), fetchers=Fetchers())
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)


class Crowd(MemorySource):
    """Its reads of weights end when `expected` of them are under way; keeps how many there were at most."""

    advice = Advice(parallel=8, read_bytes=2**22)

    def __init__(self, data: bytes, weights_offset: int, expected: int) -> None:
        super().__init__(data, "x.pack")
        self.weights_offset, self.expected = weights_offset, expected
        self.now = self.most = 0
        self.changed = threading.Condition()

    def read_into(self, buffer: Any, offset: int, length: int) -> None:
        if offset >= self.weights_offset:
            with self.changed:
                self.now += 1
                self.most = max(self.most, self.now)
                self.changed.notify_all()
                assert self.changed.wait_for(lambda: self.most >= self.expected, 30)
        super().read_into(buffer, offset, length)
        with self.changed:
            self.now -= offset >= self.weights_offset


@pytest.mark.parametrize("on", ["cpu", "virtual"])
@pytest.mark.parametrize(("allowed", "awaited", "most"), [(64 * 2**20, 3, 8), (12 * 2**20, 2, 2), (0, 1, 1)])
def test_no_more_is_under_way_than_was_allowed(
    wide: Any, on: str, allowed: int, awaited: int, most: int
) -> None:
    path, offset, x, expected = wide
    source = Crowd(path.read_bytes(), offset, awaited)
    loading = begin(
        source, strategy("streamed"), device=device(on), fetchers=Fetchers(), in_flight_bytes=allowed
    )
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)
    loading.wait()
    assert awaited <= source.most <= most
    assert 0 < loading.in_flight_bytes <= max(allowed, 2**22)


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


def test_weights_that_do_not_fit_the_build_are_listed(wide: Any) -> None:
    path, _, _, _ = wide
    with pytest.raises(
        loader.WeightsMismatch,
        match=r"layers\.0\.weight: unexpected; the file has float32\[.*\] \(unit 0, bytes 0 to 1048576 of",
    ):
        start(open_file(path), "cicada", nets.ConvNet)
