"""What a trace sees, and that nothing of it stays."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from torch import nn

from glowplug import loader
from glowplug.loader.roots import find_roots, resolve
from tests.loader import nets

pytestmark = pytest.mark.torch


def names(seen: Any, module: nn.Module) -> list[str]:
    known = {id(t): name for name, t in (*module.named_parameters(), *module.named_buffers())}
    return [known[id(tensor)] for tensor in seen.order]


def hooks_of(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_tensors_come_in_the_order_of_their_use_and_unused_ones_last() -> None:
    model = nets.Reversed()
    with loader.trace(model) as seen:
        model(torch.ones(1, 4))
    assert names(seen, model) == [
        "first.weight", "first.bias", "last.weight", "last.bias", "spare.weight", "spare.bias",
    ]  # fmt: skip


def test_a_module_whose_weights_are_used_without_calling_it_counts_as_used() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    model = nn.ModuleDict({"unused": nn.Linear(2, 2), "attention": attention, "after": nn.Linear(8, 2)})
    x = torch.ones(1, 3, 8)
    with loader.trace(model) as seen:
        model["after"](attention(x, x, x)[0])
    order = names(seen, model)
    assert (
        order.index("attention.out_proj.weight") < order.index("after.weight") < order.index("unused.weight")
    )


def test_the_pack_lays_weights_out_in_that_order(tmp_path: Path) -> None:
    info = loader.pack(nets.Reversed().eval(), torch.ones(1, 4), tmp_path / "a.pack")
    assert info.units[0].layers[:3] == ("first", "last", "spare")


def test_the_first_arguments_of_the_outermost_call_are_kept_as_they_were() -> None:
    holder = nets.Holder(nets.TiedTransformer().eval())
    ids = torch.tensor([[1, 2, 3]])
    with loader.trace(holder) as seen:
        holder.model(ids, scale=0.5)
        holder.model(torch.tensor([[4]]))
    ids.zero_()
    assert seen.prime is not None
    (call,) = seen.prime.calls
    args, kwargs = call.arguments()
    assert (call.root, args[0].tolist(), kwargs) == ("model", [[1, 2, 3]], {"scale": 0.5})
    seen.prime.run(holder)


def test_several_modules_each_have_their_call() -> None:
    parts = {"encode": nn.Linear(2, 3), "decode": nn.Linear(3, 2)}
    holder = nets.Holder(nn.Identity(), parts=parts)
    with loader.trace(holder) as seen:
        parts["decode"](parts["encode"](torch.ones(1, 2)))
    assert seen.prime is not None
    assert [call.root for call in seen.prime.calls] == ["others.parts.encode", "others.parts.decode"]


def test_arguments_that_cannot_be_kept_are_no_error() -> None:
    class Local(nn.Module):
        def forward(self, callback: Any) -> Any:
            return callback(1)

    model = Local()
    with loader.trace(model) as seen:
        assert model(lambda x: x) == 1
    assert seen.prime is None


def test_hooks_are_gone_whatever_happens() -> None:
    model = nets.Reversed()
    with pytest.raises(RuntimeError), loader.trace(model) as seen:
        model(torch.ones(1, 5))
    assert hooks_of(model) == 0
    assert len(seen.order) == 6


def test_seconds_of_inner_modules_are_not_counted_twice() -> None:
    model = nets.TiedTransformer().eval()
    with loader.trace(model) as seen:
        model(torch.zeros(1, 3, dtype=torch.long))
    assert {"", "tokens", "layers.0", "out"} <= seen.compute_s.keys()
    assert all(seconds >= 0 for seconds in seen.compute_s.values())


def test_roots_are_found_and_found_again() -> None:
    inner, other = nn.Linear(1, 1), nn.Linear(1, 1)
    holder = nets.Holder(nn.Sequential(inner), list=[1, other], again=inner, text="x")
    roots = find_roots(holder)
    assert roots.keys() == {"model", "others.list.1", "others.again"}
    assert all(resolve(holder, path) is root for path, root in roots.items())
    assert resolve(holder, "model.0") is inner
    with pytest.raises(LookupError, match="absent"):
        resolve(holder, "others.absent")
