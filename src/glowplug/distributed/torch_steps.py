"""What a torch module does to its input where that is one step after another: sums, clamps, nothing else.

The module's forward is followed with torch.fx, so it does not matter whether it is a Sequential, a loop over
a ModuleList or written out, nor whether a step is a module, a function or a method.
"""

from __future__ import annotations

import operator
from typing import Any

from torch import Tensor, fx, nn

from glowplug.distributed.errors import NotAStack
from glowplug.distributed.torch_calls import (
    CALLS,
    CALLS_ON_SECOND,
    MODULES,
    SAMPLES,
    Clamp,
    Plus,
    Step,
    Sum,
    Times,
    Turned,
    known_hooks,
)

_ROOT = "0"
_KNOWN = "none of Linear, ReLU, ReLU6, Hardtanh, clamp, Identity, Dropout and Flatten, which stacks have"


def steps_of(model: nn.Module) -> list[Sum | Clamp]:
    """In their order. Raises NotAStack with the first step that is none of these."""
    root = nn.Sequential(model)  # so that hooks of the model are followed, and nothing is set on it
    try:
        graph = _Tracer().trace(root)
    except NotAStack:
        raise
    except Exception as error:
        why = str(error).partition("\n")[0]
        raise NotAStack(f"its forward cannot be followed: {type(error).__name__}: {why}") from error
    before = next(node for node in graph.nodes if node.op == "placeholder")
    found = _Found()
    while (node := _only_user(before)).op != "output":
        found.add(_name(node), _step(root, node, before))
        before = node
    if node.args[0] is not before or found.is_turned:
        raise NotAStack("it returns something else than a tensor of a row for each sample")
    return found.steps


class _Found:
    """Steps so far. While it is turned, samples are columns."""

    def __init__(self) -> None:
        self.steps: list[Sum | Clamp] = []
        self.is_turned = False

    def add(self, name: str, step: Step) -> None:
        if isinstance(step, Turned):
            self.is_turned = not self.is_turned
        elif isinstance(step, Sum) and self.is_turned:
            raise NotAStack(f"{name} sums over samples")
        elif isinstance(step, Times):
            if step.is_left is not self.is_turned or step.weight.dim() != 2:
                raise NotAStack(f"{name} does not multiply each sample by a matrix")
            self.steps.append(Sum(name, step.weight if step.is_left else step.weight.t(), None))
        elif isinstance(step, Plus):
            self._plus(name, step.bias)
        elif step is not None:
            self.steps.append(step)

    def _plus(self, name: str, bias: Tensor) -> None:
        last = self.steps[-1] if self.steps else None
        if not isinstance(last, Sum) or last.bias is not None:
            raise NotAStack(f"{name} adds something else than a bias to a sum")
        rows = last.weight.shape[0]
        if tuple(bias.shape) != ((rows, 1) if self.is_turned else (rows,)):
            raise NotAStack(f"{name} adds {tuple(bias.shape)}, and not a bias for each of {rows} rows")
        self.steps[-1] = last._replace(bias=bias.reshape(-1))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).forward in MODULES or super().is_leaf_module(m, module_qualified_name)

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor) and not any(
            a is each for each in (*self.root.parameters(), *self.root.buffers())
        ):
            raise NotAStack("its forward takes a tensor that is neither a parameter nor a buffer")
        return super().create_arg(a)


def _only_user(node: fx.Node) -> fx.Node:
    users = [user for user in node.users if not _asks_shape(user)]
    if len(users) != 1:
        made = "its input" if node.op == "placeholder" else f"what {_name(node)} gives"
        raise NotAStack(f"{made} is used {len(users)} times, and not once")
    return users[0]


def _asks_shape(node: fx.Node) -> bool:
    return (node.op == "call_method" and node.target == "size") or (
        node.target is getattr and node.args[1:] == ("shape",)
    )


def _name(node: fx.Node) -> str:
    if node.op == "call_module":
        return "the model" if node.target == _ROOT else f"layer {str(node.target).removeprefix(f'{_ROOT}.')}"
    return str(getattr(node.target, "__name__", node.target))


def _step(root: nn.Module, node: fx.Node, before: fx.Node) -> Step:
    """Of what is done to the value of `before`."""
    name = _name(node)
    if node.op == "call_module" and node.args == (before,) and not node.kwargs:
        return _module_step(name, root.get_submodule(str(node.target)))
    places = [place for place, each in enumerate(node.args) if each is before]
    if node.op == "call_module" or len(places) != 1 or places[0] > 1:
        raise NotAStack(f"{name} takes what comes before it otherwise than as its one input")
    read = (CALLS, CALLS_ON_SECOND)[places[0]].get(node.target)
    if read is None:
        raise NotAStack(f"its forward calls {name}, which is {_KNOWN}")
    args = [_given(root, each, before, name) for each in node.args if each is not before]
    kwargs = {key: _given(root, each, before, name) for key, each in node.kwargs.items()}
    try:
        return read(*args, **kwargs)
    except TypeError as error:
        raise NotAStack(f"{name}: {error}") from error


def _module_step(name: str, module: nn.Module) -> Step:
    read = MODULES.get(type(module).forward)
    if read is None:
        raise NotAStack(f"{name} ({type(module).__name__}) is {_KNOWN}")
    if not known_hooks(module):
        raise NotAStack(f"{name} has a hook")
    found = read(module)
    return found._replace(name=name) if isinstance(found, Sum) else found


def _given(root: nn.Module, value: Any, before: fx.Node, name: str) -> Any:
    """An argument: a number, a parameter, or how many samples there are."""
    if not isinstance(value, fx.Node):
        return value
    if value.op == "get_attr":
        owner, _, attribute = str(value.target).rpartition(".")
        return getattr(root.get_submodule(owner), attribute)
    if (value.target, value.args) == ("size", (before, 0)):
        return SAMPLES
    if value.target is operator.getitem and value.args[1] == 0:
        shape = value.args[0]
        if isinstance(shape, fx.Node) and _asks_shape(shape) and shape.args[0] is before:
            return SAMPLES
    raise NotAStack(f"{name} takes something else too")
