"""Torch models that are stacks of sparse linear layers: the network answers as the model does."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the torch extra")
pytest.importorskip("numba", reason="pip install 'glowplug[distributed]'")
pytest.importorskip("scipy", reason="pip install 'glowplug[distributed]'")
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.utils import parametrize, prune  # noqa: E402

from glowplug.distributed.assignment import pipeline, rows  # noqa: E402
from glowplug.distributed.errors import NotAStack  # noqa: E402
from glowplug.distributed.network import Activation, Floats  # noqa: E402
from glowplug.distributed.partition.baselines import random as random_partition  # noqa: E402
from glowplug.distributed.partition.result import Settings  # noqa: E402
from glowplug.distributed.run_options import RunOptions  # noqa: E402
from glowplug.distributed.runner import run  # noqa: E402
from glowplug.distributed.stored import StoredNetwork  # noqa: E402
from glowplug.distributed.torch_calls import Clamp  # noqa: E402
from glowplug.distributed.torch_network import MOST_DENSITY, is_answer, sparse_network_of  # noqa: E402
from glowplug.distributed.workload.serial import serial  # noqa: E402
from tests.depth import examples  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:Sparse (CSR|CSC|BSR) tensor support is in beta"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks"),
]
INPUTS, ROWS = 40, 30
TOLERANCE = 1e-5
"""Of answers about as large as 1: torch sums 30 or 40 products in another order than ours."""


def sparse(rows: int, inputs: int, density: float = 0.15, seed: int = 0) -> Tensor:
    rng = np.random.default_rng((seed, rows, inputs))
    values = rng.normal(size=(rows, inputs)) * (rng.random((rows, inputs)) < density)
    return torch.from_numpy(values.astype(np.float32))


def linear(rows: int = ROWS, inputs: int = INPUTS, seed: int = 0, *, bias: bool = True) -> nn.Linear:
    made = nn.Linear(inputs, rows, bias=bias)
    with torch.no_grad():
        made.weight.copy_(sparse(rows, inputs, seed=seed))
        if bias:
            made.bias.copy_(sparse(1, rows, 0.7, seed)[0])
    return made


def with_layout(change: Callable[[Tensor], Tensor]) -> nn.Linear:
    made = linear()
    made.weight = nn.Parameter(change(made.weight.detach()), requires_grad=False)
    return made


def pruned() -> nn.Linear:
    made = nn.Linear(INPUTS, ROWS)
    prune.random_unstructured(made, "weight", 0.85)
    prune.l1_unstructured(made, "bias", 3)
    with torch.no_grad():
        made.weight_orig *= 2  # the attribute is that of the last forward: older
    return made


class Masked(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * (sparse(ROWS, INPUTS) != 0)


def parametrized() -> nn.Module:
    made = nn.Linear(INPUTS, ROWS)
    parametrize.register_parametrization(made, "weight", Masked())
    return made


class Written(nn.Module):
    """A forward of its own over one sparse matrix."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.own = forward
        self.one, self.two = linear(), linear(ROWS, ROWS, 1)
        self.many = nn.ModuleList(linear(ROWS, ROWS, seed) for seed in range(3))
        self.register_buffer("matrix", sparse(ROWS, INPUTS).to_sparse())
        self.weight = nn.Parameter(sparse(ROWS, INPUTS).to_sparse(), requires_grad=False)
        self.right = nn.Parameter(sparse(ROWS, INPUTS).t().contiguous())
        self.bias = nn.Parameter(sparse(1, ROWS, 0.7)[0])
        self.column = nn.Parameter(sparse(1, ROWS, 0.7).t())

    def forward(self, x: Tensor) -> Any:
        return self.own(self, x)


def looped(module: Written, x: Tensor) -> Tensor:
    x = functional.relu(module.one(x))
    for each in module.many:
        x = each(x).clamp(0, 3)
    return x


class Halved(nn.Linear):
    """Inherits what is a linear layer's, and does something else."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


ACCEPTED: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.Sequential(linear(), nn.ReLU()),
    "relu6": lambda: nn.Sequential(linear(), nn.ReLU6(), linear(20, ROWS, 1), nn.ReLU6()),
    "hardtanh": lambda: nn.Sequential(linear(), nn.Hardtanh(0, 0.5), linear(9, ROWS, 2)),
    "a floor below zero": lambda: nn.Sequential(linear(), nn.Hardtanh(), linear(9, ROWS, 2), nn.Hardtanh()),
    "a floor above zero": lambda: nn.Sequential(linear(), nn.Hardtanh(0.1, 0.7), linear(9, ROWS, 2)),
    "no activation": lambda: nn.Sequential(linear(), linear(20, ROWS, 1)),
    "no bias": lambda: nn.Sequential(linear(bias=False), nn.ReLU(), linear(9, ROWS, bias=False), nn.ReLU()),
    "passed over": lambda: nn.Sequential(
        nn.Flatten(), nn.Identity(), nn.Dropout(0.5), nn.Sequential(linear(), nn.ReLU()), nn.Flatten()
    ),
    "one after another": lambda: nn.Sequential(linear(), nn.ReLU(), nn.Hardtanh(-1, 0.4), nn.ReLU6()),
    "twice": lambda: (lambda one: nn.Sequential(linear(), one, nn.ReLU(), one))(linear(ROWS, ROWS, 1)),
    "a layer alone": linear,
    "csr": lambda: nn.Sequential(with_layout(Tensor.to_sparse_csr), nn.ReLU()),
    "csc": lambda: nn.Sequential(with_layout(Tensor.to_sparse_csc), nn.ReLU()),
    "bsr": lambda: nn.Sequential(with_layout(lambda weight: weight.to_sparse_bsr((5, 5))), nn.ReLU()),
    "pruned": lambda: nn.Sequential(pruned(), nn.ReLU()),
    "parametrized": lambda: nn.Sequential(parametrized(), nn.ReLU()),
    "a loop": lambda: Written(looped),
    "coo": lambda: Written(lambda m, x: functional.relu(torch.sparse.mm(m.matrix, x.t()).t() + m.bias)),
    "coo parameter": lambda: Written(lambda m, x: (torch.sparse.mm(m.weight, x.T) + m.column).T.relu()),
    "an operator": lambda: Written(lambda m, x: (m.matrix @ x.t()).t()),
    "from the right": lambda: Written(lambda m, x: torch.clamp(m.bias + x @ m.right, max=0.3)),
    "functions": lambda: Written(
        lambda m, x: functional.dropout(functional.relu6(functional.linear(x, m.one.weight)), 0.5, m.training)
    ),
    "viewed": lambda: Written(lambda m, x: m.one(x.view(x.size(0), -1))),
    "shaped": lambda: Written(lambda m, x: m.one(x.reshape(x.shape[0], -1)).clamp_min(0)),
    "flat": lambda: Written(lambda m, x: m.one(torch.flatten(x.view(-1, INPUTS), 1))),
}  # fmt: skip


def some_rows(samples: int = 17, inputs: int = INPUTS) -> Tensor:
    return torch.from_numpy(np.random.default_rng(3).normal(size=(samples, inputs)).astype(np.float32))


@torch.no_grad()
def answers(model: nn.Module, network: StoredNetwork, x: Tensor) -> tuple[Floats, Floats]:
    """Of the model, and of the network on one worker."""
    return model(x).numpy().T, serial(network, np.ascontiguousarray(x.numpy().T))


@pytest.mark.parametrize("form", ACCEPTED)
def test_a_stack_answers_as_the_model_does(form: str) -> None:
    torch.manual_seed(0)
    model = ACCEPTED[form]().eval()
    before = list(vars(model))
    network = sparse_network_of(model)
    assert list(vars(model)) == before, "nothing is left on it"
    x = some_rows()
    expected, found = answers(model, network, x)
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert is_answer(network, x.numpy().T, expected)
    assert not is_answer(network, x.numpy().T, expected + np.float32(1e-3))
    assert not is_answer(network, x.numpy().T, expected[:, 1:])


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "gelu": (lambda: nn.Sequential(linear(), nn.GELU()), r"layer 1 \(GELU\) is none of Linear"),
    "norm": (lambda: nn.Sequential(nn.LayerNorm(INPUTS), linear()), r"layer 0 \(LayerNorm\) is none of"),
    "inside": (lambda: nn.Sequential(nn.Sequential(linear(), nn.Tanh())), r"layer 0.1 \(Tanh\) is none of"),
    "itself": (lambda: nn.Embedding(9, 9), r"the model \(Embedding\) is none of"),
    "residual": (
        lambda: Written(lambda m, x: (lambda y: y + functional.relu(m.two(y)))(m.one(x))),
        "what layer one gives is used 2 times",
    ),
    "two inputs": (lambda: Written(lambda m, x: x + m.one(x)), "its input is used 2 times"),
    "two outputs": (lambda: Written(lambda m, x: (m.one(x),)), "something else than a tensor"),
    "turned": (lambda: Written(lambda m, x: m.one(x).t()), "something else than a tensor of a row for each"),
    "over samples": (lambda: Written(lambda m, x: m.one(x.t())), "layer one sums over samples"),
    "from the wrong side": (
        lambda: Written(lambda m, x: torch.sparse.mm(m.matrix, x)),
        "does not multiply each sample",
    ),
    "two sums": (lambda: Written(lambda m, x: m.one(x) + m.bias), "adds something else than a bias to a sum"),
    "a bias of another shape": (lambda: Written(lambda m, x: x @ m.right + m.column), r"adds \(30, 1\)"),
    "a vector": (lambda: Written(lambda m, x: functional.linear(x, m.bias)), r"linear multiplies by \(30,\)"),
    "a bias of two dimensions": (
        lambda: Written(lambda m, x: functional.linear(x, m.one.weight, m.column)),
        "linear adds something else than a bias for each of 30 rows",
    ),
    "a number": (lambda: Written(lambda m, x: x @ m.right + 1), "adds something else than a parameter"),
    "a branch": (
        lambda: Written(lambda m, x: m.one(x) if x.sum() > 0 else x),
        "cannot be followed: TraceError",
    ),
    "a constant": (lambda: Written(lambda m, x: m.one(x) * torch.ones(ROWS)), "neither a parameter nor"),
    "a computed weight": (
        lambda: Written(lambda m, x: functional.linear(x, m.one.weight * m.one.weight)),
        "linear takes something else too",
    ),
    "inherits": (lambda: nn.Sequential(Halved(INPUTS, ROWS)), "its forward calls truediv"),
    "hooked": (
        lambda: (lambda one: (one.register_forward_hook(lambda *_: None), one)[1])(linear()),
        "the model has a hook",
    ),
    "hooked outside": (
        lambda: (lambda one: (one.register_forward_hook(lambda _, __, y: y * y), one)[1])(
            nn.Sequential(linear())
        ),
        "mul",
    ),
    "training": (lambda: nn.Sequential(linear(), nn.Dropout().train()), "in training mode"),
    "dimensions": (lambda: nn.Sequential(nn.Flatten(0), linear()), "flattens dimensions 0 to -1"),
    "doubles": (lambda: nn.Sequential(linear().double(), nn.ReLU()), r"layer 0 is torch.float64"),
    "meta": (lambda: nn.Sequential(linear().to("meta"), nn.ReLU()), "on the meta device"),
    "not finite": (
        lambda: nn.Sequential(with_layout(lambda weight: weight / 0)),
        "layer 0 has weights that are not finite",
    ),
    "a bias that is not finite": (
        lambda: (lambda one: (one.bias.data.fill_(inf), nn.Sequential(one))[1])(linear()),
        "layer 0 has a bias that is not finite",
    ),
    "nothing": (lambda: nn.Sequential(nn.Identity()), "no linear layer"),
    "zeros": (lambda: nn.Sequential(with_layout(torch.zeros_like)), "all of its weights are zero"),
    "first": (lambda: nn.Sequential(nn.ReLU(), linear()), "before its first linear layer"),
    "dense": (
        lambda: nn.Sequential(nn.Linear(INPUTS, ROWS), nn.ReLU()),
        "100% of its weights are not zero, and above 25% it is dense",
    ),
    "shapes": (lambda: nn.Sequential(linear(), linear(9, 7)), "layer 1 reads 7 rows, but is given 30"),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_no_stack_says_why(form: str) -> None:
    made, why = REFUSED[form]
    model = made()
    if form != "training":
        model.eval()
    with pytest.raises(NotAStack, match=why):
        sparse_network_of(model)


def test_a_dense_model_is_refused_before_anything_is_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a layer is made from takes several times its weights' bytes."""

    def make(weight: Tensor) -> Tensor:
        raise AssertionError("a dense layer's indices are made")

    model = nn.Sequential(nn.Linear(INPUTS, ROWS), nn.ReLU(), nn.Linear(ROWS, ROWS))
    monkeypatch.setattr(Tensor, "to_sparse_coo", make)
    with pytest.raises(NotAStack, match="above 25% it is dense"):
        sparse_network_of(model)


def test_one_dense_layer_among_sparse_ones_is_let_through() -> None:
    head = nn.Linear(ROWS, 3)
    network = sparse_network_of(nn.Sequential(linear(), nn.ReLU(), head))
    assert network.edges(1) == head.weight.numel()


def test_zeros_that_are_stored_are_no_connections() -> None:
    places, values = torch.tensor([[0, 1, 1], [2, 0, 3]]), torch.tensor([1.0, 0.0, 2.0])
    stored = torch.sparse_coo_tensor(places, values, (ROWS, INPUTS)).to_sparse_csr()
    assert sparse_network_of(nn.Sequential(with_layout(lambda _: stored))).edges(0) == 2


def test_a_stack_keeps_what_it_was_made_of() -> None:
    model = nn.Sequential(linear(), nn.ReLU())
    network, digest = sparse_network_of(model), sparse_network_of(model).digest
    assert network.digest == digest
    with torch.no_grad():
        model[0].weight[model[0].weight != 0] += 1
    assert not np.array_equal(sparse_network_of(model).layer(0).values, network.layer(0).values)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model[0].weight.__setitem__((3, 4), 9.0),
        lambda model: model[0].bias.__setitem__(0, 9.0),
        lambda model: setattr(model[1], "max_val", 5.0),
    ],
    ids=["weight", "bias", "cap"],
)
def test_other_content_has_another_digest(change: Callable[[Any], None]) -> None:
    model = nn.Sequential(linear(), nn.ReLU6())
    before = sparse_network_of(model).digest
    with torch.no_grad():
        change(model)
    assert sparse_network_of(model).digest != before


@pytest.mark.parametrize(
    ("clamp", "bias", "expected"),
    [
        (nn.ReLU(), [-1.0, 0.0], Activation()),
        (nn.ReLU(), [-1.0, 0.5], Activation(bias_everywhere=True)),
        (nn.ReLU6(), [0.0, 0.0], Activation(cap=6.0)),
        (nn.Identity(), [0.0, 0.0], Activation(floor=-inf)),
        (nn.Identity(), [-1.0, 0.0], Activation(floor=-inf, bias_everywhere=True)),
        (nn.Hardtanh(0.5, 2.0), [0.0, 0.0], Activation(cap=2.0, floor=0.5)),
    ],
)
def test_samples_may_die_where_no_bias_can_wake_them(
    clamp: nn.Module, bias: list[float], expected: Activation
) -> None:
    made = nn.Linear(9, 2)
    with torch.no_grad():
        made.weight.zero_()
        made.weight[0, 0], made.bias[:] = 1.0, torch.tensor(bias)
    padded = nn.Sequential(made, clamp)
    found = sparse_network_of(padded).activation(0)
    assert found == expected
    assert found.keeps_zeros is (not expected.bias_everywhere and expected.floor <= 0)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), max_size=4), st.floats(-5, 5))
def test_clamps_one_after_another_are_one(bounds: list[tuple[float, float]], value: float) -> None:
    both, expected = Clamp(), value
    for first, second in bounds:
        floor, cap = min(first, second), max(first, second)
        both, expected = both.then(Clamp(floor, cap)), min(cap, max(floor, expected))
    assert min(both.cap, max(both.floor, value)) == expected


@st.composite
def stacks(draw: st.DrawFn) -> nn.Sequential:
    """Rows that read nothing, inputs that nobody reads, any clamp or none after each layer."""
    widths = draw(st.lists(st.integers(5, 30), min_size=2, max_size=6))
    steps: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(pairwise(widths)):
        made = linear(outputs, inputs, draw(st.integers(0, 99)) + place, bias=draw(st.booleans()))
        bound = draw(st.floats(-2, 2, width=32))
        clamps = [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(min(bound, 1), max(bound, 1) + 0.5), nn.Identity()]
        steps += [made, draw(st.sampled_from(clamps))]
    with torch.no_grad():
        steps[0].weight.view(-1)[0] = 1.0  # one is left
    return nn.Sequential(*steps)


@given(data=st.data(), model=stacks(), samples=st.integers(1, 40))
@settings(max_examples=examples(60), deadline=None)
def test_any_stack_answers_as_the_model_does_but_for_rounding(
    data: st.DataObject, model: nn.Sequential, samples: int
) -> None:
    with torch.no_grad():
        weights = [step.weight for step in model if isinstance(step, nn.Linear)]
        share = sum(int(each.count_nonzero()) for each in weights) / sum(each.numel() for each in weights)
    assume(0 < share <= MOST_DENSITY)
    network = sparse_network_of(model)
    x = some_rows(samples, network.inputs)
    x[:, :2] = 0
    x[data.draw(st.integers(0, samples - 1))] = 0
    expected, found = answers(model, network, x)
    assert is_answer(network, x.numpy().T, expected)
    assert is_answer(network, x.numpy().T, found)


def test_plans_give_the_bits_of_one_worker() -> None:
    """Signed answers, samples of zeros, biases that wake them in the last layer only."""
    model = nn.Sequential(
        linear(bias=False), nn.ReLU(), linear(ROWS, ROWS, bias=False), nn.ReLU6(), linear(9, ROWS)
    )
    network = sparse_network_of(model)
    x = some_rows(23).numpy().T.copy()
    x[:, ::4] = 0
    whole = serial(network, x)
    assert (whole < 0).any()
    assert whole[:, 0].any()
    for assignment in (
        rows(23, random_partition(network, Settings(3))),
        pipeline(network, 23, (1, 2), 4),
    ):
        found = run(network, x, assignment).output
        assert found.tobytes() == whole.tobytes()
    block = rows(23, random_partition(network, Settings(2)))
    found = run(network, x, block, options=RunOptions(collect="categories")).output
    assert np.array_equal(found, (whole > 0).any(axis=0))
