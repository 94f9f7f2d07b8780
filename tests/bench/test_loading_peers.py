"""The peers of experiment `loading`, as real processes of this interpreter, with a module of kilobytes."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from glowplug.bench.peers.formats import files_of, weights_in
from glowplug.bench.peers.loading import PEERS, PeerProcess, available
from glowplug.bench.peers.s3_server import s3_store, weed
from glowplug.bench.peers.scripts import BASELINES
from glowplug.bench.systems.processes import command_line, descendants, living

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytestmark = pytest.mark.torch

HERE = Path(sys.executable)
ARCHITECTURE = "tiny_architecture:Tiny"
SOURCE = '''
import torch
from torch import nn

class Tied(nn.Module):
    """A parameter with two names, batch counters, and a buffer that no file holds."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 50, bias=False)
        self.head.weight = self.words.weight
        self.register_buffer("shift", torch.linspace(0, 1, 8), persistent=False)

    def forward(self, ids):
        return self.head(self.norm(self.words(ids)) + self.shift)

class Tiny:
    build = Tied

    @staticmethod
    def example():
        return (torch.arange(10),)
'''


@dataclass(frozen=True)
class Tiny:
    """The architecture's folder, and the architecture itself."""

    folder: Path
    architecture: Any

    def state(self, seed: int) -> Mapping[str, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            state: Mapping[str, Any] = self.architecture.build().state_dict()
            return state

    def digest(self, seed: int) -> str:
        """Of a plain forward's answer, in this process and by one thread, as the peer computes: by two it may
        end in other bits."""
        module = self.architecture.build()
        module.load_state_dict(self.state(seed))
        module.eval()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                answer = module(*self.architecture.example())
        finally:
            torch.set_num_threads(threads)
        return hashlib.blake2b(answer.numpy().tobytes()).hexdigest()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("architectures")
    (folder / "tiny_architecture.py").write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("tiny_architecture", folder / "tiny_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Tiny(folder, module.Tiny)


def written(tiny: Tiny, folder: Path, peer: str, seed: int) -> Path:
    return weights_in(PEERS[peer].format, ARCHITECTURE, lambda: tiny.state(seed), folder / str(seed), HERE)


@pytest.fixture(scope="module", params=["safetensors", "torch_mmap"])
def running(
    request: pytest.FixtureRequest, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, PeerProcess]]:
    weights = written(tiny, tmp_path_factory.mktemp("warm-up"), request.param, seed=0)
    with PeerProcess(
        PEERS[request.param], ARCHITECTURE, weights, [1], python=HERE, folders=[tiny.folder]
    ) as process:
        yield request.param, process


def test_each_load_answers_as_a_plain_forward_and_leaves_no_mapping(
    running: tuple[str, PeerProcess], tiny: Tiny, tmp_path: Path
) -> None:
    peer, process = running
    for seed in (1, 2, 1):
        weights = written(tiny, tmp_path, peer, seed)
        found = process.measure(weights, threads=1)
        assert found.answer_digest == tiny.digest(seed)
        assert set(found.phases) == {"build", "fetch", "apply", "first_compute"}
        assert sum(found.phases.values()) == pytest.approx(found.first_answer_s)
        assert found.second_forward_s > 0
        assert str(weights) not in Path(f"/proc/{process.pid}/maps").read_text()
    assert tiny.digest(1) != tiny.digest(2)


def test_a_failure_is_told_and_ends_the_process(tiny: Tiny, tmp_path: Path) -> None:
    weights = written(tiny, tmp_path, "safetensors", seed=0)
    peer = PEERS["safetensors"]
    with PeerProcess(peer, ARCHITECTURE, weights, [1], python=HERE, folders=[tiny.folder]) as process:
        with pytest.raises(
            RuntimeError, match="safetensors failed: ValueError: 2 threads were not warmed up"
        ):
            process.measure(weights, threads=2)
        with pytest.raises(RuntimeError, match="safetensors ended with status 1"):
            process.measure(weights, threads=1)
        process.close()
        assert living([process.pid]) == []


def test_a_truncated_file_is_refused_before_the_process_is_ready(tiny: Tiny, tmp_path: Path) -> None:
    weights = written(tiny, tmp_path, "safetensors", seed=0)
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(RuntimeError, match="safetensors failed: SafetensorError"):
        PeerProcess(PEERS["safetensors"], ARCHITECTURE, weights, [1], python=HERE, folders=[tiny.folder])
    assert not [pid for pid in descendants(os.getpid()) if str(weights) in command_line(pid)]


def test_weights_are_converted_once_with_tied_tensors_under_one_name(tiny: Tiny, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    first = written(tiny, tmp_path, "safetensors", seed=3)
    assert set(load_file(first)) == {
        "words.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var",
        "norm.num_batches_tracked",
    }  # fmt: skip
    assert set(torch.load(written(tiny, tmp_path, "torch_mmap", seed=3), weights_only=True)) == set(
        load_file(first)
    )

    def never() -> Mapping[str, Any]:
        raise AssertionError("the weights are there already")

    assert weights_in("safetensors", ARCHITECTURE, never, first.parent, HERE) == first
    assert files_of(first) == [first]
    assert files_of(tmp_path) == sorted(path for path in tmp_path.rglob("*.*") if path.is_file())


def test_a_format_whose_library_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="converting nothing for transformers failed with status 1"):
        weights_in("transformers", "nothing", dict, tmp_path, HERE)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_run_is_named_with_its_reason(tmp_path: Path) -> None:
    missing = available(tmp_path / ".venv-peers" / "bin" / "python")
    assert missing == dict.fromkeys(PEERS, ".venv-peers does not exist: run `make peers`")
    here = available(HERE)
    assert here["safetensors"] is None
    assert here["torch_mmap"] is None
    for name, peer in PEERS.items():
        installed = all(importlib.util.find_spec(package) for package in peer.packages)
        assert installed or "importing" in (here[name] or "")


def test_peers_import_nothing_of_ours() -> None:
    for script in (BASELINES / "loading").glob("*.py"):
        for node in ast.walk(ast.parse(script.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not [name for name in names if name.partition(".")[0] == "glowplug"], script


@pytest.mark.broker
@pytest.mark.skipif(weed() is None, reason="SeaweedFS is not installed: make peers")
def test_a_stored_file_is_read_with_the_credentials_and_not_without(tmp_path: Path) -> None:
    stores = pytest.importorskip("obstore.store")
    content = os.urandom(9_000_000)
    (tmp_path / "weights.bin").write_bytes(content)
    with s3_store() as store:
        assert store.upload(tmp_path / "weights.bin", "some/weights.bin") == "s3://models/some/weights.bin"
        names = {name: value for name, value in store.environment.items() if name != "AWS_DEFAULT_REGION"}
        bucket = stores.S3Store("models", config=names, client_options={"allow_http": True})
        assert (
            bytes(bucket.get_range("some/weights.bin", start=8_388_600, length=100))
            == (content[8_388_600:8_388_700])
        )
        assert bytes(bucket.get("some/weights.bin").bytes()) == content
        strangers = {**names, "AWS_SECRET_ACCESS_KEY": "wrong"}
        with pytest.raises(Exception, match="SignatureDoesNotMatch"):
            stores.S3Store("models", config=strangers, client_options={"allow_http": True}).get(
                "some/weights.bin"
            )
        programs = [
            pid for pid in descendants(os.getpid()) if any("weed" in word for word in command_line(pid))
        ]
        assert programs
    assert living(programs) == []
