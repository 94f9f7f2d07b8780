"""Faults of a simulation as people write them: `slow:n0/gpu2@60s,factor=10,for=2m`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import inf

import msgspec

from glowplug.core.devices import Fault as Harmed
from glowplug.core.devices import Harm
from glowplug.core.errors import InvalidArguments, InvalidDeclaration
from glowplug.core.events import DeviceJoined, Event
from glowplug.core.ids import DeviceId, NodeId
from glowplug.core.specs import DeviceSpec, NodeSpec
from glowplug.core.units import parse_seconds, show_seconds
from glowplug.sim.faults import Disappears, Fault, LoadsFail, LosesMemory, Slows
from glowplug.sim.workloads.draws import draws

ANY = "any"
_OPTIONS = {"loads": ("count",), "memory": (), "slow": ("factor", "for"), "gone": ("for",)}
_WRITTEN = re.compile(r"(\w+):([^@,]+)@([^,]+)((?:,[^,]+)*)")
_HELP = (
    "write HARM:DEVICE@TIME, as in slow:0@60s,factor=10,for=2m, loads:0@60s,count=3, memory:n0/gpu1@90s or "
    "gone:any@any"
)


class PlannedFault(msgspec.Struct, frozen=True):
    """As it was written. `device` is a device's name, its number among all, or `any`; that and an `at_s` of
    None are drawn. After `for_s` it is over."""

    text: str
    harmed: Harmed
    device: str
    at_s: float | None
    for_s: float = inf


class Strike(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happens to a device that there is. `until_s` is None where it stays so, and where it is over at
    once."""

    harm: Harm
    device: DeviceId
    at_s: float
    until_s: float | None = None
    count: int | None = None
    factor: float | None = None

    @property
    def told(self) -> str:
        what = {
            "loads": f"{self.count} loads fail", "memory": "loses its memory", "gone": "is gone",
            "slow": f"takes {self.factor:g} times as long" if self.factor else "",
        }[self.harm]  # fmt: skip
        if self.harm not in ("slow", "gone"):
            return f"{self.device}: {what} at {show_seconds(self.at_s)}"
        until = "on" if self.until_s is None else f"to {show_seconds(self.until_s)}"
        return f"{self.device}: {what} from {show_seconds(self.at_s)} {until}"


def parse_fault(text: str) -> PlannedFault:
    """Raises InvalidArguments."""
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise _wrong(f"{text[:80]!r} is no fault; {_HELP}")
    harm, device, at, rest = match.groups()
    if harm not in _OPTIONS:
        raise _wrong(f"{text[:80]!r}: {harm!r} is nothing that can happen; there are {', '.join(_OPTIONS)}")
    given = dict(_option(option, text, _OPTIONS[harm]) for option in rest.split(",")[1:])
    for_s = _seconds(given.pop("for"), text) if "for" in given else inf
    if not for_s:
        raise _wrong(f"{text[:80]!r}: for is more than 0")
    try:
        harmed = msgspec.convert({"harm": harm, **given}, Harmed, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(f"{text[:80]!r}: {error}".replace("`$.", "`")) from error
    return PlannedFault(
        text.strip(), harmed, device.strip(), None if at.strip() == ANY else _seconds(at, text), for_s
    )


def strikes(
    planned: Sequence[PlannedFault], nodes: Sequence[NodeSpec], span_s: float, seed: int
) -> list[Strike]:
    """What they come to on these nodes within a workload of `span_s`, in the order of their times. Each has
    draws of its own. One for any device comes to the one that was drawn, or to the next after it that nothing
    hinders, and is left out where there is none; those that name theirs come first. So one more changes those
    before it only where they come in each other's way. Raises InvalidArguments for a device that is not there
    (then), or a time after the workload.
    """
    names = [device.device for device in _in_turn(nodes)]
    drawn = draws(seed, "faults").random((len(planned), 2)).tolist()
    found: list[Strike] = []
    pairs = sorted(zip(planned, drawn, strict=True), key=lambda pair: pair[0].device == ANY)
    for fault, (when, which) in pairs:
        at_s = when * span_s if fault.at_s is None else fault.at_s
        if at_s >= span_s:
            raise _wrong(f"{fault.text!r}: the workload ends at {show_seconds(span_s)}")
        if fault.device != ANY:
            named = _strike(fault, _named(fault, names), at_s)
            before = _hindrance(found, named)
            if before is not None:
                raise _wrong(f"{fault.text!r}: {before.told}")
            found.append(named)
            continue
        first = int(which * len(names))
        possible = (_strike(fault, device, at_s) for device in names[first:] + names[:first])
        left = next((each for each in possible if _hindrance(found, each) is None), None)
        if left is not None:
            found.append(left)
    return sorted(found, key=lambda each: each.at_s)


def scenario(found: Sequence[Strike], nodes: Sequence[NodeSpec]) -> Iterator[tuple[float, Event | Fault]]:
    """What a simulation is to play for them."""
    places = {device.device: (NodeId(node.node), device) for node in nodes for device in node.devices}
    for each in found:
        node, spec = places[each.device]
        if each.harm == "loads":
            yield each.at_s, LoadsFail(each.device, each.count or 1)
        elif each.harm == "memory":
            yield each.at_s, LosesMemory(node, spec)
        elif each.harm == "slow":
            yield each.at_s, Slows(each.device, each.factor or 1.0)
            if each.until_s is not None:
                yield each.until_s, Slows(each.device, 1.0)
        else:
            yield each.at_s, Disappears(each.device)
            if each.until_s is not None:
                yield each.until_s, DeviceJoined(node, spec)


def _in_turn(nodes: Sequence[NodeSpec]) -> list[DeviceSpec]:
    """As they are dealt out: the first of each node, then the second of each."""
    most = max(len(node.devices) for node in nodes)
    return [node.devices[place] for place in range(most) for node in nodes if place < len(node.devices)]


def _named(fault: PlannedFault, names: Sequence[DeviceId]) -> DeviceId:
    if fault.device in names:
        return DeviceId(fault.device)
    if fault.device.isdecimal() and int(fault.device[:9]) < len(names):
        return names[int(fault.device)]
    raise _wrong(f"{fault.text!r}: devices are 0 to {len(names) - 1}, or {names[0]} to {names[-1]}, or {ANY}")


def _hindrance(found: Sequence[Strike], strike: Strike) -> Strike | None:
    """One on the same device that leaves it nothing to harm, or is left nothing by it."""
    for other in found:
        first, then = sorted((other, strike), key=lambda each: each.at_s)
        lasts = first.harm == "gone" or first.harm == then.harm == "slow"
        if other.device == strike.device and lasts and then.at_s <= (first.until_s or inf):
            return other
    return None


def _strike(fault: PlannedFault, device: DeviceId, at_s: float) -> Strike:
    harmed = fault.harmed
    return Strike(
        harmed.harm, device, at_s,
        until_s=None if fault.for_s == inf else at_s + fault.for_s,
        count=harmed.count if harmed.harm == "loads" else None,
        factor=harmed.factor if harmed.harm == "slow" else None,
    )  # fmt: skip


def _option(option: str, text: str, known: Sequence[str]) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in option.partition("="))
    if not equals or name not in known:
        raise _wrong(
            f"{text[:80]!r}: there is no option {option[:40]!r}; options are "
            f"{', '.join(f'{each}=' for each in known) or 'none'}"
        )
    return name, value


def _seconds(value: str, text: str) -> float:
    try:
        return parse_seconds(value.strip(), repr(text[:80]))
    except InvalidDeclaration as error:
        raise _wrong(error.message) from None


def _wrong(why: str) -> InvalidArguments:
    return InvalidArguments(f"--fault: {why}", "fault")
