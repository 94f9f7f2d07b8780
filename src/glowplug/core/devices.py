"""Which devices a node has, as people write it: `virtual:3x2GB@2GB/s`, `cpu:2`, `cuda:0`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from glowplug.core.errors import InvalidArguments, InvalidDeclaration
from glowplug.core.units import parse_bytes, parse_seconds

Kind = Literal["virtual", "cpu", "cuda"]
MOST_DEVICES = 1024
MOST_AT_ONCE = 64
CARD_CONTEXT = "900MB"
"""What a process's context takes of a graphics card, about: 835 MB were seen on an H100 (CUDA 13, the
libraries of a first product and convolution in it)."""
_VIRTUAL = re.compile(r"(\d+)x([^@,]+)@([^/,]+)/s")
_CPU = re.compile(r"(\d+)(?:x(.+))?")
_HELP = (
    "write virtual:COUNTxSIZE@RATE/s (virtual:3x2GB@2GB/s), cpu:COUNT or cpu:COUNTxSIZE (cpu:2), cuda or "
    "cuda:NUMBER, auto, or none"
)


class DeviceSetting(msgspec.Struct, frozen=True, omit_defaults=True):
    """One device of a node.

    Of `virtual`: a copy there takes `latency_s` and its bytes by `copy_bytes_per_s`, a run at least `run_s`.
    Of `cpu`: `cores` are those of its workers. `context_bytes` and `context_s` are what a process takes of
    the device, and needs, before any model lies there; with `shared` the functions of a namespace have one
    such context together. With `ready` a process that has one waits for the next load, and its bytes are kept
    for it. `at_once` models may compute there at a time, each in a worker of its own.
    """

    name: str
    kind: Kind
    number: int
    capacity_bytes: int
    copy_bytes_per_s: float = 0.0
    latency_s: float = 0.0
    run_s: float = 0.0
    cores: tuple[int, ...] = ()
    context_bytes: int = 0
    context_s: float = 0.0
    shared: bool = False
    ready: bool = True
    at_once: int = 1


Harm = Literal["loads", "memory", "slow", "gone", "none"]


class Fault(msgspec.Struct, frozen=True):
    """What is to happen to a device: its next `count` loads fail; it loses its `memory`, with all that runs
    in it; everything takes `factor` times as long from now on; it is `gone`; or it is whole again
    (`none`)."""

    harm: Harm
    count: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    factor: Annotated[float, msgspec.Meta(gt=0.0, le=1e6)] = 10.0


class Host(msgspec.Struct, frozen=True):
    """What a node can make devices of: its cores, its graphics cards with what is free on each (0 where that
    cannot be asked), and its memory budget."""

    cores: tuple[int, ...]
    cards: dict[int, int]
    budget_bytes: int


def parse_devices(texts: Sequence[str], host: Host) -> tuple[DeviceSetting, ...]:
    """The devices that `--devices`, given once or several times, asks for. Raises InvalidArguments."""
    found: list[DeviceSetting] = []
    for text in texts:
        first = len([each for each in found if each.kind == text.partition(":")[0]])
        found += _parse(text.strip(), host, first)
    names = [each.name for each in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _wrong(f"{twice} is named twice")
    if len(found) > MOST_DEVICES:
        raise _wrong(f"{len(found)} devices are more than {MOST_DEVICES}")
    return tuple(found)


def _parse(text: str, host: Host, first: int) -> list[DeviceSetting]:
    if text in ("none", ""):
        return []
    if text == "auto":
        return [
            _card(number, {}, text, free_bytes) for number, free_bytes in host.cards.items() if free_bytes
        ]
    words, *options = text.split(",")
    kind, _, rest = words.partition(":")
    given = dict(_option(option, text) for option in options)
    if kind == "virtual":
        return _virtual(rest, given, text, first)
    if kind == "cpu":
        return _cpu(rest, given, text, host, first)
    if kind == "cuda":
        return _cuda(rest, given, text, host)
    raise _wrong(f"{text[:80]!r} names no kind of device; {_HELP}")


def _virtual(rest: str, given: dict[str, str], text: str, first: int) -> list[DeviceSetting]:
    match = _VIRTUAL.fullmatch(rest)
    if match is None:
        raise _wrong(f"{text[:80]!r} is no virtual device; {_HELP}")
    count = _count(match[1], text)
    capacity_bytes, rate = _bytes(match[2], text), _bytes(match[3], text)
    if not capacity_bytes or not rate:
        raise _wrong(f"{text[:80]!r}: a size and a rate are more than 0")
    _check_options(given, text, "latency", "run", "context", "shared", "ready", "at_once")
    context_size, _, context_time = given.get("context", "0").partition("/")
    context_bytes = _bytes(context_size, text)
    return [
        DeviceSetting(
            f"virtual{number}", "virtual", number, capacity_bytes, float(rate),
            latency_s=_seconds(given.get("latency", "0"), text), run_s=_seconds(given.get("run", "0"), text),
            context_bytes=context_bytes, context_s=_seconds(context_time or "0", text),
            shared=_yes(given, "shared", "no", text),
            ready=_ready(given, text, capacity_bytes, context_bytes), at_once=_at_once(given, text),
        )
        for number in range(first, first + count)
    ]  # fmt: skip


def _cpu(rest: str, given: dict[str, str], text: str, host: Host, first: int) -> list[DeviceSetting]:
    match = _CPU.fullmatch(rest)
    if match is None:
        raise _wrong(f"{text[:80]!r} is no cpu device; {_HELP}")
    _check_options(given, text)
    count = _count(match[1], text)
    if first:
        raise _wrong("name all cpu devices at once, as in cpu:2")
    if count > len(host.cores):
        raise _wrong(f"{text[:80]!r}: there are {len(host.cores)} cores, and each device has its own")
    share = len(host.cores) // count
    capacity_bytes = _bytes(match[2], text) if match[2] else host.budget_bytes // count
    return [
        DeviceSetting(
            f"cpu{number}", "cpu", number, capacity_bytes,
            cores=host.cores[number * share : (number + 1) * share],
        )
        for number in range(count)
    ]  # fmt: skip


def _cuda(rest: str, given: dict[str, str], text: str, host: Host) -> list[DeviceSetting]:
    if rest and not rest.isdecimal():
        raise _wrong(f"{text[:80]!r} is no graphics card; {_HELP}")
    wanted = (int(rest),) if rest else tuple(host.cards)
    missing = [number for number in wanted if number not in host.cards]
    if missing or not wanted:
        there = ", ".join(f"cuda:{number}" for number in host.cards) or "none"
        raise _wrong(f"{text[:80]!r} is not here; graphics cards found: {there}")
    return [_card(number, given, text, host.cards[number]) for number in wanted]


def _card(number: int, given: dict[str, str], text: str, free_bytes: int) -> DeviceSetting:
    _check_options(given, text, "memory", "context", "ready", "at_once")
    capacity_bytes = _bytes(given["memory"], text) if "memory" in given else free_bytes
    if not capacity_bytes:
        raise _wrong(
            f"what is free on cuda:{number} cannot be asked; say it, as in cuda:{number},memory=40GB"
        )
    context_bytes = _bytes(given.get("context", CARD_CONTEXT), text)
    return DeviceSetting(
        f"cuda{number}", "cuda", number, capacity_bytes, context_bytes=context_bytes,
        ready=_ready(given, text, capacity_bytes, context_bytes), at_once=_at_once(given, text),
    )  # fmt: skip


def _ready(given: dict[str, str], text: str, capacity_bytes: int, context_bytes: int) -> bool:
    """Whether a context waits there: not where it would leave no room for a model with its own."""
    return _yes(given, "ready", "yes", text) and 2 * context_bytes < capacity_bytes


def _check_options(given: dict[str, str], text: str, *known: str) -> None:
    for name in given:
        if name not in known:
            raise _wrong(
                f"{text[:80]!r}: there is no option {name!r}; options are {', '.join(known) or 'none'}"
            )


def _option(option: str, text: str) -> tuple[str, str]:
    name, equals, value = option.partition("=")
    if not equals or not value:
        raise _wrong(f"{text[:80]!r}: {option[:40]!r} is no option; write NAME=VALUE")
    return name.strip(), value.strip()


def _count(digits: str, text: str) -> int:
    count = int(digits[:9])
    if not 1 <= count <= MOST_DEVICES:
        raise _wrong(f"{text[:80]!r}: from 1 to {MOST_DEVICES} devices")
    return count


def _at_once(given: dict[str, str], text: str) -> int:
    digits = given.get("at_once", "1")
    if not digits.isdecimal() or not 1 <= int(digits[:9]) <= MOST_AT_ONCE:
        raise _wrong(f"{text[:80]!r}: at_once is from 1 to {MOST_AT_ONCE}")
    return int(digits)


def _yes(given: dict[str, str], name: str, default: str, text: str) -> bool:
    value = given.get(name, default)
    if value not in ("yes", "no"):
        raise _wrong(f"{text[:80]!r}: {name} is yes or no")
    return value == "yes"


def _bytes(value: str, text: str) -> int:
    try:
        return parse_bytes(value.strip(), repr(text[:80]))
    except InvalidDeclaration as error:
        raise _wrong(error.message) from None


def _seconds(value: str, text: str) -> float:
    try:
        return parse_seconds(value.strip(), repr(text[:80]))
    except InvalidDeclaration as error:
        raise _wrong(error.message) from None


def _wrong(why: str) -> InvalidArguments:
    return InvalidArguments(f"--devices: {why}", "devices")
