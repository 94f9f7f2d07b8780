"""Builds of environments that fail, are given up or want too much: nothing half done counts."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glowplug.core.events import Built, CommandFailed, NodeJoined, StepLost, StepReached
from glowplug.core.ladder import Step
from glowplug.core.specs import FunctionSpec
from glowplug.node.isolation import landlock
from tests.wheels import make_source, make_wheel

from .conftest import WAIT_S, NodeUnderTest
from .packages import built_folders, climb, from_shelf, outcome_of, required

pytestmark = pytest.mark.e2e


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


@pytest.mark.skipif(landlock.version() < 2, reason="this kernel's Landlock is not enough for a build")
def test_a_build_from_source_leaves_nothing_where_nobody_would_count_it(
    on_node: Callable[..., None], shelf: Path
) -> None:
    """In the machine's shared memory it would stay, and take memory, when the build is long over."""
    name = f"glowplug-test-{secrets.token_hex(8)}"
    places = [Path(folder) / name for folder in ("/dev/shm", "/tmp", "/var/tmp")]
    leaves = f"""for place in {[str(place) for place in places]!r}:
    try:
        open(place, "w").close()
    except OSError:
        continue
    print("left", place, flush=True)"""
    make_source(shelf, "tiny", "3.0", leaves)

    async def scenario(node: NodeUnderTest) -> None:
        spec = await required(node, *from_shelf(shelf, "tiny"), source=True)
        reached = await node.import_environment(spec)
        assert isinstance(reached, StepReached), reached
        try:
            assert [place for place in places if place.exists()] == []
        finally:
            for place in places:
                place.unlink(missing_ok=True)

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


def test_what_nobody_expected_of_a_build_fails_its_climbs_and_holds_up_no_others(
    on_node: Callable[..., None], shelf: Path
) -> None:
    """What was installed is recorded by the names of folders, and this one is no text."""
    make_source(
        shelf,
        "tiny",
        "5.0",
        "import glob, os\nattempt = os.environ['HOME'].removesuffix('.home')\n"
        "for site in glob.glob(attempt + '/lib/python3*/site-packages'):\n"
        "    os.makedirs(os.fsencode(site) + b'/odd\\xff-1.dist-info', exist_ok=True)",
    )

    async def scenario(node: NodeUnderTest) -> None:
        spec = await required(node, *from_shelf(shelf, "tiny"), source=True)
        failed = await node.import_environment(spec)
        assert isinstance(failed, CommandFailed)
        assert (failed.code, failed.permanent) == ("unavailable", False), failed.message
        assert "UnicodeEncodeError" in failed.message, failed.message
        (shelf / "tiny-5.0.tar.gz").unlink()
        make_wheel(shelf, "tiny", "5.0")
        assert isinstance(await node.import_environment(spec), StepReached)

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
