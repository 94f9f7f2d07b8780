"""The built wheel, installed where nothing of the repository is, serves an app from any folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glowplug.client import Client
from tests.e2e.conftest import WAIT_S

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]
ROOT = Path(__file__).parents[2]
APP = """
import glowplug
app = glowplug.App("wheel")

@app.function()
def where() -> str:
    return glowplug.__file__
"""


@pytest.fixture(scope="module")
def command(make_folder: Callable[[], Path]) -> Path:
    """`glowplug` in a fresh virtual environment that finds its dependencies in ours."""
    pytest.importorskip("hatchling")
    pytest.importorskip("build")
    folder = make_folder()
    dist, venv = folder / "dist", folder / "venv"
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", dist, ROOT)
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    (wheel,) = dist.glob("glowplug-*.whl")
    run(sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install", "--quiet", "--no-deps",
        "--no-index", wheel)  # fmt: skip
    (site,) = (venv / "lib").glob("python3*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv / "bin" / "glowplug"


def run(*arguments: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        list(map(str, arguments)),
        cwd=cwd,
        env=clean(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GLOWPLUG"))}


@contextlib.contextmanager
def served(command: Path, cwd: Path) -> Iterator[str]:
    with (cwd / "log").open("wb") as log:
        server = subprocess.Popen(
            [command, "serve", "app.py", "--port", "0", "--state-dir", "state", "--json"],
            cwd=cwd, env=clean(), stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line, (cwd / "log").read_text()
        yield json.loads(line)["url"]
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(WAIT_S) == 0
        assert server.stdout is not None
        server.stdout.close()


def test_it_serves_from_any_folder(command: Path, folder: Path) -> None:
    (folder / "app.py").write_text(APP)
    with served(command, folder) as url:
        run(command, "deploy", folder / "app.py", "--url", url)
        with Client(url) as client:
            assert Path(client.invoke("where")).is_relative_to(command.parents[1])
        assert json.loads(run(command, "ps", "--json", "--url", url))[0]["name"] == "where"


def test_every_command_has_help_and_an_example(command: Path) -> None:
    from glowplug.cli import app, register

    register()
    top = run(command, "--help")
    names = [name for name in app if not name.startswith("-")]
    assert len(names) >= 12
    for name in names:
        assert name in top
    assert "glowplug serve app.py" in top


@pytest.mark.parametrize(
    "name",
    ["serve", "deploy", "ps", "describe", "invoke", "logs", "scale", "rollback", "undeploy", "trace",
     "replay", "doctor", "bench", "demo", "secret set", "secret remove", "secret list", "env list",
     "env prune"],
)  # fmt: skip
def test_help(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "glowplug", *name.split(), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"glowplug {name}" in done.stdout.split("Examples", 1)[-1], "no example"
