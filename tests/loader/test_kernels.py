"""What a pass computes, as data: noted on the processor, called again anywhere."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug.loader.devices import kernels
from glowplug.loader.devices.base import not_wanted
from tests.loader.nets import ConvNet, TiedTransformer

LINEAR = [
    "linear",
    "default",
    [
        {"shape": [1, 8], "stride": [8, 1], "dtype": "float32"},
        {"shape": [4, 8], "stride": [8, 1], "dtype": "float32"},
        {"shape": [4], "stride": [1], "dtype": "float32"},
    ],
    {},
]


def record(model: Any, *inputs: Any) -> bytes:
    return kernels.record(lambda: model(*inputs))


def calls(recorded: bytes) -> list[Any]:
    found: list[Any] = msgspec.msgpack.decode(recorded) if recorded else []
    return found


def said(*found: Any) -> bytes:
    return msgspec.msgpack.encode(list(found))


def times(most: int) -> Callable[[], bool]:
    """Wanted after so many calls."""
    left: Iterator[bool] = iter([False] * most)
    return lambda: next(left, True)


@pytest.mark.parametrize(
    ("model", "inputs", "computes"),
    [
        (ConvNet, (torch.zeros(1, 3, 9, 9),), {"conv2d", "batch_norm", "relu", "mean", "linear"}),
        (TiedTransformer, (torch.zeros(1, 7, dtype=torch.long),), {"embedding", "mul", "add", "linear"}),
    ],
)
def test_a_pass_is_computed_again_by_its_record_alone(
    model: Callable[[], Any], inputs: tuple[Any, ...], computes: set[str]
) -> None:
    recorded = record(model().eval(), *inputs)
    names = {call[0] for call in calls(recorded)}
    assert computes <= names
    assert not names & {"view", "t", "transpose", "slice"}, "nothing is loaded for another view"
    done: list[int] = []
    again = kernels.record(lambda: done.append(kernels.replay([recorded], "cpu", not_wanted)))
    assert done == [len(calls(recorded))]
    assert {msgspec.msgpack.encode(call) for call in calls(recorded)} <= {
        msgspec.msgpack.encode(call) for call in calls(again)
    }


def test_attention_is_noted_as_it_is_written_and_not_as_what_this_device_makes_of_it() -> None:
    query = torch.zeros(1, 2, 5, 8)
    recorded = record(torch.nn.functional.scaled_dot_product_attention, query, query, query)
    assert [call[0] for call in calls(recorded)] == ["scaled_dot_product_attention"]
    assert kernels.replay([recorded], "cpu", not_wanted) == 1


def test_the_same_calls_are_kept_once_and_called_once() -> None:
    layer = torch.nn.Linear(8, 4)
    recorded = record(
        torch.nn.Sequential(layer, torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)), torch.zeros(1, 8)
    )
    assert [call[0] for call in calls(recorded)] == ["linear", "linear"]
    assert kernels.replay([recorded, recorded, record(layer, torch.zeros(1, 8))], "cpu", not_wanted) == 2


def test_no_value_of_a_tensor_is_kept() -> None:
    secret = torch.full((1, 8), 1234.5)
    recorded = record(torch.nn.Linear(8, 4), secret)
    assert calls(recorded) == [LINEAR]


def test_a_record_has_a_bound_and_keeps_the_first_calls() -> None:
    def widths() -> None:
        for width in range(1, 2000):
            torch.zeros(1, width).sum()

    recorded = kernels.record(widths)
    assert len(recorded) <= kernels.MOST_BYTES
    found = calls(recorded)
    assert 50 < len(found) < 2000
    assert found[0][2][0]["shape"] == [1, 1]
    assert kernels.replay([recorded], "cpu", times(7)) == 7


def test_it_stops_when_the_device_is_wanted() -> None:
    recorded = record(ConvNet().eval(), torch.zeros(1, 3, 9, 9))
    assert kernels.replay([recorded], "cpu", lambda: True) == 0
    assert kernels.replay([recorded], "cpu", times(2)) == 2


def tensor(shape: list[int], stride: list[int], dtype: str = "float32") -> dict[str, Any]:
    return {"shape": shape, "stride": stride, "dtype": dtype}


@pytest.mark.parametrize(
    "hostile",
    [
        b"no record",
        b"\x91" * 20_000 + b"\x00",
        msgspec.msgpack.encode({"addmm": 1}),
        said(["addmm"]),
        said(["no_such_operation", "default", [tensor([2], [1])], {}]),
        said(["__class__", "default", [tensor([2], [1])], {}]),
        said(["from_file", "default", ["/etc/hostname", False, 4], {}]),
        said(["resize_", "default", [tensor([2], [1]), [2**40]], {}]),
        said(["as_strided", "default", [tensor([2], [1]), [2**20], [1]], {}]),
        said(["zeros", "default", [[2**40]], {}]),
        said(["relu", "default", [tensor([2**40], [1])], {}]),
        said(["relu", "default", [tensor([2**20, 2**20], [2**20, 1])], {}]),
        said(["relu", "default", [tensor([-5], [1])], {}]),
        said(["relu", "default", [tensor([5], [-1])], {}]),
        said(["relu", "default", [tensor([5, 5], [1])], {}]),
        said(["relu", "default", [tensor([5], [1], "Tensor")], {}]),
        said(["relu", "default", [tensor([5], [1], "no_dtype")], {}]),
        said(["relu", "default", [{"dtype": "load"}], {}]),
    ],
)
def test_what_nobody_could_have_recorded_is_not_called(hostile: bytes) -> None:
    assert kernels.replay([hostile, said(LINEAR)], "cpu", not_wanted) == 1, "and harms no other"


def test_what_is_no_plain_value_is_left_out() -> None:
    def run() -> None:
        torch.rand(3, generator=torch.Generator())
        torch.relu(torch.zeros(3).to_sparse().to_dense())

    assert "rand" not in {call[0] for call in calls(kernels.record(run))}


def test_an_error_of_the_model_is_its_own() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        kernels.record(fail)
