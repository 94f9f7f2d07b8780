"""Functions that share devices, through the whole server; its journal, replayed, gives the same commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from glowplug.bench.systems.processes import named
from glowplug.control.journal_files import replay
from glowplug.core.devices import Fault
from glowplug.core.errors import InvalidArguments, UnknownDevice, UnknownRequest
from glowplug.core.ids import DeviceId
from glowplug.core.status import DeviceStatus
from tests.e2e.conftest import Door, Server, found_in, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

SOURCE = """
import os, socket
import glowplug
app = glowplug.App("shared", namespace="default")

def declare(name):
    def call(text: str) -> str:
        return name + text
    call.__name__ = call.__qualname__ = name
    return app.function(device="gpu", device_memory="400MB", memory="64MB")(call)

one, two, three, four, five = map(declare, ("one", "two", "three", "four", "five"))

@app.function(device="gpu", device_memory="400MB", memory="64MB", network=True)
def held(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port)) as door:
        door.sendall(b"%d\\n" % os.getpid())
        door.makefile().readline()
    return "let go"

@app.function(device="gpu", device_memory="2GB", memory="64MB")
def huge() -> None: ...

@app.function(memory="64MB")
def plain(text: str) -> str:
    return text
"""
NAMES = ("one", "two", "three", "four", "five")
CARDS = (DeviceId("local/virtual0"), DeviceId("local/virtual1"))


@pytest.fixture(scope="module")
def shared(make_folder: Callable[[], Path]) -> Iterator[Server]:
    """Two devices for two models each."""
    folder = make_folder()
    with serving(folder, options=("--devices", "virtual:2x1GB@20GB/s,run=1ms")) as server:
        server.deploy(server.write(SOURCE))
        yield server
        for function in server.client.functions():
            assert (function.queued, function.in_flight) == (0, 0), function.name
    report = replay(folder / "state" / "journal")
    assert (report.mismatches, report.torn_bytes) == ([], 0)
    assert report.events > 0


def ask(server: Server, name: str, text: str = "!") -> str:
    answer = server.post(name, {"text": text})
    assert answer.status_code == 200, answer.text
    assert answer.json() == name + text
    return answer.headers["x-glowplug-request"]


def devices(server: Server) -> dict[str, DeviceStatus]:
    found = server.client.devices()
    assert all(each.used_bytes == 400 * 10**6 * len(each.residents) for each in found)
    return {each.device: each for each in found}


def holders(server: Server, name: str) -> list[str]:
    """The devices where its model is ready."""
    return [
        device.device
        for device in server.client.devices()
        for resident in device.residents
        if resident.function == f"{name}.default" and resident.step in ("parked", "busy")
    ]


def residents(server: Server) -> set[int]:
    """The instances that lie on any device."""
    return {each.instance for device in devices(server).values() for each in device.residents}


def command(server: Server, *words: str) -> str:
    shown = subprocess.run(
        [sys.executable, "-m", "glowplug", *words, "--url", server.url],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


def test_more_models_than_there_is_room_for_are_all_answered(shared: Server) -> None:
    for text in ("a", "b"):
        for name in NAMES:
            ask(shared, name, text)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ask(shared, NAMES[n * n % 5], str(n)), range(40)))
    found = devices(shared)
    assert list(found) == list(CARDS)
    assert all(len(each.residents) <= 2 for each in found.values())
    status = shared.client.describe("one")
    assert (status.device, status.max_workers > 1000) == ("gpu", True)


def test_what_context_processes_had_goes_with_a_killed_agent(make_folder: Callable[[], Path]) -> None:
    folder = make_folder()
    device = "virtual:1x1GB@20GB/s,context=10MB/20ms"
    with serving(folder, options=("--devices", device)) as server:
        server.deploy(server.write(SOURCE))
        seats = lambda: found_in(server.run_dir, "scratch/e*/c*")  # noqa: E731
        for agent_lives in (True, False):
            for name in ("one", "two", "one", "two"):
                ask(server, name)
                server.client.descend(name, "imported")
            until(lambda: len(seats()) == 1, "the one that waits has a seat, those that served have none")
            if agent_lives:
                os.kill(server.agent_pid, signal.SIGKILL)
                until(lambda: not seats(), "the next agent has removed it")
        bundles = list((folder / "state" / "bundles").glob("*/code/*"))
        assert bundles
        assert all(path.stat().st_size for path in bundles)


def test_what_fits_nowhere_is_refused_at_once(shared: Server) -> None:
    answer = shared.post("huge")
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_space")
    assert "use a larger device" in answer.json()["error"]["message"]


def test_devices_are_seen_everywhere(shared: Server) -> None:
    ask(shared, "one")
    assert [each.device for each in shared.client.load().devices] == list(CARDS)
    assert f'glowplug_device_used_bytes{{device="{CARDS[0]}"}}' in shared.http.get("/metrics").text
    assert "local/virtual1" in command(shared, "ps")
    assert "local/virtual1" in command(shared, "top", "--once", "--interval", "100ms")
    listed = json.loads(command(shared, "devices", "ls", "--json"))
    assert [each["device"] for each in listed] == list(CARDS)
    assert "one" in command(shared, "devices", "ls")
    assert "as many as pay off" in command(shared, "describe", "one")


def test_why_a_request_went_where_it_went(shared: Server, make_folder: Callable[[], Path]) -> None:
    for name in NAMES:
        ask(shared, name)
    # Now both devices are full, and there is always one that has to be loaded.
    number = next(ask(shared, name) for name in NAMES if not holders(shared, name))
    found = shared.client.explain(int(number))
    assert found.outcome == "answered"
    assert found.warnings == ()
    assert [each.what for each in found.decisions if each.what != "wait"] == ["load", "send"]
    load = next(each for each in found.decisions if each.what == "load")
    assert {place.place for place in load.places} == set(CARDS)
    (eviction,) = found.evictions
    assert len(eviction.evicted) == 1
    assert all(each.score >= eviction.evicted[0].score for each in eviction.spared)
    shown = command(shared, "explain", number)
    assert "WOULD EVICT" in shown
    assert eviction.evicted[0].function in shown
    journal = str(shared.folder / "state" / "journal")
    offline = subprocess.run(
        [sys.executable, "-m", "glowplug", "explain", number, "--journal", journal, "--json"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert (
        json.loads(offline.stdout)["decisions"]
        == json.loads(command(shared, "explain", number, "--json"))["decisions"]
    )
    with pytest.raises(UnknownRequest, match="does not know request 7"):
        shared.client.explain(7)


def test_a_request_under_a_lease_needed_no_decision(shared: Server) -> None:
    first = int(shared.post("plain", {"text": "x"}).headers["x-glowplug-request"])
    assert shared.client.explain(first).policy == "dispatch finish-first"

    def needed_none() -> bool:
        following = shared.post("plain", {"text": "x"}).headers["x-glowplug-request"]
        try:
            shared.client.explain(int(following))
        except UnknownRequest as error:
            return "under a lease" in error.message
        return False

    until(needed_none, "a request under a lease")


def test_a_load_that_fails_is_tried_elsewhere_or_again(shared: Server) -> None:
    shared.client.disturb(CARDS[0], Fault("loads", 1))
    for name in NAMES:
        ask(shared, name)
    for card in CARDS:
        shared.client.disturb(card, Fault("loads", 9))
    refused = [answer for name in NAMES if (answer := shared.post(name, {"text": "?"})).status_code != 200]
    assert len(refused) >= len(NAMES) - 4, "all whose models did not lie there"
    for answer in refused:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert "failed to copy 400000000 bytes" in answer.json()["error"]["message"]
    for card in CARDS:
        shared.client.disturb(card, Fault("none"))
    until(lambda: shared.post(NAMES[0], {"text": "!"}).status_code == 200, "the pause after it is over")


def test_a_device_that_is_slow_still_answers(shared: Server) -> None:
    command(shared, "devices", "fail", CARDS[0], "slow", "--factor", "10")
    for name in NAMES:
        ask(shared, name)
    command(shared, "devices", "restore", CARDS[0])


def test_what_runs_on_a_device_that_is_lost_is_told_and_the_rest_goes_on(
    shared: Server, door: Door, pool: ThreadPoolExecutor
) -> None:
    going: Any = pool.submit(shared.post, "held", {"port": door.port})
    pid = shared.outer(door.visitor().pid)
    assert pid is not None
    (card,) = holders(shared, "held")
    waiting = [pool.submit(ask, shared, name, "?") for name in NAMES]
    shared.client.disturb(DeviceId(card), Fault("gone"))
    answer = going.result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "worker_died")
    assert f"device {card}: it is gone" in answer.json()["error"]["message"]
    assert not Path(f"/proc/{pid}").exists(), "its worker went with it"
    for each in waiting:
        each.result()
    assert card not in devices(shared)
    for name in NAMES:
        ask(shared, name)
    shared.client.disturb(DeviceId(card), Fault("none"))
    assert devices(shared)[card].used_bytes == 0
    for name in NAMES:
        ask(shared, name)


def test_a_device_that_lost_its_memory_is_filled_again(shared: Server) -> None:
    ask(shared, "one")
    before = residents(shared)
    for card in CARDS:
        shared.client.disturb(card, Fault("memory"))
    assert not residents(shared) & before, "what has come since was loaded again"
    ask(shared, "one")
    assert holders(shared, "one")


def test_without_any_device_nobody_waits_for_one(shared: Server) -> None:
    for card in CARDS:
        shared.client.disturb(card, Fault("gone"))
    answer = shared.post("one", {"text": "?"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert "serve --devices" in answer.json()["error"]["message"]
    for card in CARDS:
        shared.client.disturb(card, Fault("none"))
    ask(shared, "one")


def test_what_cannot_be_broken_is_named(shared: Server) -> None:
    with pytest.raises(UnknownDevice, match="there are: local/virtual0, local/virtual1"):
        shared.client.disturb(DeviceId("local/virtual7"), Fault("gone"))
    shared.client.disturb(CARDS[0], Fault("gone"))
    with pytest.raises(InvalidArguments, match="restore it first"):
        shared.client.disturb(CARDS[0], Fault("gone"))
    shared.client.disturb(CARDS[0], Fault("none"))


def test_an_agent_that_dies_comes_back_with_its_devices(shared: Server) -> None:
    ask(shared, "two")
    before = shared.client.devices()
    (agent,) = named("glowplug-agent", shared.tree())
    os.kill(agent, signal.SIGKILL)
    until(lambda: holders(shared, "two") == [], "its devices are empty")
    until(lambda: len(shared.client.devices()) == len(before), "its devices are there again")
    until(lambda: shared.post("two", {"text": "!"}).status_code == 200, "it answers again")
