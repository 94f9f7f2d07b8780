"""What is sent down together ends together, and nothing counts as free before it is."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from glowplug.bench.workloads import tail_models, write_tail
from glowplug.bundle.store import BundleStore
from glowplug.core.commands import Descend, Target
from glowplug.core.events import StepLost, StepReached
from glowplug.core.ids import CommandId
from glowplug.core.ladder import Step
from glowplug.loader.pagecache import evict_page_cache, page_cache_bytes
from glowplug.node import processes, weights, wire
from glowplug.node.isolation.seats import Seat
from glowplug.node.messages import CacheWeights
from glowplug.node.processes import Process
from glowplug.node.roster import Held, Roster
from glowplug.node.weights import Weights

from .conftest import NODE, WAIT_S, NodeUnderTest


@pytest.mark.e2e
def test_weights_go_after_the_worker_and_the_zygote_that_have_them_mapped(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        source = write_tail(tail_models(1, 4_000_000, 4_000_000, seed=1), node_folder)
        spec = (await node.specs(source))["tail-0"]
        assert isinstance(await node.import_environment(spec), StepReached)
        built = await node.build(spec)
        assert isinstance(await node.stage(spec, built.facts), StepReached)
        assert isinstance(await node.park(spec, 1, Step.STAGED), StepReached)
        for number, (kind, key) in enumerate(
            (("instance", "1"), ("version", spec.version), ("weights", spec.version)), start=1000
        ):
            target = Target(kind, NODE, key)  # type: ignore[arg-type]
            node.engine.submit(Descend(CommandId(number), target, Step.LOCAL, "test"))
        await node.until(lambda event: isinstance(event, StepLost) and event.command == 1002)
        lost = [event.command for event in node.events if isinstance(event, StepLost)]
        assert sorted(lost[:2]) == [1000, 1001]
        assert lost[2:] == [1002]

    on_node(scenario)


ALIKE = """
import torch
import glowplug
app = glowplug.App("alike")

class Alike:
    def build(self):
        return torch.nn.Linear(1024, 1024, bias=False)

    def example(self):
        return {"value": 1.0}

    @glowplug.endpoint
    def answer(self, value: float) -> float:
        return float(self.model(torch.full((1, 1024), value)).sum())

def weights():
    return {"weight": torch.ones(1024, 1024)}

for name in ("One", "Two"):
    made = type(name, (Alike,), {"__module__": __name__})
    globals()[name] = app.model(weights=weights, libraries=["torch"])(made)
"""


@pytest.mark.e2e
@pytest.mark.torch
def test_a_pack_goes_after_all_that_have_it_mapped_whosever_they_are(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    pytest.importorskip("torch", reason="needs the torch extra")
    source = node_folder / "alike_app.py"
    source.write_text(ALIKE)

    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(source)
        assert isinstance(await node.import_environment(specs["one"]), StepReached)
        packs = []
        for instance, name in enumerate(("one", "two"), start=1):
            built = await node.build(specs[name])
            packs.append(built.facts.pack)
            assert isinstance(await node.stage(specs[name], built.facts), StepReached)
            assert isinstance(await node.park(specs[name], instance, Step.STAGED), StepReached)
        assert packs[0] == packs[1]
        targets = [("instance", "1"), ("version", specs["one"].version), ("instance", "2"),
                   ("version", specs["two"].version), ("weights", packs[0])]  # fmt: skip
        for number, (kind, key) in enumerate(targets, start=1000):
            target = Target(kind, NODE, key)  # type: ignore[arg-type]
            node.engine.submit(Descend(CommandId(number), target, Step.LOCAL, "test"))
        await node.until(lambda event: isinstance(event, StepLost) and event.command == 1004)
        lost = [event.command for event in node.events if isinstance(event, StepLost)]
        assert lost[4:] == [1004]
        pack = node.store.pack_path(packs[0])
        assert page_cache_bytes(pack) == 0 or keeps_pages(node_folder)

    on_node(scenario)


@pytest.mark.e2e
@pytest.mark.torch
def test_weights_leave_the_page_cache_though_another_functions_zygote_has_them(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    """As an experiment asks for: no worker has them, and each zygote can do without."""
    pytest.importorskip("torch", reason="needs the torch extra")
    source = node_folder / "alike_app.py"
    source.write_text(ALIKE)

    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(source)
        assert isinstance(await node.import_environment(specs["one"]), StepReached)
        for name in ("one", "two"):
            built = await node.build(specs[name])
            assert isinstance(await node.stage(specs[name], built.facts), StepReached)
        warm_bytes = await node.engine.cache_weights(specs["two"].version, True)
        assert warm_bytes >= 4 * 1024 * 1024
        left_bytes = await node.engine.cache_weights(specs["two"].version, False)
        assert left_bytes < 2**20 or keeps_pages(node_folder)

    on_node(scenario)


def keeps_pages(folder: Path) -> bool:
    """Whether this file system cannot drop a file's pages, as tmpfs cannot."""
    path = folder / "dropped"
    path.write_bytes(bytes(2**20))
    evict_page_cache(path)
    return page_cache_bytes(path) > 0


def test_a_zygote_that_does_not_answer_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may be another function's, whose own code holds it up."""
    did: list[Any] = []

    async def on_disk(call: Any, *arguments: Any) -> Any:
        did.append(call)
        return call(*arguments)

    def nothing(*_: Any) -> None:
        return

    async def main() -> None:
        store, roster = BundleStore(tmp_path), Roster()
        store.prepare()
        store.pack_path("model").write_bytes(bytes(2**20))
        ours, theirs = wire.socket_pair()
        silent = Process("silent", ours, nothing, nothing, nothing)
        target, seat = Target("version", NODE, "f-v1"), Seat("f-v1", "e", 0, None, tmp_path)
        roster.add(Held(target, silent, None, 0.0, seat, weights=("f-v1", "model"), ready=True))
        agent = SimpleNamespace(store=store, roster=roster, on_disk=on_disk)
        held = Weights(agent)  # type: ignore[arg-type]

        monkeypatch.setattr(weights, "_ANSWERS_S", 0.0)
        left_bytes = await asyncio.wait_for(held.cache(CacheWeights(1, "model", False)), WAIT_S)
        assert left_bytes == 0 or keeps_pages(tmp_path)

        monkeypatch.setattr(weights, "_ANSWERS_S", WAIT_S)
        did.clear()
        again = asyncio.create_task(held.cache(CacheWeights(2, "model", False)))
        for answers in range(2):
            for _ in range(10):
                await asyncio.sleep(0)
            assert did == [], f"{answers} answers came, and the first was to what was asked before"
            held.on_mapped(silent)
        await asyncio.wait_for(again, WAIT_S)
        asyncio.get_running_loop().remove_reader(ours.fileno())
        ours.close()
        theirs.close()

    asyncio.run(main())


def test_who_is_ended_is_gone_when_the_kernel_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent, here this very process, need not have reaped it, nor is that waited for."""
    monkeypatch.setattr(processes, "_EXIT_GRACE_S", 2 * WAIT_S)

    async def main() -> None:
        over: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        ours, theirs = wire.socket_pair()

        def nothing(*_: Any) -> None:
            return

        process = Process("sleeper", ours, nothing, lambda _, why, code: over.set_result(code), nothing)
        pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
        try:
            process.born(pid, os.pidfd_open(pid))
            process.end()
            assert await asyncio.wait_for(over, WAIT_S) is None
            assert process.exited
        finally:
            theirs.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    asyncio.run(main())
