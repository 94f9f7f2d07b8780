"""From the words of `distributed run` to a channel's room and its options."""

from __future__ import annotations

import types
from typing import Any, get_type_hints

import pytest

pytest.importorskip("boto3", reason="pip install 'glowplug[distributed]'")
pytest.importorskip("nats", reason="pip install 'glowplug[distributed]'")

from glowplug.cli.distributed_rooms import _TYPES, options_of, room_of
from glowplug.cli.distributed_run import run
from glowplug.core.errors import InvalidArguments
from glowplug.distributed.channels.aws import AwsService
from glowplug.distributed.channels.memory import MemoryRoom
from glowplug.distributed.channels.nats import NatsRoom
from glowplug.distributed.channels.paper_queue import PaperQueueRoom
from glowplug.distributed.channels.queue import QueueRoom
from glowplug.distributed.channels.shared_memory import SharedMemoryRoom

TAKE_OPTIONS = (AwsService, MemoryRoom, NatsRoom, PaperQueueRoom, QueueRoom, SharedMemoryRoom)
TEXTS = (str, str | None)


@pytest.mark.parametrize(
    ("channel", "words", "name", "value"),
    [
        ("nats", "send_timeout_s=60", "send_timeout_s", 60.0),
        ("nats", "nats.send_timeout_s=0.5", "send_timeout_s", 0.5),
        ("nats", "queue.patient=false", "send_timeout_s", 30.0),
        ("memory", "mailbox_bytes=4096", "mailbox_bytes", 4096),
        ("queue", "straight_above_bytes=4096", "straight_above_bytes", 4096),
        ("queue", "straight_above_bytes=none", "straight_above_bytes", None),
        ("queue", "patient=false", "patient", False),
        ("queue", "hidden_s=30", "hidden_s", 30),
    ],
)
def test_options_come_as_the_channel_takes_them(channel: str, words: str, name: str, value: Any) -> None:
    given = (words, *(("queue.region=us-east-1",) if channel == "queue" else ()))
    found = room_of(channel, options_of(given), "", "local")._options()[name]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("channel", "words", "told"),
    [
        ("nats", "send_timeout_s=soon", "send_timeout_s=soon: write a number"),
        ("queue", "straight_above_bytes=1.5", "write a whole number, or none"),
        ("queue", "patient=very", "write true or false"),
    ],
)
def test_what_an_option_cannot_be_is_said(channel: str, words: str, told: str) -> None:
    with pytest.raises(InvalidArguments, match=told):
        room_of(channel, options_of((words,)), "", "local")


def test_every_option_that_is_no_text_has_its_type() -> None:
    hints = {
        name: hint for taker in TAKE_OPTIONS for name, hint in get_type_hints(vars(taker)["__init__"]).items()
    }
    plain = (int, float, bool, types.NoneType)
    found = {
        name: hint for name, hint in hints.items()
        if hint in plain or (isinstance(hint, types.UnionType) and set(hint.__args__) <= set(plain))
    }  # fmt: skip
    assert {name: hint for name, (hint, _) in _TYPES.items()} == {
        name: hint for name, hint in found.items() if name != "return"
    }
    assert {name for name, hint in hints.items() if hint in TEXTS} == {"endpoint", "folder", "region", "url"}


def test_an_option_of_a_channel_that_is_not_asked_for_is_refused() -> None:
    for given, channels in (
        ("sqs.endpoint=x", ("queue",)),
        ("nats.url=x", ()),
        ("nat.url=x", ("nats", "queue")),
    ):
        with pytest.raises(InvalidArguments, match=f"--option {given.partition('=')[0]}: the channel is"):
            run("sparse:1024x4", channel=channels, option=(given,))
