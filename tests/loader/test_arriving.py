"""A pack that is mapped while somebody else still writes its weights."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug import loader
from glowplug.loader.arriving import announce, announce_failure
from glowplug.loader.clock import RealClock
from glowplug.loader.devices import device as device_called
from glowplug.loader.devices.virtual import Profile, VirtualCopy, VirtualDevice
from tests.loader import nets

pytestmark = pytest.mark.torch

X = torch.linspace(-1, 1, 512).view(1, 512)


class Writer:
    """Copies a pack's units one by one into an unfinished file, and tells of each."""

    def __init__(self, whole: Path, unfinished: Path) -> None:
        with loader.open_pack(whole) as pack:
            self.info = pack.info
        self.content = whole.read_bytes()
        self.path = unfinished
        start, end = self.info.weights_offset, self.info.weights_offset + self.info.weights_nbytes
        unfinished.write_bytes(self.content[:start] + bytes(end - start) + self.content[end:])
        self.reader, self.writer = os.pipe()

    def write(self, *units: int) -> None:
        with self.path.open("r+b") as file:
            for unit in units:
                start = self.info.weights_offset + self.info.units[unit].offset
                file.seek(start)
                file.write(self.content[start : start + self.info.units[unit].nbytes])
        announce(self.writer, list(units))

    def close(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    torch.manual_seed(1)
    loader.pack(nets.Wide().eval(), X, tmp_path / "whole.pack")
    found = Writer(tmp_path / "whole.pack", tmp_path / "unfinished")
    yield found
    found.close()


def answer(model: Any) -> Any:
    with torch.inference_mode():
        return model(X)


def test_the_first_pass_runs_while_weights_arrive(writer: Writer, tmp_path: Path) -> None:
    expected = answer(loader.load(tmp_path / "whole.pack"))
    with loader.open_pack(writer.path, writer.reader) as pack:
        model: Any = pack.load()
        passed = [threading.Event() for _ in model.layers]
        for layer, event in zip(model.layers, passed, strict=True):
            layer.register_forward_hook(lambda *_, event=event: event.set())
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(answer(model)))
        thread.start()
        for unit in range(len(writer.info.units)):
            assert not passed[-1].is_set()
            writer.write(unit)
            assert passed[0].wait(30)
        thread.join(30)
    assert torch.equal(found[0], expected)
    assert pack.error is None


def test_a_writer_that_goes_away_is_noticed(writer: Writer) -> None:
    with loader.open_pack(writer.path, writer.reader) as pack:
        model: Any = pack.load()
        writer.write(0)
        writer.close()
        with pytest.raises(loader.LoadStopped, match="its weights stopped coming; ask again"):
            answer(model)
        assert isinstance(pack.error, loader.LoadStopped)


def test_a_writer_that_fails_says_why(writer: Writer) -> None:
    with loader.open_pack(writer.path, writer.reader) as pack:
        model: Any = pack.load()
        announce_failure(writer.writer, "the bucket is gone")
        writer.close()
        with pytest.raises(loader.LoadStopped, match="the bucket is gone"):
            answer(model)


def test_what_a_pipe_does_not_take_is_told(tmp_path: Path) -> None:
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with open(reader, "rb", buffering=0) as pipe, open(writer, "wb", buffering=0):
        held_bytes = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        with pytest.raises(BlockingIOError):
            announce(writer, list(range(held_bytes // 4 + 1)))
        pipe.read()
        announce(writer, list(range(held_bytes // 4)))
        assert len(pipe.read(held_bytes)) == held_bytes


def test_a_unit_that_does_not_exist_fails_the_load(writer: Writer) -> None:
    with loader.open_pack(writer.path, writer.reader) as pack:
        model: Any = pack.load()
        announce(writer.writer, [99])
        with pytest.raises(loader.LoadStopped, match="nothing more is heard"):
            answer(model)


def test_nothing_is_read_ahead_of_the_writer(writer: Writer) -> None:
    with loader.open_pack(writer.path, writer.reader) as pack:
        assert not pack.prefetch().running


class Hesitant(VirtualDevice):
    """A device that remembers its copies in their order."""

    def __init__(self) -> None:
        super().__init__(Profile(2**30, 1e12), RealClock())
        self.offsets: list[int] = []
        self.fault: Exception | None = None

    def copy(self, part: memoryview, memory: memoryview, offset: int) -> VirtualCopy:
        if self.fault is not None:
            raise self.fault
        self.offsets.append(offset)
        return super().copy(part, memory, offset)


def test_copies_to_a_device_follow_what_arrives_and_the_first_pass_follows_them(
    writer: Writer, tmp_path: Path
) -> None:
    """Its bytes come only to who waits for them: a pass that forgot to would compute with others."""
    expected = answer(loader.load(tmp_path / "whole.pack"))
    card = Hesitant()
    with loader.open_pack(writer.path, writer.reader) as pack:
        model: Any = pack.load(device=card)
        assert card.free_bytes == card.capacity_bytes - writer.info.weights_nbytes
        assert card.offsets == []
        passed = [threading.Event() for _ in model.layers]
        for layer, event in zip(model.layers, passed, strict=True):
            layer.register_forward_hook(lambda *_, event=event: event.set())
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(answer(model)))
        thread.start()
        for number, unit in enumerate(writer.info.units):
            assert not passed[-1].is_set()
            writer.write(number)
            assert passed[0].wait(30)
            assert card.offsets[0] == 0
            assert len(card.offsets) <= number + 1, "nothing is copied before it is there"
            assert card.offsets == [each.offset for each in writer.info.units[: len(card.offsets)]]
            assert unit.nbytes
        thread.join(30)
        assert len(card.offsets) == len(writer.info.units)
    assert torch.equal(found[0], expected)
    assert pack.error is None
    # The file is not what it computes with.
    writer.path.write_bytes(b"")
    assert torch.equal(answer(model), expected)


def test_units_that_arrive_in_any_order_are_copied_in_it(writer: Writer, tmp_path: Path) -> None:
    expected = answer(loader.load(tmp_path / "whole.pack"))
    card = Hesitant()
    order = list(reversed(range(len(writer.info.units))))
    with loader.open_pack(writer.path, writer.reader) as pack:
        model: Any = pack.load(device=card)
        writer.write(*order)
        writer.close()
        assert torch.equal(answer(model), expected)
        assert card.offsets == [writer.info.units[unit].offset for unit in order]


@pytest.mark.parametrize("late", [False, True])
def test_a_copy_that_fails_fails_the_load(writer: Writer, late: bool) -> None:
    card = Hesitant()
    with loader.open_pack(writer.path, writer.reader) as pack:
        model: Any = pack.load(device=card)
        if late:
            card.fail_copies(1)
        else:
            card.fault = RuntimeError("the card is lost")
        writer.write(*range(len(writer.info.units)))
        writer.close()
        with pytest.raises(loader.LoaderError, match="failed to copy" if late else "the card is lost"):
            answer(model)


def test_a_writer_that_goes_away_is_noticed_on_a_device_too(writer: Writer) -> None:
    with loader.open_pack(writer.path, writer.reader) as pack:
        model: Any = pack.load(device=Hesitant())
        writer.write(0)
        writer.close()
        with pytest.raises(loader.LoadStopped, match="its weights stopped coming; ask again"):
            answer(model)


def test_a_pack_that_is_whole_is_on_the_device_before_anybody_has_its_object(
    writer: Writer, tmp_path: Path
) -> None:
    card = VirtualDevice(Profile(2**30, 1e12), RealClock())
    with loader.open_pack(tmp_path / "whole.pack") as pack:
        model: Any = pack.load(device=card)
        assert torch.equal(answer(model), answer(loader.load(tmp_path / "whole.pack")))
        assert card.free_bytes == card.capacity_bytes - pack.info.weights_nbytes


def test_who_opens_what_arrives_and_never_loads_it_keeps_no_pipe(writer: Writer) -> None:
    loader.open_pack(writer.path, writer.reader).close()
    with pytest.raises(BrokenPipeError):
        writer.write(0)


@pytest.mark.gpu
def test_a_card_is_filled_while_weights_arrive(writer: Writer, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    expected = answer(loader.load(tmp_path / "whole.pack"))
    with loader.open_pack(writer.path, writer.reader) as pack:
        model: Any = pack.load(device=device_called("cuda"))
        assert all(tensor.is_cuda for tensor in model.parameters())
        found: list[Any] = []

        def compute() -> None:
            with torch.inference_mode():
                found.append(model(X.cuda()).cpu())

        thread = threading.Thread(target=compute)
        thread.start()
        for unit in range(len(writer.info.units)):
            assert not found
            writer.write(unit)
        thread.join(30)
    assert torch.allclose(found[0], expected, atol=1e-3)
