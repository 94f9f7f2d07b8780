"""Frames: what is split comes together again, and nothing that is not whole gets through."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.distributed import frame as frames_module
from glowplug.distributed.channels import MessageKey
from glowplug.distributed.errors import FrameCorrupt, FrameError, FrameMismatch, FrameVersion, LimitTooSmall
from glowplug.distributed.frame import HEADER_BYTES, Assembly, Kind, frames, open_frame

KEY = MessageKey("run", 3, 119, 5, 7)

keys = st.builds(
    MessageKey,
    run=st.text("abc-_", min_size=1, max_size=5),
    epoch=st.integers(0, 2**32 - 1),
    layer=st.integers(0, 2**32 - 1),
    source=st.integers(0, 2**16 - 1),
    target=st.integers(0, 2**16 - 1),
)


@given(keys, st.binary(max_size=500), st.integers(HEADER_BYTES + 1, 200), st.randoms())
def test_chunks_in_any_order_make_the_payload(
    key: MessageKey, body: bytes, limit_bytes: int, shuffler: random.Random
) -> None:
    sent = frames(key, Kind.BYTES, body, limit_bytes)
    assert all(len(message) <= limit_bytes for _, message in sent)
    assert [sent_key.chunk for sent_key, _ in sent] == list(range(len(sent)))
    shuffler.shuffle(sent)
    assembly = Assembly([key])
    service = dict(sent)
    came: list[tuple[MessageKey, object]] = []
    while assembly.wanted:
        asked = min(assembly.wanted, key=lambda wanted: shuffler.random())
        came += assembly.add({asked: service[asked]})
    (first, payload), *others = came
    assert (first, others) == (key, [])
    assert isinstance(payload, frames_module.Payload)
    assert (payload.kind, bytes(payload.body)) == (Kind.BYTES, body)


def test_nothing_to_send_is_one_small_frame() -> None:
    (key, message), *others = frames(KEY, Kind.NULL, b"", HEADER_BYTES + 1)
    assert (key, len(message), others) == (KEY, HEADER_BYTES, [])
    assert open_frame(KEY, message) == (Kind.NULL, 1, b"")


def test_payloads_of_many_sources_come_together_as_they_complete() -> None:
    whole = MessageKey("run", 0, 0, 1, 0)
    parted = MessageKey("run", 0, 0, 2, 0)
    (_, one), *_ = frames(whole, Kind.ROWS, b"one", 100)
    (second, two_a), (third, two_b) = frames(parted, Kind.ROWS, bytes(100), HEADER_BYTES + 50)
    assembly = Assembly([whole, parted])
    assert assembly.wanted == {whole, parted}
    assert assembly.add({second: two_a}) == []
    assert assembly.wanted == {whole, third}
    assert [(key, bytes(payload.body)) for key, payload in assembly.add({whole: one, third: two_b})] == [
        (whole, b"one"),
        (parted, bytes(100)),
    ]
    assert assembly.wanted == set()
    assert assembly.add({whole: one}) == []


@pytest.mark.parametrize("limit_bytes", [0, 1, HEADER_BYTES - 1, HEADER_BYTES])
def test_a_limit_below_a_frame_is_named(limit_bytes: int) -> None:
    with pytest.raises(LimitTooSmall, match=f"{limit_bytes} bytes"):
        frames(KEY, Kind.BYTES, b"x", limit_bytes)


def test_more_chunks_than_can_be_counted() -> None:
    with pytest.raises(LimitTooSmall, match="65535 messages"):
        frames(KEY, Kind.BYTES, bytes(65536), HEADER_BYTES + 1)
    assert len(frames(KEY, Kind.BYTES, bytes(65535), HEADER_BYTES + 10)) == 6554


def test_a_key_that_a_header_does_not_hold() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        frames(MessageKey("run", 0, 0, 2**16, 0), Kind.BYTES, b"", 1000)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_any_changed_byte_is_noticed(body: bytes, data: st.DataObject) -> None:
    message = bytearray(frames(KEY, Kind.BYTES, body, 1000)[0][1])
    message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FrameError):
        open_frame(KEY, message)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_any_truncation_is_noticed(body: bytes, data: st.DataObject) -> None:
    message = frames(KEY, Kind.BYTES, body, 1000)[0][1]
    with pytest.raises(FrameCorrupt):
        open_frame(KEY, message[: data.draw(st.integers(0, len(message) - 1))])
    with pytest.raises(FrameCorrupt):
        open_frame(KEY, message + b"\0")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_named_error(message: bytes) -> None:
    with pytest.raises(FrameError):
        open_frame(KEY, message)
    with pytest.raises(FrameError):
        open_frame(KEY, frames_module.MAGIC + message)


@given(keys)
def test_a_frame_of_another_message_is_noticed(key: MessageKey) -> None:
    with pytest.raises(FrameMismatch, match="another message"):
        open_frame(KEY, frames(key, Kind.BYTES, b"", 1000)[0][1])


def test_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "VERSION", 0)
    older = frames(KEY, Kind.BYTES, b"body", 1000)[0][1]
    monkeypatch.undo()
    with pytest.raises(FrameVersion, match="worker 5 writes frames of version 0 and this one reads 1"):
        open_frame(KEY, older)


def test_chunks_that_disagree() -> None:
    first, second = (key for key, _ in frames(KEY, Kind.BYTES, bytes(60), HEADER_BYTES + 30))
    of_two = dict(frames(KEY, Kind.BYTES, bytes(60), HEADER_BYTES + 30))
    of_three = dict(frames(KEY, Kind.BYTES, bytes(60), HEADER_BYTES + 20))
    assembly = Assembly([KEY])
    assembly.add({first: of_two[first]})
    with pytest.raises(FrameMismatch, match="unlike"):
        assembly.add({second: of_three[second]})
    assert second in assembly.wanted
    assert [key for key, _ in assembly.add({second: of_two[second]})] == [KEY]
