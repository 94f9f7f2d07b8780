"""What is loaded before anybody asks: which function climbs where, to which step, and what has to go.

A pre-load is a climb that no request waits for. It takes room of its own at a node (a *sandbox* more, or a
step of the ladder), or it is a *guest*: a process inside the idle memory of another function's warm sandbox,
within that sandbox's limit. Costs say which is worth it; a policy does not know what either is made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.core.ladder import Step


class Guest(msgspec.Struct, frozen=True):
    """Loads the function inside an idle sandbox, in place of its owner's model where there is no room beside
    it. Without a `host` that is the free memory of `node`."""

    function: FunctionId
    node: NodeId
    host: InstanceId | None


class Raise(msgspec.Struct, frozen=True):
    """Climbs the function at a node, in room of its own: what is there and worth less than `worth` (seconds
    spared a byte, as a logarithm) may be evicted for it. Given up at `until_s` when there is no room."""

    function: FunctionId
    node: NodeId
    step: Step
    worth: float
    until_s: float


class Drop(msgspec.Struct, frozen=True):
    """Ends what was pre-loaded and not used."""

    instance: InstanceId


class Unstage(msgspec.Struct, frozen=True):
    """Sends the function's zygote down that was staged ahead there and that nothing was forked from."""

    function: FunctionId
    node: NodeId


Decision = Guest | Raise | Drop | Unstage


class SandboxView(Protocol):
    """One warm sandbox. Its room is its limit less what is loaded in it. Where sandboxes have none to spare a
    node's free memory stands for one, which nobody owns and which has no id."""

    @property
    def id(self) -> InstanceId | None: ...

    @property
    def owner(self) -> FunctionId | None: ...

    @property
    def node(self) -> NodeId: ...

    @property
    def is_idle(self) -> bool: ...

    @property
    def room_bytes(self) -> int: ...

    @property
    def yields_bytes(self) -> int:
        """Room beyond that, for which its owner's model would have to go; it is still there."""

    @property
    def guests(self) -> Iterable[InstanceId]: ...


class Quantile(Protocol):
    def __call__(self, share: float, beyond_s: float = 0.0) -> float:
        """Seconds by when something comes with this probability. Those that are no more than `beyond_s` may
        be told as any number up to it."""


class PreloadView(Protocol):
    """What a policy may know. Live and read-only; seconds are absolute where they end a sentence with
    `at`."""

    @property
    def horizon_s(self) -> float:
        """About the time that a load takes: what is needed later can still be fetched just in time."""

    @property
    def byte_price(self) -> float:
        """Seconds of waiting that a byte held for a second has to spare."""

    @property
    def loads_uncalled(self) -> bool:
        """Whether memory that is free is for those, too, that nobody has called yet."""

    def cpu_price(self, node: NodeId) -> float:
        """Seconds of waiting that a second of climbing there has to spare."""

    def line_price(self, node: NodeId) -> float:
        """Seconds that others wait longer for a byte that is not to be had there for a second, by how many
        have been in line for that node's memory lately."""

    def may_load(self, function: FunctionId) -> bool:
        """Whether it is one of them now. What else is said of a function holds only of these, but `idle`,
        `unused` and `climbs_ahead`."""

    def namespace(self, function: FunctionId) -> str: ...

    def sandboxes(self, node: NodeId | None = None) -> Iterable[SandboxView]:
        """Idle or busy, of one node or of all."""

    def ready(self, function: FunctionId) -> int:
        """Instances of it in which it is loaded, or that are on their way."""

    def idle(self, function: FunctionId) -> Iterable[InstanceId]:
        """Those that would answer at once."""

    def unused(self, function: FunctionId) -> Sequence[InstanceId]:
        """Of those the ones that were loaded ahead and have answered nothing yet."""

    def staged_ahead(self, function: FunctionId) -> Sequence[NodeId]:
        """Where its zygote was loaded ahead and is up, and nothing was forked from it for a request."""

    def zygote(self, function: FunctionId) -> tuple[int, float]:
        """What one holds, and the seconds that it spares a request."""

    def climbs_ahead(self, function: FunctionId) -> bool:
        """Whether one more of these is on its way."""

    def is_guest(self, instance: InstanceId) -> bool: ...

    def served_at(self, function: FunctionId) -> NodeId | None:
        """Where it ran, or began to load, last."""

    def homes(self, function: FunctionId) -> Iterable[NodeId]:
        """Nodes in the order in which the function prefers them."""

    def steps_up(self, function: FunctionId, node: NodeId) -> Iterable[tuple[Step, int, float]]:
        """What it could climb to there: the step, the bytes that takes, the seconds that a request would then
        wait for its climb."""

    def waits_s(self, function: FunctionId) -> float:
        """What a request that came now would wait for a climb if no instance were there."""

    def guest_bytes(self, function: FunctionId) -> int:
        """What it takes to load it where nothing of it lies."""

    def held_bytes(self, function: FunctionId) -> Mapping[NodeId, int]:
        """What of that lies at a node already, where it is not nothing."""

    def load_s(self, function: FunctionId) -> float:
        """What loading it takes, from nothing."""

    def room_bytes(self, node: NodeId) -> int:
        """Free, with what is leaving."""

    def displaced_s(self, node: NodeId, need_bytes: int, limit: float) -> float:
        """Seconds of waiting that is spared soon by what would have to go there for so many bytes; infinite
        when they are not to be had of what is worth less than `limit` a byte (as a logarithm)."""

    def rate_per_s(self, function: FunctionId) -> float: ...

    def needed(self, function: FunctionId, from_s: float, until_s: float) -> float:
        """The probability that it is asked for between two times, both from now on, if it is not before."""

    def quantiles(self, function: FunctionId, near_s: float) -> Quantile:
        """By when it will have been asked for again, counted from its last request; infinite when nothing is
        known. For this moment only; found soonest near `near_s`."""


class PreloadPolicy(Protocol):
    """A msgspec Struct, whose fields are its state."""

    @property
    def foresees(self) -> bool:
        """Whether it does anything at all. If not, nothing is predicted, because that costs time."""

    @property
    def ends_unused(self) -> bool:
        """Whether it decides itself when to drop what was loaded ahead in vain. If not, that is kept for
        as long as its function declares."""

    def introduced(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        """It can be called from now on. Told again when it is deployed again after it was undeployed."""

    def arrived(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        """A request came for it."""

    def next_s(self) -> float:
        """When the policy wants to be asked next, without anything happening; infinite for never."""

    def decide(self, view: PreloadView, now_s: float) -> Iterator[Decision]:
        """Called at `next_s` and whenever a sandbox came, went or became idle. Each decision is carried
        out, or turns out to be impossible, before the policy computes the next."""

    def invoked(self, view: PreloadView, host: SandboxView, now_s: float) -> Iterable[InstanceId]:
        """A sandbox begins to serve, for its owner or for a guest: which guests have to go."""

    def forget(self, function: FunctionId) -> None: ...

    def lost(self, node: NodeId) -> None:
        """It is gone, with all that was there."""
