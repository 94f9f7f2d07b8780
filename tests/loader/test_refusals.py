"""What cannot be packed is refused with the name of the part, and no pack file is left behind."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import errno
import os
import pickle
import re
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug import loader
from glowplug.loader import skeleton
from tests.loader import nets

pytestmark = pytest.mark.torch


def refused(obj: object, folder: Path) -> str:
    with pytest.raises(loader.NotPicklable) as caught:
        loader.write_pack(folder / "a.pack", obj)
    assert list(folder.iterdir()) == []
    return str(caught.value)


def test_a_class_defined_in_a_function(tmp_path: Path) -> None:
    class Local(torch.nn.Module):
        pass

    assert "Local" in refused(nets.Holder(Local()), tmp_path)


def test_a_lambda_deep_inside_is_named(tmp_path: Path) -> None:
    net = nets.ConvNet()
    net.head.squash = lambda x: x
    message = refused(nets.Holder(net), tmp_path)
    assert "Holder.model._modules['head'].squash" in message
    assert "lambda" in message


def test_a_lock(tmp_path: Path) -> None:
    assert "Holder.others['lock']" in refused(nets.Holder(nets.ConvNet(), lock=threading.Lock()), tmp_path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: torch.empty(2, 2, device="meta"), "meta"),
        (lambda: torch.eye(2).to_sparse(), "sparse"),
        (lambda: torch.randn(2, dtype=torch.complex64).conj(), "conjugate"),
        (lambda: torch.nn.parameter.UninitializedParameter(), "UninitializedParameter"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested"),
    ],
)
def test_tensors_that_are_not_plain_memory(make: Any, reason: str, tmp_path: Path) -> None:
    message = refused({"bad": make()}, tmp_path)
    assert reason in message
    assert "['bad']" in message


def test_a_write_that_fails_leaves_the_old_pack_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pack"
    loader.write_pack(path, torch.zeros(10))
    before = path.read_bytes()
    large = torch.zeros(10**6)
    # In a child: a file size limit stands for a full disk, and cannot be raised again. The child may not fill
    # tensors: after a fork the threads for that are gone, and it would wait for them.
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
        try:
            loader.write_pack(path, large)
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == errno.EFBIG
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        loader.write_pack(tmp_path / "none" / "a.pack", torch.zeros(1))


MAIN = """
import sys, torch
from glowplug import loader

class Net(torch.nn.Module):
    def forward(self, x):
        return x + 1

loader.write_pack(sys.argv[1], Net())
"""


def test_a_class_of_a_script_is_found_where_main_has_it(tmp_path: Path, monkeypatch: Any) -> None:
    script, path = tmp_path / "script.py", tmp_path / "a.pack"
    script.write_text(MAIN)
    subprocess.run([sys.executable, script, path], check=True)
    with pytest.raises(loader.NotRebuildable, match=r"ran as __main__ .* move it to a module"):
        loader.load(path)
    monkeypatch.setattr(sys.modules["__main__"], "Net", nets.ConvNet, raising=False)
    assert isinstance(loader.load(path), nets.ConvNet)


def test_packing_a_class_of_a_script_warns(tmp_path: Path) -> None:
    class Scripted(torch.nn.Linear):
        __module__ = "__main__"

    holder = torch.nn.Sequential(Scripted(2, 2)).eval()
    with (
        pytest.warns(UserWarning, match=r"no other process will find .*Scripted"),
        pytest.raises(loader.NotPicklable),
    ):
        loader.pack(holder, torch.zeros(1, 2), tmp_path / "a.pack")


class Touch:
    """What a hostile skeleton does: it names a function, and unpickling calls it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def test_a_skeleton_gets_nothing_but_what_was_allowed(tmp_path: Path) -> None:
    loader.write_pack(tmp_path / "bad.pack", {"net": torch.nn.Linear(2, 2), "x": Touch(tmp_path / "touched")})
    with pytest.raises(loader.NotRebuildable, match=r"bad\.pack is not rebuilt: its skeleton names .*open"):
        loader.load(tmp_path / "bad.pack", only=())
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("torch.nn.modules.module", "torch.serialization.io.FileIO", ("touched", "w")),
        ("torch.nn.modules.module", "torch.serialization.io.open_code", ("touched",)),
        ("torch.nn.modules.container", "torch.hub.zipfile.ZipFile", ("touched", "w")),
        ("tests.loader.nets", "torch.serialization.io.FileIO", ("touched", "w")),
    ],
)
def test_an_allowed_module_is_no_way_to_what_it_imported(
    module: str, name: str, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = pickled_call(module, name, arguments)
    with pytest.raises(loader.NotRebuildable, match=re.escape(f"names {module}.{name}")):
        skeleton.load(hostile, [], "bad.pack", only=("tests.loader",))
    assert not (tmp_path / "touched").exists()


def pickled_call(module: str, name: str, arguments: tuple[str, ...]) -> bytes:
    """A pickle, written by hand, that calls what it names."""

    def text(value: str) -> bytes:
        return pickle.SHORT_BINUNICODE + bytes([len(value)]) + value.encode()

    called = text(module) + text(name) + pickle.STACK_GLOBAL
    given = pickle.MARK + b"".join(map(text, arguments)) + pickle.TUPLE
    return pickle.PROTO + b"\x05" + called + given + pickle.REDUCE + pickle.STOP


def test_modules_of_torch_need_no_allowance(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.ReLU()).eval()
    loader.pack(net, torch.zeros(1, 2), tmp_path / "net.pack")
    assert isinstance(loader.load(tmp_path / "net.pack", only=()), torch.nn.Sequential)


def test_a_package_of_ones_own_can_be_allowed(tmp_path: Path) -> None:
    loader.pack(nets.ConvNet().eval(), torch.zeros(1, 3, 8, 8), tmp_path / "net.pack")
    with pytest.raises(loader.NotRebuildable, match=r"tests\.loader\.nets\.ConvNet"):
        loader.load(tmp_path / "net.pack", only=())
    assert isinstance(loader.load(tmp_path / "net.pack", only=("tests.loader",)), nets.ConvNet)


def test_calls_of_a_pack_that_is_not_trusted_are_not_read(tmp_path: Path) -> None:
    loader.pack(torch.nn.Linear(2, 2).eval(), torch.zeros(1, 2), tmp_path / "net.pack")
    with pytest.raises(ValueError, match=r"net\.pack: the calls .* without only="):
        loader.start_load(tmp_path / "net.pack", only=(), primed=True)
