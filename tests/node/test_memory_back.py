"""What is sent down together ends together, and nothing counts as free before it is."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glowplug.bench.workloads import tail_models, write_tail
from glowplug.core.commands import Descend, Target
from glowplug.core.events import StepLost, StepReached
from glowplug.core.ids import CommandId
from glowplug.core.ladder import Step
from glowplug.node import processes, wire
from glowplug.node.processes import Process

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
