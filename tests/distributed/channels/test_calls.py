"""What each scheme costs: its calls, counted exactly, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from glowplug.distributed.channels import Channel, MessageKey, Meter
from glowplug.distributed.channels.base import NOTES
from glowplug.distributed.channels.messaging import Entry
from glowplug.distributed.channels.metered import Cloud, Delays, metered_room
from glowplug.distributed.channels.metered.messaging import VirtualMessaging
from glowplug.distributed.frame import HEADER_BYTES, null_frame
from glowplug.testing.channel_suite import receive_all

LAYERS = 4
DELAYS = Delays(hop_s=0.1)
_TOPIC_BYTES = len("-") + len("pBinary") + len("tString") + len("9") + 18
"""Text, attributes, a target of one digit, and the record of an envelope: around each payload."""


def metered(
    scheme: str, workers: int, payload_bytes: int, delays: Delays = DELAYS, **options: Any
) -> tuple[Meter, float]:
    """All to all for some layers; all workers' calls together, and the time it took."""
    cloud = Cloud(delays=delays)
    room = metered_room(scheme, cloud, **options).open("counted", workers)
    ends = [room.end(worker) for worker in range(workers)]

    def work(me: int) -> None:
        others = [worker for worker in range(workers) if worker != me]
        for layer in range(LAYERS):
            ends[me].send(
                [(MessageKey("counted", 0, layer, me, other), bytes(payload_bytes)) for other in others]
            )
            wanted = {MessageKey("counted", 0, layer, other, me) for other in others}
            assert receive_all(ends[me], wanted).keys() == wanted

    cloud.time.run([lambda me=me: work(me) for me in range(workers)])  # type: ignore[misc]
    took_s = cloud.time.now_s()
    total = Meter()
    for end in ends:
        total = total.plus(end.meter)
        end.close()
    room.close()
    return total, took_s


@pytest.mark.parametrize("scheme", ["queue", "paper_queue"])
def test_a_publish_for_each_layer_and_ten_targets(scheme: str) -> None:
    found, _ = metered(scheme, 8, 1000)
    assert found.publishes == found.publish_units == 8 * LAYERS
    assert found.publish_bytes == 8 * 7 * LAYERS * (1000 + _TOPIC_BYTES)
    assert found.polls == 8 * LAYERS
    assert found.poll_bytes == 8 * 7 * LAYERS * (1000 + _TOPIC_BYTES - len("tString9"))
    assert (found.queue_sends, found.puts, found.gets, found.lists) == (0, 0, 0, 0)


def test_the_paper_deletes_what_it_received_and_ours_nothing() -> None:
    assert metered("paper_queue", 8, 1000)[0].deletes == 8 * LAYERS
    assert metered("queue", 8, 1000)[0].deletes == 0


def test_the_paper_pays_units_of_64_kb_through_its_topics_and_ours_goes_straight() -> None:
    paper, _ = metered("paper_queue", 4, 100_000)
    assert paper.publishes == 4 * 2 * LAYERS
    assert paper.publish_units == 4 * (4 + 2) * LAYERS
    ours, _ = metered("queue", 4, 100_000)
    assert (ours.publishes, ours.queue_sends) == (0, 4 * 3 * LAYERS)
    assert ours.queue_send_units == 4 * 3 * 2 * LAYERS


def test_through_the_topic_alone_when_told() -> None:
    found, _ = metered("queue", 4, 100_000, straight_above_bytes=None)
    assert (found.publishes, found.queue_sends) == (4 * 2 * LAYERS, 0)


def test_the_paper_puts_an_object_for_each_pair_and_reads_each_and_lists() -> None:
    found, _ = metered("paper_object", 8, 1000)
    assert (found.puts, found.gets) == (8 * 7 * LAYERS, 8 * 7 * LAYERS + 8), "and the mark"
    assert found.lists >= 8 * LAYERS
    assert found.get_bytes - 8 == found.put_bytes == 8 * 7 * LAYERS * 1000


def test_ours_puts_one_object_for_each_layer_and_lists_nothing() -> None:
    found, _ = metered("object", 8, 1000)
    assert (found.puts, found.lists) == (8 * LAYERS, 0)
    assert found.gets - found.gets_missed == 8 * 7 * LAYERS + 8
    assert found.put_bytes == 8 * LAYERS * (12 + 7 * (16 + 1000))


def test_large_parts_of_an_object_take_a_second_read() -> None:
    found, _ = metered("object", 4, 200_000)
    assert found.puts == 4 * LAYERS
    assert found.gets - found.gets_missed == 2 * 4 * 3 * LAYERS + 4
    assert found.get_bytes < 4 * 3 * LAYERS * 300_000


def test_a_null_notice_is_an_object_that_is_not_read() -> None:
    cloud = Cloud()
    with metered_room("paper_object", cloud).open("nulls", 2) as room:
        sender, receiver = room.end(0), room.end(1)
        key = MessageKey("nulls", 0, 0, 0, 1)
        sender.send([(key, null_frame(key))])
        assert cloud.store.keys("1") == ["1/nulls/0-0/1/1_0_0.nul"]
        assert receiver.receive([key], 60.0) == {key: null_frame(key)}
        assert (sender.meter.puts, sender.meter.put_bytes, receiver.meter.gets) == (1, 0, 1)


def test_in_ours_a_null_notice_is_an_entry_in_the_index() -> None:
    cloud = Cloud()
    with metered_room("object", cloud).open("nulls", 3) as room:
        keys = [MessageKey("nulls", 0, 0, 0, target) for target in (1, 2)]
        sender, receiver = room.end(0), room.end(2)
        sender.send([(key, null_frame(key)) for key in keys])
        assert (sender.meter.puts, sender.meter.put_bytes) == (1, 12 + 2 * (16 + HEADER_BYTES))
        assert receiver.receive([keys[1]], 60.0) == {keys[1]: null_frame(keys[1])}


def test_a_message_is_there_after_the_hop_and_its_bytes() -> None:
    cloud = Cloud(delays=Delays(hop_s=0.25, bytes_per_s=1e6))
    with metered_room("direct", cloud).open("hop", 2) as room:
        key = MessageKey("hop", 0, 0, 0, 1)
        sender, receiver = room.end(0), room.end(1)
        sender.send([(key, bytes(500_000))])
        assert cloud.time.now_s() == pytest.approx(0.5)
        assert receiver.receive([key], 60.0).keys() == {key}
        assert cloud.time.now_s() == pytest.approx(0.75)


@pytest.mark.parametrize("scheme", ["queue", "paper_queue"])
def test_a_longer_hop_is_a_longer_layer_and_no_more_calls(scheme: str) -> None:
    short, short_s = metered(scheme, 4, 1000, Delays(hop_s=0.02))
    long, long_s = metered(scheme, 4, 1000, Delays(hop_s=0.25))
    assert long_s - short_s == pytest.approx(LAYERS * 0.23, abs=0.01)
    assert (long.publishes, long.polls) == (short.publishes, short.polls)


def test_patience_saves_polls_where_messages_spread() -> None:
    spread = Delays(hop_s=0.1, hop_spread_s=0.05)
    patient, patient_s = metered("queue", 8, 1000, spread)
    hasty, hasty_s = metered("queue", 8, 1000, spread, patient=False)
    assert patient.polls < hasty.polls
    assert patient_s < 1.3 * hasty_s


def test_nobody_is_patient_who_waits_for_notes_too() -> None:
    """Which notes are looked for changes with each one that comes, and no layer begins with that."""
    cloud = Cloud(delays=DELAYS)
    took_s: list[float] = []

    def key(layer: int) -> MessageKey:
        return MessageKey("noted", 0, layer, 0, 1)

    def send(sender: Channel) -> None:
        for layer in range(LAYERS):
            for sent in (NOTES + layer, layer):
                cloud.time.sleep(1.0)
                sender.send([(key(sent), b"late")])

    def receive(receiver: Channel) -> None:
        heard = 0
        for layer in range(LAYERS):
            came: set[MessageKey] = set()
            while key(layer) not in came:
                notes = {key(NOTES + number) for number in range(heard, heard + 3)}
                came = set(receiver.receive({key(layer)} | notes, 10.0))
                heard += len(came - {key(layer)})
            took_s.append(cloud.time.now_s())

    with metered_room("queue", cloud).open("noted", 2) as opened:
        ends = [opened.end(worker) for worker in range(2)]
        cloud.time.run([lambda: send(ends[0]), lambda: receive(ends[1])])
        for end in ends:
            end.close()
    for layer, at_s in enumerate(took_s, 1):
        assert at_s == pytest.approx(2.0 * layer + DELAYS.hop_s, abs=0.2)


def test_a_claim_check_sends_a_reference() -> None:
    found, _ = metered("queue", 2, 10**6, claims=True)
    assert (found.puts, found.gets, found.publishes) == (2 * LAYERS, 2 * LAYERS, 2 * LAYERS)
    assert found.publish_bytes < 2 * LAYERS * 100
    assert (found.messages_sent, found.message_bytes_sent) == (2 * LAYERS, 2 * LAYERS * 10**6)


def test_so_many_hidden_messages_are_deleted_that_the_service_does_not_refuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("glowplug.distributed.channels.queue.MOST_HIDDEN", 25)
    cloud = Cloud()
    with metered_room("queue", cloud).open("hidden", 2) as room:
        sender, receiver = room.end(0), room.end(1)
        keys = {MessageKey("hidden", 0, layer, 0, 1) for layer in range(40)}
        for key in sorted(keys):
            sender.send([(key, b"x")])
        assert receive_all(receiver, keys).keys() == keys
        assert receiver.meter.deletes == 2
        assert len(cloud.queues["hidden"][1].hidden) == 20


def test_damage_on_the_way_counts_as_lost() -> None:
    cloud = Cloud()
    with metered_room("queue", cloud).open("damage", 2) as room:
        sender, receiver = room.end(0), room.end(1)
        key = MessageKey("damage", 0, 0, 0, 1)
        other = VirtualMessaging(cloud, "damage", 0)
        other.publish(0, [[Entry(1, b"no envelope")]])
        assert receiver.receive([key], 1.0) == {}
        assert receiver.meter.damaged == 1
        sender.send([(key, b"whole")])
        assert receiver.receive([key], 60.0) == {key: b"whole"}


def test_a_claim_whose_object_is_damaged_comes_again() -> None:
    cloud = Cloud()
    with metered_room("queue", cloud, claims=True).open("claims", 2) as room:
        key, payload = MessageKey("claims", 0, 0, 0, 1), bytes(range(256)) * 2000
        sender, receiver = room.end(0), room.end(1)
        sender.send([(key, payload)])
        [name] = cloud.store.keys("claims")
        cloud.store.put(name, payload[::-1])
        assert receiver.receive([key], 1.0) == {}
        assert receiver.meter.damaged == 1
        sender.send([(key, payload)])
        assert receiver.receive([key], 60.0) == {key: payload}
