"""Few calls for many targets, and one object for a layer: nothing is lost, no bound is passed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.distributed.channels import MessageKey
from glowplug.distributed.channels import layer_object as objects
from glowplug.distributed.channels.envelope import RECORD_BYTES, batches, envelopes, opened

messages = st.dictionaries(
    st.builds(
        MessageKey,
        run=st.just("run"),
        epoch=st.just(3),
        layer=st.just(7),
        source=st.just(1),
        target=st.integers(0, 5),
        chunk=st.integers(0, 4),
    ),
    st.binary(max_size=40),
    max_size=20,
)


@given(messages, st.integers(RECORD_BYTES + 40, 300))
def test_envelopes_hold_every_message_of_one_target(sent: dict[MessageKey, bytes], most_bytes: int) -> None:
    packed = envelopes(list(sent.items()), most_bytes)
    came: list[tuple[MessageKey, bytes]] = []
    for target, content in packed:
        assert len(content) <= most_bytes
        inside = opened("run", content)
        assert {key.target for key, _ in inside} == {target}
        came += inside
    assert dict(came) == sent
    assert len(came) == len(sent)


def test_a_target_s_messages_share_an_envelope() -> None:
    keys = [MessageKey("run", 0, 0, 1, target, chunk) for target in (2, 3) for chunk in range(5)]
    assert [target for target, _ in envelopes([(key, bytes(10)) for key in keys], 1000)] == [2, 3]


@given(st.binary(max_size=60))
def test_any_bytes_open_or_are_damaged(content: bytes) -> None:
    try:
        inside = opened("run", content)
    except ValueError:
        return
    assert sum(len(payload) + RECORD_BYTES for _, payload in inside) == len(content)


@given(st.lists(st.integers(0, 50)), st.integers(1, 10), st.integers(50, 120))
def test_batches_hold_everything_within_both_bounds(sizes: list[int], most: int, most_bytes: int) -> None:
    made = batches(enumerate(sizes), most, most_bytes)
    assert sorted(number for one in made for number in one) == list(range(len(sizes)))
    assert all(len(one) <= most and sum(sizes[n] for n in one) <= most_bytes for one in made)


def test_batches_are_as_few_as_the_bounds_allow() -> None:
    assert len(batches(((n, 10) for n in range(41)), 10, 1000)) == 5
    assert len(batches(((n, size) for n, size in enumerate([60, 60, 60, 40, 40, 40])), 10, 100)) == 3


@given(messages)
def test_a_layer_s_object_has_each_message_where_its_index_says(sent: dict[MessageKey, bytes]) -> None:
    content = objects.build(list(sent.items()))
    found = {
        (part.target, part.chunk): content[part.start : part.end]
        for target in {key.target for key in sent}
        for part in objects.index(content[: objects.index_bytes(content)], target)
    }
    assert found == {(key.target, key.chunk): payload for key, payload in sent.items()}


@given(messages, st.data())
def test_a_damaged_index_is_noticed(sent: dict[MessageKey, bytes], data: st.DataObject) -> None:
    content = bytearray(objects.build(list(sent.items())))
    nbytes = objects.index_bytes(content)
    content[data.draw(st.integers(0, nbytes - 1).filter(lambda at: at != 3))] ^= data.draw(
        st.integers(1, 255)
    )
    with pytest.raises(objects.Damaged):
        objects.index(bytes(content), 0)
    with pytest.raises(objects.Damaged):
        objects.index(bytes(objects.build(list(sent.items()))[: nbytes - 1]), 0)
