"""Packages are installed once for all who require them, by real installers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from glowplug.bundle.trees import tree_bytes
from glowplug.core.events import Built, ClimbProgress, StepReached
from glowplug.core.ladder import Step
from glowplug.node.installer import find_installer
from tests.wheels import make_wheel

from .conftest import NodeUnderTest
from .packages import built_folders, climb, from_shelf, outcome_of, required

pytestmark = pytest.mark.e2e

WALLED = """
import glowplug, socket
from pathlib import Path
import tiny
app = glowplug.App("walled", requirements={lines})

def look(port: int, path: str) -> list:
    found = [tiny.VERSION]
    for attempt in (lambda: socket.create_connection(("127.0.0.1", port)).close(), Path(path).read_text):
        try:
            attempt()
        except OSError:
            found.append(False)
        else:
            found.append(True)
    return found

@app.function()
def inside(port: int, path: str) -> list:
    return look(port, path)

@app.function(network=True)
def outside(port: int, path: str) -> list:
    return look(port, path)
"""


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_a_function_gets_what_it_requires(on_node: Callable[..., None], shelf: Path, installer: str) -> None:
    if not find_installer(installer):
        pytest.skip(f"needs {installer}: pip install {installer}")
    make_wheel(shelf, "tiny", "1.0", requires=["other>=2"])
    make_wheel(shelf, "other", "2.5")

    async def scenario(node: NodeUnderTest) -> None:
        spec = await required(node, *from_shelf(shelf, "tiny==1.0"))
        reached = await node.import_environment(spec)
        assert isinstance(reached, StepReached), reached
        assert isinstance(await node.build(spec), Built)
        await node.park(spec, 1, Step.IMPORTED)
        assert bytes((await node.call(1, b"")).body) == b'["1.0","__init__.py",false]'
        built = node.store.environments.whole(spec.packages)
        assert built is not None
        assert built.packages == ("other==2.5", "tiny==1.0")
        assert built.installer == installer
        (folder,) = built_folders(node, spec)
        assert list(folder.rglob("tiny.*.pyc"))
        assert tree_bytes(folder) >= built.size_bytes > 0
        assert {path.lstat().st_uid for path in folder.rglob("*")} == {os.geteuid()}
        assert any(
            said.stream == "build" and any("tiny" in line for line in said.lines) for said in node.said
        )

    on_node(scenario, installer=installer)


def test_packages_open_no_way_out(on_node: Callable[..., None], shelf: Path) -> None:
    """Their zygote is confined as any other, to the network and to files; who may use the network has another
    one, of the same packages."""
    make_wheel(shelf, "tiny", "1.0")
    (shelf / "diary").write_text("dear diary")

    async def scenario(node: NodeUnderTest) -> None:
        path = node.folder / "walled_app.py"
        path.write_text(WALLED.format(lines=list(from_shelf(shelf, "tiny"))))
        specs = await node.specs(path)
        assert specs["inside"].packages == specs["outside"].packages
        has_network, has_files = (
            node.engine.isolation[name].startswith("no") for name in ("own network", "own files")
        )
        door = await asyncio.start_server(lambda *_: None, "127.0.0.1")
        async with door:
            given = {"port": door.sockets[0].getsockname()[1], "path": str(shelf / "diary")}
            for number, (name, connects) in enumerate({"inside": has_network, "outside": True}.items()):
                reached = await node.import_environment(specs[name])
                assert isinstance(reached, StepReached), reached
                assert isinstance(await node.build(specs[name]), Built)
                await node.park(specs[name], number, Step.IMPORTED)
                reply = await node.call(number, msgspec.json.encode(given))
                assert msgspec.json.decode(reply.body) == ["1.0", connects, has_files], name
        assert len(built_folders(node, specs["inside"])) == 1

    on_node(scenario)


@pytest.mark.parametrize("installer", ["uv", "pip"])
@pytest.mark.parametrize(
    ("wanted", "installed"),
    [("httptools", ("tiny==1.0",)), ("httptools>=99", ("httptools==99.0", "tiny==1.0"))],
    ids=["reused", "replaced"],
)
def test_libraries_of_the_server_are_reused(
    on_node: Callable[..., None], shelf: Path, installer: str, wanted: str, installed: tuple[str, ...]
) -> None:
    if not find_installer(installer):
        pytest.skip(f"needs {installer}: pip install {installer}")
    make_wheel(shelf, "tiny", "1.0", "import httptools\nVERSION = httptools.__file__", requires=[wanted])
    make_wheel(shelf, "httptools", "99.0")

    async def scenario(node: NodeUnderTest) -> None:
        spec = await required(node, *from_shelf(shelf, "tiny"), libraries=("httptools",))
        reached = await node.import_environment(spec)
        assert isinstance(reached, StepReached), reached
        built = node.store.environments.whole(spec.packages)
        assert built is not None
        assert built.packages == installed
        await node.build(spec)
        await node.park(spec, 1, Step.IMPORTED)
        origin = msgspec.json.decode((await node.call(1, b"")).body)[0]
        own = Path(origin).is_relative_to(node.store.environments.built)
        assert own is ("httptools==99.0" in installed)

    on_node(scenario, installer=installer)


def test_a_wheel_of_the_upload(on_node: Callable[..., None], node_folder: Path) -> None:
    make_wheel(node_folder / "wheels", "tiny", "7.0")

    async def scenario(node: NodeUnderTest) -> None:
        spec = await required(node, "--no-index", "./wheels/tiny-7.0-py3-none-any.whl")
        assert isinstance(await node.import_environment(spec), StepReached)
        assert isinstance(await node.build(spec), Built)

    on_node(scenario)


def test_all_who_ask_at_once_share_one_build(on_node: Callable[..., None], shelf: Path) -> None:
    make_wheel(shelf, "tiny", "1.0")

    async def scenario(node: NodeUnderTest) -> None:
        lines = from_shelf(shelf, "tiny")
        first = await required(node, *lines)
        second = await required(node, *lines, name="again", namespace="other")
        assert first.packages == second.packages
        assert first.environment_key != second.environment_key
        climb(node, first, 101)
        climb(node, second, 102)
        for number in (101, 102):
            found = await node.until(outcome_of(number))
            assert isinstance(found, StepReached), found
        told = {each.function for each in node.said if each.stream == "build"}
        assert told == {"version.default", "again.default"}, "both hear of the one build"
        assert len(built_folders(node, first)) == 1
        phases = [e.phase for e in node.events if isinstance(e, ClimbProgress) and e.command == 101]
        assert phases == ["environment", "import"]
        await node.descend("environment", first.environment_key, Step.LOCAL)
        quick = await node.import_environment(first)
        assert isinstance(quick, StepReached)
        assert not [e for e in node.events if isinstance(e, ClimbProgress) and e.command == quick.command]

    on_node(scenario)


def test_only_what_nobody_uses_is_removed(on_node: Callable[..., None], shelf: Path) -> None:
    make_wheel(shelf, "tiny", "1.0")

    async def scenario(node: NodeUnderTest) -> None:
        spec = await required(node, *from_shelf(shelf, "tiny"))
        await node.import_environment(spec)
        names = (spec.packages, "nothing")
        assert await node.engine.remove_packages(names) == ()
        await node.descend("environment", spec.environment_key, Step.LOCAL)
        assert await node.engine.remove_packages(names, cache=True) == (spec.packages,)
        assert not node.store.environments.cache.exists()
        assert isinstance(await node.import_environment(spec), StepReached)

    on_node(scenario)


def test_a_request_that_is_lost(on_node: Callable[..., None], shelf: Path) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        spec = await required(node, *from_shelf(shelf, "tiny"))
        node.store.environments.forget_requests(set())
        failed = await node.import_environment(spec)
        assert (failed.code, failed.permanent) == ("build_failed", True)
        assert "deploy it again" in failed.message

    on_node(scenario)
