"""What models are given and return, as plain values, and when two of them are the same to the bit."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug.core.errors import InvalidDeclaration  # noqa: E402
from glowplug.distributed.torch_values import plain, same_bits  # noqa: E402

pytestmark = pytest.mark.torch


class Pair(NamedTuple):
    one: object
    other: object


def test_mappings_become_dicts_and_named_tuples_tuples() -> None:
    x = torch.ones(2)
    found = plain(Pair(OrderedDict(a=x), [None, 1, "text"]), "it")
    assert type(found) is tuple
    assert type(found[0]) is dict
    assert found[0]["a"] is x
    assert found[1] == [None, 1, "text"]


@pytest.mark.parametrize(("value", "said"), [({1: 2}, "keys that are no text"), ((object(),), "a object:")])
def test_what_cannot_be_carried_is_refused(value: object, said: str) -> None:
    with pytest.raises(InvalidDeclaration, match=f"it has .*{said}"):
        plain(value, "it")


def test_bits_are_compared() -> None:
    x, nan = torch.tensor([0.0, 1.0]), torch.tensor([float("nan")])
    assert same_bits({"a": (x, [nan])}, {"a": (x.clone(), [nan.clone()])})
    assert not same_bits(x, torch.tensor([-0.0, 1.0]))
    assert not same_bits(x, x.double())
    assert not same_bits(x, x[:1])
    assert not same_bits({"a": x}, {"b": x})
    assert not same_bits((x,), [x])
    assert not same_bits(x, 1.0)
    assert same_bits(torch.empty(0), torch.empty(0))
    assert same_bits(float("nan"), float("nan"))
