"""From the words of `glowplug distributed run` to the room of its channel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from glowplug.core.errors import InvalidArguments

if TYPE_CHECKING:
    from glowplug.distributed.channels.base import Room

On = Literal["local", "lambda"]
_TYPES: dict[str, tuple[Any, str]] = {
    "send_timeout_s": (float, "a number"),
    "mailbox_bytes": (int, "a whole number"),
    "hidden_s": (int, "a whole number"),
    "straight_above_bytes": (int | None, "a whole number, or none"),
    "patient": (bool, "true or false"),
}
"""Of the options that are no texts, whichever channel has them; and in words."""


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


def check_options(given: list[Option], channels: tuple[str, ...]) -> None:
    """Raises InvalidArguments for an option of a channel that is none of `channels`."""
    for each in given:
        if each.channel not in ("", *channels):
            raise InvalidArguments(
                f"--option {each.channel}.{each.name}: the channel is {' or '.join(channels)}", "option"
            )


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

    options: dict[str, Any] = {"url": store} if on == "lambda" and channel.endswith("object") else {}
    options |= {each.name: _typed(each) for each in given if each.channel in ("", channel)}
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


def _typed(option: Option) -> Any:
    """Its value as the channel takes it. Raises InvalidArguments."""
    if option.name not in _TYPES:
        return option.value
    wanted, told = _TYPES[option.name]
    try:
        return msgspec.convert("null" if option.value == "none" else option.value, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidArguments(f"--option {option.name}={option.value}: write {told}", "option") from error
