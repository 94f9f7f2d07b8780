"""Cutting a torch model into stages for several workers, and the modules that stand for what is elsewhere.

    worker 0, the head      everything that is in no chain, and the chain's first blocks
    worker k                a range of the chain's blocks, as a `Stage`

The head's forward is the author's. Where it comes to the first block that is elsewhere it hands over what it
would have called that with; where it comes to the last one it takes back what the last worker returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from glowplug.distributed import carry
from glowplug.distributed.errors import CannotCut
from glowplug.distributed.turn import Turn


class Call(NamedTuple):
    """How a block is called: the tensor that passes from block to block, and all else, which does not change.
    `name` is that tensor's where it is given by name, else it is the first one."""

    hidden: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    name: str = ""

    @property
    def rest(self) -> tuple[Any, ...]:
        return (self.args, self.kwargs, self.name)


def call_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
    """None where a block is called with nothing."""
    if args:
        return Call(args[0], args[1:], kwargs)
    if not kwargs:
        return None
    name = next(iter(kwargs))
    return Call(kwargs[name], (), {key: value for key, value in kwargs.items() if key != name}, name)


def hidden_of(output: Any) -> tuple[Tensor | None, int]:
    """The tensor that a block passes on, and how many it returns in a tuple: (tensor, None, ...); 0 for the
    tensor itself. None for any other output."""
    if isinstance(output, Tensor):
        return output, 0
    if type(output) is tuple and output and isinstance(output[0], Tensor) and not any(
        item is not None for item in output[1:]
    ):  # fmt: skip
        return output[0], len(output)
    return None, 0


def same(one: Any, other: Any) -> bool:
    """Whether two arguments are the same tensors, or equal plain values."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return one is other
    if type(one) is not type(other):
        return False
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return bool(one is other or one == other)


class Peer(Protocol):
    """The other workers, as the head sees them. Each of its threads begins and finishes its own calls."""

    def begin(self, call: Call) -> None: ...

    def finish(self) -> Tensor: ...


class Ahead:
    """What the head has instead of a tensor that only other workers see. It has no operation: whoever looks
    at it fails."""

    def __repr__(self) -> str:
        return "a value that another worker has"


class Handover:
    """Shared by all stand-ins of one model, and by the threads that call it. It is pickled without its
    peer."""

    def __init__(self) -> None:
        self.peer: Peer | None = None
        self._turn = Turn()
        self._begun: dict[int, tuple[Ahead, tuple[Any, ...]]] = {}
        """By thread what stands for its call's value, and what does not change in the call."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, _: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]

    def take_turns(self, model: nn.Module) -> None:
        """Of the threads that call `model` one computes at a time; while it waits for others, another
        does."""
        model.register_forward_pre_hook(lambda *_: self._turn.take())
        model.register_forward_hook(lambda *_: self._let_go(), always_call=True)

    def begin(self, call: Call) -> Ahead:
        if self.peer is None:
            raise RuntimeError("this is one part of a model whose others are not here")
        self.peer.begin(call)
        ahead = Ahead()
        self._begun[get_ident()] = ahead, call.rest
        return ahead

    def passed(self, call: Call) -> Ahead:
        ahead, rest = self._begun.get(get_ident(), (None, ()))
        if ahead is None or call.hidden is not ahead or not same(call.rest, rest):
            raise CannotCut("a block was called with something else than what the one before it was")
        return ahead

    def finish(self) -> Tensor:
        self._begun.pop(get_ident(), None)
        assert self.peer is not None
        was_ours = self._turn.leave()
        found = self.peer.finish()
        if was_ours:
            self._turn.take()
        return found

    def _let_go(self) -> None:
        self._turn.leave()


class Elsewhere(nn.Module):
    """Stands in the head's model for a block that another worker has."""

    def __init__(self, handover: Handover, returns: int, *, is_first: bool, is_last: bool) -> None:
        super().__init__()
        self.handover = handover
        self.returns, self.is_first, self.is_last = returns, is_first, is_last

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        call = call_of(args, kwargs)
        if call is None:
            raise CannotCut("a block was called without arguments")
        found: Any = self.handover.begin(call) if self.is_first else self.handover.passed(call)
        if self.is_last:
            found = self.handover.finish()
        return (found, *[None] * (self.returns - 1)) if self.returns else found


class Stage(nn.Module):
    """A range of a chain's blocks."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, call: Call) -> Call:
        hidden = call.hidden
        for block in self.blocks:
            if call.name:
                output = block(**{call.name: hidden}, **call.kwargs)
            else:
                output = block(hidden, *call.args, **call.kwargs)
            hidden, _ = hidden_of(output)
            if hidden is None:
                raise CannotCut(f"a {type(block).__name__} returned something else than on its example")
        return call._replace(hidden=hidden)


class Together:
    """All other stages in this process, through the same encoding as between workers."""

    def __init__(self, stages: Sequence[Callable[[Call], Call]]) -> None:
        self._stages = stages
        self._found: Call | None = None

    def begin(self, call: Call) -> None:
        for stage in self._stages:
            call = stage(Call(*carry.unpack(carry.pack(tuple(call)))))
        self._found = call

    def finish(self) -> Tensor:
        assert self._found is not None
        found: Tensor = carry.unpack(carry.pack(self._found.hidden))
        self._found = None
        return found


def handover_in(modules: Sequence[nn.Module]) -> Handover | None:
    """That of the model among these which was cut."""
    for module in modules:
        for each in module.modules():
            if isinstance(each, Elsewhere):
                return each.handover
    return None
