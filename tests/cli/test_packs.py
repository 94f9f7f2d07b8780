"""`glowplug pack` and `glowplug load`, as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the torch extra")

pytestmark = pytest.mark.torch

SOURCE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))

    def forward(self, x):
        return self.layers(x)

def example():
    return torch.zeros(1, 8)

def narrow():
    return torch.zeros(1, 3)

def fails():
    raise RuntimeError("no input today")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(SOURCE)
    return tmp_path


def glowplug(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "glowplug", *arguments]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_model_is_packed_and_loaded_with_its_timeline(folder: Path) -> None:
    packed = glowplug(folder, "pack", "model.py:Net", "net.pack", "--json")
    assert packed.returncode == 0, packed.stderr
    facts = json.loads(packed.stdout)
    assert facts["weights_bytes"] >= 2 * (64 + 8) * 4
    assert facts["tensors"] == 4

    loaded = glowplug(folder, "load", "net.pack", "--timeline", "out.json", "--json")
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout)["strategy"] == "mapped"
    refused = glowplug(folder, "load", "net.pack", "--timeline", "none/out.json")
    assert refused.returncode == 1
    assert "No such file" in refused.stderr
    assert "Traceback" not in refused.stderr
    events = json.loads((folder / "out.json").read_text())["traceEvents"]
    assert {"build", "fetch", "compute"} <= {event.get("cat") for event in events}


def test_a_baseline_builds_the_model_itself(folder: Path) -> None:
    assert glowplug(folder, "pack", "model.py:Net", "net.pack").returncode == 0
    loaded = glowplug(folder, "load", "net.pack", "--strategy", "pisel", "--build", "model.py:Net")
    assert loaded.returncode == 0, loaded.stderr
    assert "net.pack: pisel" in loaded.stdout
    loaded = glowplug(folder, "load", "net.pack", "--strategy", "cicada", "--json")
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout)["apply_s"] == 0, "without --build the skeleton is the builder"


def test_damage_on_the_local_disk_is_found(folder: Path) -> None:
    facts = json.loads(glowplug(folder, "pack", "model.py:Net", "net.pack", "--json").stdout)
    with (folder / "net.pack").open("r+b") as file:
        file.seek(facts["file_bytes"] - facts["weights_bytes"] - 8)  # timings of one unit end the file
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    for more in ((), ("--verify",)):
        refused = glowplug(folder, "load", "net.pack", *more)
        assert refused.returncode == 1
        assert "net.pack: unit 0 (layers: layers.0, layers.1; tensors:" in refused.stderr
        assert "is damaged between bytes" in refused.stderr
    for strategy in ("mapped", "streamed"):
        loaded = glowplug(folder, "load", "net.pack", "--strategy", strategy, "--no-verify")
        assert loaded.returncode == 0, loaded.stderr


def test_it_says_whether_weights_were_checked(folder: Path) -> None:
    assert glowplug(folder, "pack", "model.py:Net", "net.pack").returncode == 0
    shutil.copy(folder / "net.pack", folder / "copied.pack")
    for name, more, said in [
        ("net.pack", (), "before"),
        ("net.pack", ("--verify",), "now"),
        ("net.pack", ("--no-verify",), "no"),
        ("copied.pack", (), "now"),
    ]:
        loaded = glowplug(folder, "load", name, "--json", *more)
        assert loaded.returncode == 0, loaded.stderr
        assert json.loads(loaded.stdout)["weights_checked"] == said
    shown = glowplug(folder, "load", "net.pack")
    assert "before" in next(line for line in shown.stdout.splitlines() if "weights checked" in line)


def test_a_pack_may_be_kept_to_some_modules(folder: Path) -> None:
    assert glowplug(folder, "pack", "model.py:Net", "net.pack").returncode == 0
    refused = glowplug(folder, "load", "net.pack", "--only", "torch.nn")
    assert refused.returncode == 1
    assert "its skeleton names model.Net, which is not among what was allowed" in refused.stderr
    loaded = glowplug(folder, "load", "net.pack", "--only", "torch.nn", "--only", "model")
    assert loaded.returncode == 0, loaded.stderr
    assert "nothing was run: its example input may name anything" in loaded.stdout


def test_weights_alone_need_their_builder(folder: Path) -> None:
    header = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    (folder / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    refused = glowplug(folder, "load", "a.safetensors")
    assert refused.returncode == 2
    assert "a.safetensors: it holds weights only" in refused.stderr
    assert "--build FILE:NAME" in refused.stderr


def test_plain_files_are_verified_where_they_have_checksums(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    shapes = {"weight": (8, 8), "bias": (8,)}
    state = {f"layers.{n}.{name}": torch.ones(shape) for n in range(2) for name, shape in shapes.items()}
    save_file(state, folder / "net.safetensors")
    torch.save(state, folder / "net.pt")
    refused = glowplug(folder, "load", "net.safetensors", "--build", "model.py:Net", "--verify")
    assert refused.returncode == 2
    assert "net.safetensors has no checksums" in " ".join(refused.stderr.split())
    loaded = glowplug(folder, "load", "net.pt", "--build", "model.py:Net", "--verify", "--json")
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout)["weights_checked"] == "now"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("pack", "model.py", "x.pack"), 2, "write FILE:NAME"),
        (("pack", "none.py:Net", "x.pack"), 2, "none.py: there is no such file"),
        (("pack", "model.py:Other", "x.pack"), 2, "model.py has no callable 'Other'"),
        (("pack", "model.py:Net", "x.pack", "--example", "fails"), 2, "no input today"),
        (("pack", "model.py:Net", "x.pack", "--example", "narrow"), 2, "cannot run on what narrow() returns"),
        (("load", "none.pack"), 1, "No such file"),
        (("load", "model.py"), 1, "neither a pack nor a safetensors or torch file"),
        (("load", "ftp://x/y.pack"), 2, "ftp:// is no source"),
        (("load", "model.py", "--strategy", "best"), 2, "no strategy is called 'best'"),
        (("load", "model.py", "--device", "abacus"), 2, "no device is called 'abacus'"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left(
    folder: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = glowplug(folder, *arguments)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in folder.iterdir() if path.suffix != "") == ["model.py"]
