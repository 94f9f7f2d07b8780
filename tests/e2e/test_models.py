"""Models and their weights: every way of declaring them gives the same answer, every damage is named."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glowplug.core.bodies import NPY, SAFETENSORS
from glowplug.core.errors import FunctionFailed, InvalidArguments
from tests.e2e.conftest import APPS, Server, until

pytestmark = [pytest.mark.e2e, pytest.mark.torch, pytest.mark.xdist_group("e2e")]
torch = pytest.importorskip("torch")
X = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture(scope="module")
def nets(server: Server) -> Server:
    server.deploy(APPS / "nets.py")
    return server


@pytest.fixture(scope="module")
def expected() -> Any:
    torch.manual_seed(1)
    with torch.inference_mode():
        return torch.nn.Linear(4, 3)(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize("name", ["plain", "local", "setup"])
def test_the_same_answer_from_every_step(nets: Server, expected: Any, name: str) -> None:
    for step in ("imported", "staged", "parked"):
        (nets.client.climb if step == "parked" else nets.client.descend)(name, step)
        answer = nets.client.call(name, {"x": X}, accept=NPY)
        assert answer.origin == step
        assert np.array_equal(answer.value(), expected)


def test_what_cannot_be_pickled_says_so(nets: Server) -> None:
    found = nets.client.describe("local")
    assert "build() runs again at each climb from imported" in found.reason
    assert "Hidden" in found.reason
    assert nets.client.describe("plain").reason == ""
    assert nets.client.describe("setup").reason == ""
    assert all(nets.client.describe(name).weight_bytes > 0 for name in ("plain", "local", "setup"))


def test_arrays_in_and_out(nets: Server, expected: Any) -> None:
    as_json = nets.client.invoke("plain", {"x": X.tolist()})
    assert np.array_equal(np.array(as_json, np.float32), expected)
    assert np.array_equal(nets.client.invoke("plain", X, accept=NPY), expected)
    found = nets.client.invoke("plain", {"x": torch.from_numpy(X), "factor": 2}, "scaled", accept=NPY)
    assert np.array_equal(found, expected * 2)
    found = nets.client.invoke("plain", {"x": X}, "both", accept=SAFETENSORS)
    assert np.array_equal(found["x"], X)
    assert np.array_equal(found["y"], expected)
    save = pytest.importorskip("safetensors.numpy").save
    answer = nets.http.post(
        "/function/plain/both", content=save({"x": X}), headers={"content-type": SAFETENSORS}
    )
    assert answer.json()["x"] == X.tolist()
    with pytest.raises(InvalidArguments) as raised:
        nets.client.invoke("plain", {"x": ["a", "b"]})
    assert raised.value.field == "x"
    with pytest.raises(FunctionFailed, match="mat1 and mat2"):
        nets.client.invoke("plain", {"x": [[1.0, 2.0]]})
    with pytest.raises(InvalidArguments, match="factor"):
        nets.client.invoke("plain", {"x": X}, "scaled")


def test_an_array_goes_to_the_argument_it_names(nets: Server, expected: Any) -> None:
    assert np.array_equal(nets.client.invoke("plain", {"x": X}, "doubled", accept=NPY), expected * 2)
    with pytest.raises(InvalidArguments) as raised:
        nets.client.invoke("plain", {"y": X}, "doubled")
    assert raised.value.field == "y"


HEAD = """
import glowplug
app = glowplug.App("damaged")
"""
MODEL = """
@app.model(name="{name}", libraries=["torch"], weights="{file}")
class {name}:
    def build(self):
        import torch
        return torch.nn.Linear(4, 3)

    @glowplug.endpoint
    def forward(self, x: list[float]) -> list[float]:
        import torch
        return self.model(torch.tensor(x)).tolist()
"""


def tensors(**changes: Any) -> dict[str, Any]:
    found = {"weight": torch.zeros(3, 4), "bias": torch.zeros(3)} | changes
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def whole(path: Path, **changes: Any) -> bytes:
    from safetensors.torch import save_file

    save_file(tensors(**changes), path)
    return path.read_bytes()


def truncated(path: Path) -> None:
    path.write_bytes(whole(path)[:-7])


def corrupt(path: Path) -> None:
    path.write_bytes(b"\xff" * 200)


def lying(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")


def lacking(path: Path) -> None:
    whole(path, bias=None)


def unexpected(path: Path) -> None:
    whole(path, gamma=torch.zeros(2))


def wrong_shape(path: Path) -> None:
    whole(path, weight=torch.zeros(4, 3))


def wrong_dtype(path: Path) -> None:
    whole(path, bias=torch.zeros(3, dtype=torch.float64))


class Hostile:
    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.canary, "w")


def hostile_pickle(path: Path) -> None:
    torch.save({"weight": Hostile(str(path.parent / "canary")), "bias": torch.zeros(3)}, path)


DAMAGES: dict[str, tuple[Callable[[Path], None], str, tuple[str, ...]]] = {
    "truncated": (truncated, "safetensors", ("truncated.safetensors",)),
    "corrupt": (corrupt, "safetensors", ("corrupt.safetensors",)),
    "lying": (lying, "safetensors", ("lying.safetensors",)),
    "lacking": (lacking, "safetensors", ("bias",)),
    "unexpected": (unexpected, "safetensors", ("gamma",)),
    "shape": (wrong_shape, "safetensors", ("weight", "4, 3", "3, 4")),
    "dtype": (wrong_dtype, "safetensors", ("bias", "float64", "float32")),
    "garbage": (corrupt, "pt", ("garbage.pt",)),
    "hostile": (hostile_pickle, "pt", ("hostile.pt",)),
}


@pytest.fixture(scope="module")
def damaged(server: Server) -> Path:
    """The folder of a source file whose models all have something wrong with their weights."""
    files = {name: f"{name}.{ending}" for name, (_, ending, _) in DAMAGES.items()}
    models = [MODEL.format(name=name, file=file) for name, file in files.items()]
    source = server.write(HEAD + "".join(models), "damaged_nets.py")
    source.parent.chmod(0o777)
    for name, (damage, _, _) in DAMAGES.items():
        damage(source.parent / files[name])
    upload = server.upload(source)
    for name in DAMAGES:
        server.client.deploy(name, upload)
    return source.parent


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_weights(server: Server, damaged: Path, name: str) -> None:
    until(lambda: server.client.describe(name).state != "building", "it is built or not")
    found = server.client.describe(name)
    assert found.state == "failed"
    for word in DAMAGES[name][2]:
        assert word in found.error
    answer = server.post(name, {"x": [1, 2, 3, 4]})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "weights"
    assert not (damaged / "canary").exists()
    server.client.undeploy(name)
