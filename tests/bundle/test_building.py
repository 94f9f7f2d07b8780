"""What a build makes of a function's code, in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from glowplug.bundle.builder import build_bundle, load_from_source
from glowplug.bundle.instantiate import Phases, serve_bundle
from glowplug.bundle.manifest import Manifest
from glowplug.core.ids import FunctionId, VersionId
from glowplug.core.specs import Declaration
from glowplug.distributed.errors import CannotCut
from glowplug.endpoints import endpoint_spec
from glowplug.loader import open_pack
from tests.loader.test_alignment import begins, shifted

torch = pytest.importorskip("torch")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a source may stand as written_here.py."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "written_here", None)  # type: ignore[arg-type]
    del sys.modules["written_here"]
    return tmp_path


def declared(folder: Path, source: str, **options: Any) -> Declaration:
    (folder / "written_here.py").write_text(source)
    spec = endpoint_spec(lambda self: None, skip=1)
    return Declaration("net", "model", "written_here", "Net", endpoints=(spec,), **options)


def packed(path: Path) -> Any:
    with open_pack(path) as pack:
        return pack.load()


def test_a_class_that_another_file_declares_gets_its_weights(folder: Path) -> None:
    """Its own file, which is all that the build imports, says nothing of them."""
    source = """
import torch, glowplug
class Net:
    def build(self): return torch.nn.Linear(2, 2, bias=False)
    @glowplug.endpoint
    def f(self): return 1
"""
    weight = torch.arange(4.0).reshape(2, 2)
    torch.save({"weight": weight}, folder / "net.pt")
    result = build_bundle(declared(folder, source, weights="net.pt"), folder, folder / "pack")
    assert result.mode == "skeleton"
    assert torch.equal(packed(folder / "pack")["build"].weight, weight)


READS_SAFETENSORS = """
import safetensors.torch, torch, glowplug
class Net:
    def setup(self):
        self.model = torch.nn.Linear(64, 10)
        self.model.load_state_dict(safetensors.torch.load_file("WEIGHTS"), assign=True)
    def example(self): return {}
    @glowplug.endpoint
    def f(self): return self.model(torch.ones(1, 64))
"""


@pytest.mark.parametrize("shift", [0, 4, 8, 12])
def test_a_model_answers_alike_wherever_its_file_had_its_weights(folder: Path, shift: int) -> None:
    """A product with a weight that begins at an odd place ends in other bits on some processors, and its pack
    was taken for one that answers differently."""
    weights = shifted(dict(torch.nn.Linear(64, 10).state_dict()), shift, folder / "w.safetensors")
    source = READS_SAFETENSORS.replace("WEIGHTS", str(weights))
    declaration = declared(folder, source)
    result = build_bundle(declaration, folder, folder / "pack")
    assert (result.mode, result.reason) == ("skeleton", "")
    made = load_from_source(sys.modules["written_here"].Net, folder)
    assert begins(made.model) == [0, 0]


COUNTS = """
import torch, glowplug
class Counts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.factor = torch.nn.Linear(2, 2), 1
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("mean", torch.zeros(2))
    def __getstate__(self):
        return {**self.__dict__, "factor": FACTOR}
    def forward(self, x):
        self.seen += 1
        self.mean = self.mean + 1
        return self.layer(x) * self.factor
class Net:
    def build(self): return Counts()
    def example(self): return {}
    @glowplug.endpoint
    def f(self): return self.model(torch.ones(1, 2))
"""


@pytest.mark.parametrize(("factor", "mode"), [("1", "skeleton"), ("2", "construct")])
def test_what_is_packed_has_run_as_often_as_its_example(folder: Path, factor: str, mode: str) -> None:
    declaration = declared(folder, COUNTS.replace("FACTOR", factor))
    assert build_bundle(declaration, folder, folder / "pack").mode == mode
    content = packed(folder / "pack")
    state = content["build"].state_dict() if mode == "skeleton" else content["states"]["model"]
    assert (state["seen"].tolist(), state["mean"].tolist()) == ([1], [1, 1])


PARAMETRIZED = """
import torch, glowplug
class Net:
    def build(self):
        return torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2))
    @glowplug.endpoint
    def f(self): return 1
"""


def test_why_a_model_is_constructed_is_a_fact_and_no_advice_for_who_packs(folder: Path) -> None:
    result = build_bundle(declared(folder, PARAMETRIZED), folder, folder / "pack")
    assert result.mode == "construct"
    assert "it is parametrized (weight), and torch pickles no such module)" in result.reason
    assert "remove_parametrizations" not in result.reason


KEEPS_A_SECRET = """
import os, torch, glowplug
class Net:
    def setup(self):
        self.layer = torch.nn.Linear(2, 2)
        self.key = os.environ["THE_KEY"]
    @glowplug.endpoint
    def f(self): return self.key
"""


def test_a_secret_that_setup_keeps_is_not_packed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "s3cret-value")
    declaration = declared(folder, KEEPS_A_SECRET, secrets=("THE_KEY",))
    result = build_bundle(declaration, folder, folder / "pack")
    assert b"s3cret-value" not in (folder / "pack").read_bytes()
    assert list(packed(folder / "pack")["states"]) == ["layer"]
    assert (result.mode, result.pack) == ("setup", True)
    assert result.reason.startswith(
        "setup() runs again at each climb from imported: it may leave a secret on the instance"
    )
    monkeypatch.setenv("THE_KEY", "rotated")
    manifest = Manifest(VersionId("v"), FunctionId("net.default"), declaration, result.mode, pack="pack")
    (folder / "code").mkdir()
    (folder / "written_here.py").rename(folder / "code" / "written_here.py")
    del sys.modules["written_here"]
    served = serve_bundle(manifest, folder, folder / "pack", Phases())
    assert served.endpoints["f"]() == "rotated"


def test_nor_is_it_by_a_model_over_several_workers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "s3cret-value")
    declaration = declared(folder, KEEPS_A_SECRET, secrets=("THE_KEY",), workers=2)
    with pytest.raises(CannotCut, match="may leave a secret on the instance, which would be packed"):
        build_bundle(declaration, folder, folder / "pack")
