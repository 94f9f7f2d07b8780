"""Packages are installed once for all who require them, by real installers, and nothing half done counts."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from glowplug.bundle.files import tree_bytes
from glowplug.core.commands import Climb, Target
from glowplug.core.events import Built, ClimbProgress, CommandFailed, Event, NodeJoined, StepLost, StepReached
from glowplug.core.ids import CommandId
from glowplug.core.ladder import Step
from glowplug.core.specs import FunctionSpec
from glowplug.node.installer import find_installer
from tests.wheels import make_source, make_wheel

from .conftest import NODE, WAIT_S, NodeUnderTest

pytestmark = pytest.mark.e2e

SOURCE = """
import glowplug, os
import tiny
app = glowplug.App("env", requirements={lines}, build_from_source={from_source})

@app.function(name="{name}", libraries={libraries})
def version() -> list:
    return [tiny.VERSION, os.path.basename(glowplug.__file__), os.access(tiny.__file__, os.W_OK)]
"""

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


@pytest.fixture
def shelf() -> Iterator[Path]:
    """A folder of packages that an installer's own user can read."""
    folder = Path(tempfile.mkdtemp(prefix="glowplug-shelf-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


async def required(
    node: NodeUnderTest,
    *lines: str,
    name: str = "version",
    namespace: str = "default",
    source: bool = False,
    libraries: tuple[str, ...] = (),
) -> FunctionSpec:
    path = node.folder / "env_app.py"
    path.write_text(SOURCE.format(lines=list(lines), name=name, from_source=source, libraries=libraries))
    spec = (await node.specs(path))[name]
    return msgspec.structs.replace(spec, namespace=namespace)


def from_shelf(shelf: Path, *lines: str) -> tuple[str, ...]:
    return ("--no-index", f"--find-links {shelf}", *lines)


def climb(node: NodeUnderTest, spec: FunctionSpec, number: int) -> None:
    target = Target("environment", NODE, spec.environment_key)
    node.engine.submit(Climb(CommandId(number), target, Step.IMPORTED, spec))


def outcome_of(number: int) -> Callable[[Event], bool]:
    return lambda e: isinstance(e, (StepReached, CommandFailed)) and e.command == number


def built_folders(node: NodeUnderTest, spec: FunctionSpec) -> list[Path]:
    folder = node.store.environments.built / spec.packages
    return [path for path in folder.iterdir() if path.is_dir()] if folder.exists() else []


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


def test_what_cannot_be_installed(on_node: Callable[..., None], shelf: Path) -> None:
    make_wheel(shelf, "tiny", "1.0")
    make_source(shelf, "raw", "1.0", "raise SystemError('never to be run')")

    async def scenario(node: NodeUnderTest) -> None:
        for line in ("tiny==9.9", "raw==1.0", "numpy==1.20"):
            spec = await required(node, *from_shelf(shelf, line))
            failed = await node.import_environment(spec)
            assert isinstance(failed, CommandFailed), line
            assert (failed.code, failed.permanent) == ("build_failed", True)
            assert "could not install what it requires" in failed.message
            assert line.partition("==")[0] in failed.message
            assert "never to be run" not in str(node.said)
            assert built_folders(node, spec) == []

    on_node(scenario)


def test_a_build_from_source_is_not_run_by_us(on_node: Callable[..., None], shelf: Path) -> None:
    told = "import os; print('built by', os.getuid(), os.getgroups(), flush=True)"
    make_source(shelf, "tiny", "3.0", told)

    async def scenario(node: NodeUnderTest) -> None:
        spec = await required(node, *from_shelf(shelf, "tiny"), source=True)
        reached = await node.import_environment(spec)
        assert isinstance(reached, StepReached), reached
        assert isinstance(await node.build(spec), Built)

    on_node(scenario)


def waiting_source(shelf: Path, port: int) -> None:
    """Its build tells its user and waits at a door until somebody lets it in; it leaves a daemon behind."""
    code = f"""import os, socket, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 256)
        door = socket.create_connection(("127.0.0.1", {port}))
        door.sendall(b"daemon %d\\n" % os.getpid())
        door.recv(1)
    os._exit(0)
door = socket.create_connection(("127.0.0.1", {port}))
door.sendall(b"build %d\\n" % os.getuid())
door.recv(1)
"""
    make_source(shelf, "tiny", "4.0", code)


Visitor = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def at_door(node: NodeUnderTest, shelf: Path, play: Callable[..., Any]) -> None:
    """Plays with the build and its daemon, once both have come to the door."""
    visitors: asyncio.Queue[Visitor] = asyncio.Queue()
    door = await asyncio.start_server(lambda *both: visitors.put_nowait(both), "127.0.0.1")
    async with door:
        waiting_source(shelf, door.sockets[0].getsockname()[1])
        spec = await required(node, *from_shelf(shelf, "tiny"), source=True)
        climb(node, spec, 201)
        found: dict[str, tuple[int, Visitor]] = {}
        for _ in range(2):
            visitor = await asyncio.wait_for(visitors.get(), WAIT_S)
            who, number = (await visitor[0].readline()).split()
            found[who.decode()] = (int(number), visitor)
        await play(spec, found)
        for _, (_, writer) in found.values():
            writer.close()


async def gone(visitor: Visitor) -> None:
    """Returns when the process at the other end is."""
    try:
        assert await asyncio.wait_for(visitor[0].read(), WAIT_S) == b""
    except ConnectionResetError:
        pass


def test_a_build_runs_as_its_own_user_and_leaves_nobody(on_node: Callable[..., None], shelf: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: else builds run as the server's own user")

    async def scenario(node: NodeUnderTest) -> None:
        async def play(spec: FunctionSpec, found: dict[str, tuple[int, Visitor]]) -> None:
            uid, build = found["build"]
            if not node.engine.isolation["own user"].startswith("no"):
                assert uid > 1_000_000
            build[1].write(b"\n")
            reached = await node.until(outcome_of(201))
            assert isinstance(reached, StepReached), reached
            await gone(found["daemon"][1])

        await at_door(node, shelf, play)

    on_node(scenario)


def test_a_build_that_is_given_up_ends(on_node: Callable[..., None], shelf: Path) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async def play(spec: FunctionSpec, found: dict[str, tuple[int, Visitor]]) -> None:
            lost = await node.descend("environment", spec.environment_key, Step.LOCAL)
            assert isinstance(lost, StepLost)
            await gone(found["build"][1])

        await at_door(node, shelf, play)

    on_node(scenario)


def test_a_build_dies_with_the_agent_and_is_made_again(on_node: Callable[..., None], shelf: Path) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async def play(spec: FunctionSpec, found: dict[str, tuple[int, Visitor]]) -> None:
            node.events.clear()
            os.kill(node.engine.agent_pid, signal.SIGKILL)
            await gone(found["build"][1])
            await node.until(lambda e: isinstance(e, NodeJoined))
            if os.geteuid() == 0:
                await gone(found["daemon"][1])
            assert node.store.environments.whole(spec.packages) is None
            (shelf / "tiny-4.0.tar.gz").unlink()
            make_wheel(shelf, "tiny", "4.0")
            assert isinstance(await node.import_environment(spec), StepReached)
            assert len(built_folders(node, spec)) == 1

        await at_door(node, shelf, play)

    on_node(scenario)


def test_limits_of_time_and_disk(on_node: Callable[..., None], shelf: Path) -> None:
    make_source(shelf, "tiny", "5.0", "import signal; signal.pause()")

    async def slow(node: NodeUnderTest) -> None:
        spec = await required(node, *from_shelf(shelf, "tiny"), source=True)
        failed = await node.import_environment(spec)
        assert (failed.code, failed.permanent) == ("build_failed", True)
        assert "longer than 1 s" in failed.message
        assert built_folders(node, spec) == []

    async def large(node: NodeUnderTest) -> None:
        spec = await required(node, *from_shelf(shelf, "tiny"), source=True)
        failed = await node.import_environment(spec)
        assert failed.code == "no_space"
        assert "of disk" in failed.message

    on_node(slow, environment_build_s=1.0)
    on_node(large, environment_build_bytes=1000)


def test_a_disk_that_is_full_is_named(on_node: Callable[..., None], shelf: Path) -> None:
    make_source(shelf, "tiny", "6.0", "raise OSError(28, 'No space left on device')")

    async def scenario(node: NodeUnderTest) -> None:
        spec = await required(node, *from_shelf(shelf, "tiny"), source=True)
        failed = await node.import_environment(spec)
        assert (failed.code, failed.permanent) == ("no_space", True)
        assert built_folders(node, spec) == []

    on_node(scenario)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        ("os.mkfifo(place + '/pipe')", "no regular file: pipe"),
        ("os.link(place + '/pyvenv.cfg', place + '/linked')", "a hard link"),
    ],
    ids=["pipe", "link"],
)
def test_what_has_no_place_in_an_environment_is_refused(
    on_node: Callable[..., None], shelf: Path, make: str, told: str
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        places = f"{node.store.environments.built}/*/*/pyvenv.cfg"
        code = f"import glob, os\n(found,) = glob.glob({places!r})\nplace = os.path.dirname(found)\n{make}"
        make_source(shelf, "tiny", "1.0", code)
        spec = await required(node, *from_shelf(shelf, "tiny"), source=True)
        failed = await node.import_environment(spec)
        assert isinstance(failed, CommandFailed), failed
        assert (failed.code, failed.permanent) == ("build_failed", True)
        assert told in failed.message

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
