"""From the words of `glowplug distributed run` to the room of its channel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from glowplug.core.errors import InvalidArguments

if TYPE_CHECKING:
    from glowplug.distributed.channels.base import Room

On = Literal["local", "lambda"]


class Option(NamedTuple):
    """Without `channel` it is for whichever there is."""

    channel: str
    name: str
    value: str


def options_of(given: tuple[str, ...]) -> list[Option]:
    """[CHANNEL.]NAME=VALUE. Raises InvalidArguments."""
    found = []
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            raise InvalidArguments(f"--option {each!r}: write NAME=VALUE", "option")
        channel, _, name = name.rpartition(".")
        found.append(Option(channel.replace("-", "_"), name, value))
    return found


def channels_of(given: tuple[str, ...], on: On) -> tuple[str, ...]:
    """One at least. Raises InvalidArguments for memory, which functions of a cloud do not share."""
    channels = tuple(each.replace("-", "_") for each in given)
    for each in channels:
        if on == "lambda" and each in ("shared_memory", "memory"):
            raise InvalidArguments(f"--channel {each}: functions of Lambda share no memory", "channel")
    return channels or ("object" if on == "lambda" else "shared_memory",)


def room_of(channel: str, given: list[Option], store: str, on: On) -> Room:
    """Functions of a cloud have the store in common."""
    from glowplug.distributed.channels.registry import room

    options: dict[str, str] = {"url": store} if on == "lambda" and channel.endswith("object") else {}
    options |= {each.name: each.value for each in given if each.channel in ("", channel)}
    if channel.endswith("object") and not options.get("url"):
        raise InvalidArguments(
            f"--channel {channel}: say where objects are: --option url=s3://BUCKET/PREFIX, or file:///FOLDER",
            "option",
        )
    try:
        return room(channel, **options)
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        why = f"there is no option {unknown[1]}" if unknown else str(error)
        raise InvalidArguments(f"--option: channel {channel}: {why}", "option") from error
