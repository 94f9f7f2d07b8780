"""Which modules of a model are a chain: watched while it runs once.

A chain is a sequence of modules, each called once, each given what the one before returned and the same other
arguments, while nobody else looks at what passes between them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from glowplug.distributed.errors import CannotCut
from glowplug.distributed.stages import Call, call_of, hidden_of, same

_MOST_COUNTED = 64
"""Chains that are longer count as one another."""
_Found = tuple[float, int, tuple[int, ...]]


class Block(NamedTuple):
    """One module of a chain. `returns` as in `stages.hidden_of`; `hidden_bytes` has what it passes on."""

    path: str
    nbytes: int
    flops: float
    returns: int
    hidden_bytes: int = 0


class _Seen(NamedTuple):
    path: str
    call: Call
    hidden: Tensor
    returns: int
    began: int
    ended: int


class _Watch(TorchFunctionMode):
    """Counts steps: each function and each beginning and end of a module is one."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        self.uses: defaultdict[int, list[int]] = defaultdict(list)
        self.calls: list[_Seen] = []
        self.counts: Counter[str] = Counter()
        self.flops: defaultdict[str, float] = defaultdict(float)
        """By module, without those in it."""
        self.kept: list[Any] = []
        """So that no number of a tensor is used again."""
        self.result: Any = None
        self._open: list[tuple[str, Call | None, int]] = []
        self._root_calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._open:
            self.step += 1
            self._used((args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _used(self, value: Any) -> None:
        if isinstance(value, Tensor):
            self.uses[id(value)].append(self.step)
        elif isinstance(value, (tuple, list)):
            for item in value:
                self._used(item)
        elif isinstance(value, dict):
            for item in value.values():
                self._used(item)

    def enter(self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not path:
            self._root_calls += 1
        if self._root_calls != 1 or (path and not self._open):
            return
        self.step += 1
        self.counts[path] += 1
        self._open.append((path, call_of(args, kwargs), self.step))

    def leave(self, path: str, module: nn.Module, output: Any) -> None:
        if not self._open or self._open[-1][0] != path:
            return
        self.step += 1
        self.flops[path] += _flops_of(module, output)
        _, call, began = self._open.pop()
        hidden, returns = hidden_of(output)
        self.kept.append((call, output))
        if not path:
            self.result = output
        elif call is not None and hidden is not None and isinstance(call.hidden, Tensor):
            self.calls.append(_Seen(path, call, hidden, returns, began, self.step))


def chains_of(model: nn.Module, run: Callable[[], object], least: int) -> tuple[list[list[Block]], float]:
    """Chains of at least `least` blocks, for each number the one that holds the most of `model`; and the
    FLOPs of all of the model. `run` makes the model answer once.

    Raises CannotCut naming the longest chain that there is, and what `run` raises.
    """
    watch = _watched(model, run)
    if not watch.counts:
        raise CannotCut("its example() never calls its model")
    sizes = {path: module_bytes(module) for path, module in model.named_modules()}
    flops = _summed(watch.flops, sizes)
    total_bytes, total_flops = sizes[""] or 1, flops[""] or 1.0
    calls = [seen for seen in watch.calls if watch.counts[seen.path] == 1]
    weights = [sizes[seen.path] / total_bytes + flops[seen.path] / total_flops for seen in calls]
    chains = [
        [_block(calls[n], sizes, flops) for n in found]
        for found in _heaviest(calls, _links(calls, watch), weights, least)
    ]
    return chains, flops[""]


def _block(seen: _Seen, sizes: dict[str, int], flops: dict[str, float]) -> Block:
    return Block(seen.path, sizes[seen.path], flops[seen.path], seen.returns, seen.hidden.nbytes)


def module_bytes(module: nn.Module) -> int:
    """Its parameters and buffers, each once."""
    tensors = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _watched(model: nn.Module, run: Callable[[], object]) -> _Watch:
    """What the first call of the model does."""
    watch, handles = _Watch(), []

    def hook(path: str, module: nn.Module) -> None:
        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            watch.enter(path, args, kwargs)

        def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            watch.leave(path, module, output)

        try:
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(after, with_kwargs=True))
        except RuntimeError:
            return  # a scripted module takes no such hooks, and cannot be a block

    try:
        for path, module in model.named_modules():
            hook(path, module)
        with watch, torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return watch


def _flops_of(module: nn.Module, output: Any) -> float:
    """What its own weights take: two for each, at each place of its output. What has none counts for nothing:
    it is little beside them, and a lookup is none."""
    found, _ = hidden_of(output)
    if type(output) is tuple and output and isinstance(output[0], Tensor):
        found = output[0]
    weights = [each for each in module.parameters(recurse=False) if each.ndim >= 2]
    if found is None or not found.ndim or not weights or isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return 0.0
    channels = found.shape[1] if weights[0].ndim > 2 and found.ndim > 1 else found.shape[-1]
    return sum(2.0 * each.numel() * found.numel() / max(1, channels) for each in weights)


def _summed(own: dict[str, float], paths: Iterable[str]) -> dict[str, float]:
    """By module what it and all modules in it take."""
    return {
        path: sum(flops for name, flops in own.items() if not path or f"{name}.".startswith(f"{path}."))
        for path in paths
    }


def _links(calls: list[_Seen], watch: _Watch) -> list[list[int]]:
    """By call those that may stand before it in a chain."""
    returned: defaultdict[int, list[int]] = defaultdict(list)
    for number, seen in enumerate(calls):
        returned[id(seen.hidden)].append(number)
    result = {id(tensor) for tensor in _tensors(watch.result)}
    links: list[list[int]] = []
    for seen in calls:
        passed = id(seen.call.hidden)
        stays = seen.hidden is seen.call.hidden
        links.append([
            number
            for number in returned[passed]
            if calls[number].ended < seen.began
            and (stays or passed not in result)
            and same(calls[number].call.rest, seen.call.rest)
            and not _is_seen(watch.uses[passed], calls[number].ended, seen, stays=stays)
        ])  # fmt: skip
    return links


def _is_seen(uses: list[int], returned: int, by: _Seen, *, stays: bool) -> bool:
    """Whether anybody but `by` uses a tensor after it was returned. Where `by` returns it again (it works in
    place, or does nothing), what comes after uses that."""
    return any(step > returned and not by.began < step <= by.ended and not (stays and step > by.ended)
               for step in uses)  # fmt: skip


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


def _heaviest(
    calls: list[_Seen], links: list[list[int]], weights: list[float], least: int
) -> list[tuple[int, ...]]:
    """By number of calls in it, from `least` on, the chain of the greatest weight; the last one may have more
    than _MOST_COUNTED."""
    most = max(least, _MOST_COUNTED)
    # best[n][k]: weight, length and chain of the best that ends with n and has k calls, or `most` and more.
    best: list[dict[int, _Found]] = []
    for number, before in enumerate(links):
        mine: dict[int, _Found] = {1: (weights[number], 1, (number,))}
        for other in before:
            for count, (weight, length, chain) in best[other].items():
                grown = (weight + weights[number], length + 1, (*chain, number))
                key = min(count + 1, most)
                if key not in mine or _order(grown) > _order(mine[key]):
                    mine[key] = grown
        best.append(mine)
    whole: dict[int, _Found] = {}
    for mine in best:
        for count, found in mine.items():
            if count not in whole or _order(found) > _order(whole[count]):
                whole[count] = found
    if max(whole, default=0) < least:
        longest = whole[max(whole)][2] if whole else ()
        raise CannotCut(
            f"{least} workers need a chain of at least {least} modules, each called once with what the one "
            f"before it returned; the longest here has {len(longest)}"
            + (f" ({calls[longest[0]].path} to {calls[longest[-1]].path})" if longest else "")
        )
    return [whole[count][2] for count in sorted(whole) if count >= least]


def _order(found: _Found) -> tuple[float, int]:
    return round(found[0], 9), found[1]
