"""Models over several workers: asked by ordinary requests, and bit-equal to one worker."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glowplug.bench.systems.processes import command_name
from glowplug.core.bodies import NPY
from glowplug.core.errors import GlowplugError
from glowplug.loader import page_cache_bytes
from tests.e2e.conftest import APPS, Door, Server, found_in, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.torch, pytest.mark.xdist_group("e2e")]
pytest.importorskip("torch", reason="needs the torch extra")
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture(scope="module")
def gangs(server: Server) -> Server:
    server.deploy_some(APPS / "gangs.py", "one", "two", "four")
    return server


def called(server: Server, *names: str) -> list[int]:
    """The server's processes of these names, by what this machine calls them."""
    return [pid for pid in server.tree() if command_name(pid) in [name[:15] for name in names]]


def workers_of(server: Server, function: str) -> list[int]:
    return called(server, f"worker:{function}.default", f"part:{function}.default")


def shared_memory(server: Server) -> list[Path]:
    """Of all its gangs, as its agent sees it, who mounts for itself."""
    (agent,) = called(server, "glowplug-agent")
    return found_in(Path(f"/proc/{agent}/root{server.run_dir}/scratch"), "*/*/glowplug-*")


def answered(server: Server, function: str) -> Any:
    return server.client.invoke(function, {"tokens": TOKENS}, "forward", accept=NPY)


@pytest.mark.parametrize(("name", "workers"), [("two", 2), ("four", 4)])
def test_a_model_on_several_workers_answers_the_same_bits(gangs: Server, name: str, workers: int) -> None:
    expected = answered(gangs, "one")
    for _ in range(3):
        assert np.array_equal(answered(gangs, name), expected)
    assert gangs.client.describe(name).workers == workers
    assert len(workers_of(gangs, name)) == workers


@pytest.mark.parametrize("step", ["imported", "staged", "parked"])
def test_a_gang_climbs_from_every_step(gangs: Server, step: str) -> None:
    (gangs.client.climb if step == "parked" else gangs.client.descend)("two", step)
    answer = gangs.client.call("two", {"tokens": TOKENS}, "forward", accept=NPY)
    assert answer.origin == step
    assert np.array_equal(answer.value(), answered(gangs, "one"))


def test_weights_of_all_of_its_workers_are_brought_into_memory_and_out_of_it(gangs: Server) -> None:
    answered(gangs, "four")
    packs = [pack for pack in found_in(gangs.folder / "state" / "packs", "*") if pack.is_file()]
    gangs.client.descend("four", "local", "cold")
    cold = {pack for pack in packs if not page_cache_bytes(pack)}
    gangs.client.descend("four", "local", "warm")
    assert len({pack for pack in cold if page_cache_bytes(pack)}) == 4


def test_scale_to_zero_takes_the_whole_gang_down(gangs: Server) -> None:
    answered(gangs, "two")
    assert len(workers_of(gangs, "two")) == 2
    gangs.client.descend("two", "imported")
    until(lambda: not workers_of(gangs, "two"), "no worker of the gang is left")


def test_a_part_that_is_killed_is_one_named_failure_and_the_gang_comes_back(
    gangs: Server, door: Door, pool: ThreadPoolExecutor
) -> None:
    expected = answered(gangs, "two")
    before = set(workers_of(gangs, "two"))
    waiting = pool.submit(gangs.client.invoke, "two", {"port": door.port, "tokens": TOKENS}, "wait")
    head = gangs.outer(door.visitor().pid)
    (part,) = before - {head}
    os.kill(part, signal.SIGKILL)
    with pytest.raises(GlowplugError, match="worker 1 of its gang") as caught:
        waiting.result(60)
    assert caught.value.code == "worker_died"
    assert np.array_equal(answered(gangs, "two"), expected)
    until(lambda: not before & set(workers_of(gangs, "two")), "none of the old gang is left")


def test_an_error_in_a_part_is_the_requests_error(gangs: Server) -> None:
    expected = answered(gangs, "two")
    with pytest.raises(GlowplugError) as caught:
        gangs.client.invoke("two", {"tokens": [1000]}, "forward")
    assert caught.value.code == "function_failed"
    assert np.array_equal(answered(gangs, "two"), expected)


def test_several_requests_are_in_a_gang_at_once(gangs: Server, door: Door, pool: ThreadPoolExecutor) -> None:
    """All have begun before any has come to the model; each gets its own answer, bit for bit."""
    gangs.deploy_some(APPS / "gangs.py", "several")
    asked = [TOKENS[:length] for length in (2, 4, 6, 8)]
    expected = [gangs.client.invoke("one", {"tokens": each}, "forward", accept=NPY) for each in asked]
    waiting = [
        pool.submit(gangs.client.invoke, "several", {"port": door.port, "tokens": each}, "wait")
        for each in asked
    ]
    visitors = [door.visitor() for _ in asked]
    assert len({visitor.pid for visitor in visitors}) == 1, "one head has all of them"
    for visitor in visitors:
        visitor.let_go()
    for answer, right in zip(waiting, expected, strict=True):
        assert answer.result(60) == right.flatten().tolist()
    many = [pool.submit(answered, gangs, "several") for _ in range(20)]
    right = answered(gangs, "one")
    assert all(np.array_equal(each.result(60), right) for each in many)
    with pytest.raises(GlowplugError) as caught:
        gangs.client.invoke("several", {"tokens": [1000]}, "forward")
    assert caught.value.code == "function_failed"
    assert np.array_equal(answered(gangs, "several"), right)
    assert len(workers_of(gangs, "several")) == 4


def test_a_model_that_one_worker_cannot_hold_is_spread_over_as_few_as_can(gangs: Server) -> None:
    gangs.deploy_some(APPS / "gangs.py", "capped", "roomy")
    expected = answered(gangs, "one")
    for name, workers in (("capped", 2), ("roomy", 1)):
        assert np.array_equal(answered(gangs, name), expected)
        assert gangs.client.describe(name).workers == workers


def test_a_server_that_starts_again_finds_its_gangs(folder: Path) -> None:
    with serving(folder) as server:
        server.deploy_some(APPS / "gangs.py", "two")
        expected = answered(server, "two")
    with serving(folder) as server:
        until(lambda: server.client.describe("two").state == "ready", "it is found again")
        assert np.array_equal(answered(server, "two"), expected)
        assert server.client.describe("two").workers == 2
        assert len(shared_memory(server)) == 1
        server.client.descend("two", "imported")
        until(lambda: not shared_memory(server), "the gang's shared memory is gone")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("skipping", "need a chain of at least 2 modules"),
        ("tight", "more than the 20.0 kB"),
        ("hopeless", "bytes and memory= lets a worker have 20000 of them"),
    ],
)
def test_what_cannot_be_cut_is_refused_at_deploy(server: Server, name: str, why: str) -> None:
    server.client.deploy(name, server.upload(APPS / "gangs.py"))
    found = until(
        lambda: server.client.describe(name) if server.client.describe(name).state == "failed" else None,
        f"{name} is refused",
    )
    assert why in found.error
