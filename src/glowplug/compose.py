"""The composition root: the only place that picks concrete classes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from glowplug.bundle.artifacts import open_artifacts
from glowplug.bundle.store import BundleStore
from glowplug.calls.desk import CallDesk
from glowplug.control.driver import Driver
from glowplug.control.journal_files import JournalWriter
from glowplug.control.leases import LeaseTable
from glowplug.control.state import ControlState
from glowplug.control.status import node_statuses
from glowplug.core.events import CommandFailed, Event, InstanceExited, NodeLost, StepLost
from glowplug.core.ids import FunctionId, GatewayId, InstanceId
from glowplug.core.settings import CallSettings, ControlSettings, GatewaySettings, NodeSettings
from glowplug.core.specs import LEAST_MEMORY_BYTES, FunctionSpec
from glowplug.engines.local import LocalEngine
from glowplug.gateway.dispatching import GatewayDispatcher
from glowplug.gateway.flight import Place
from glowplug.gateway.http import HttpGateway
from glowplug.gateway.lifecycle import Gateway
from glowplug.node.messages import Said
from glowplug.server.database import Database
from glowplug.server.explaining import Explainer
from glowplug.server.gateways.group import GatewayGroup
from glowplug.server.logs import LogBook
from glowplug.server.platform import LocalPlatform
from glowplug.server.pressure import PressureWatch

GATEWAY = GatewayId("http")


class System:
    """One machine's Glowplug, put together and not yet started."""

    def __init__(
        self,
        control: ControlSettings,
        gateway: GatewaySettings,
        node: NodeSettings,
        calls: CallSettings,
        on_fatal: Callable[[BaseException], None],
        journal: bool = True,
        gateways: int = 1,
    ) -> None:
        """`gateways` is how many there are to be; `group` has those beside the server's own."""
        state_dir = Path(node.state_dir)
        self.store = BundleStore(state_dir, open_artifacts(node.artifacts))
        self.store.prepare()
        self.database = Database(state_dir / "glowplug.db")
        self.logs = LogBook(node.log_lines_kept)
        self.engine = LocalEngine(node, self._attach, self._env_of, self._on_said, several=gateways > 1)
        folder = state_dir / "journal" if journal else None
        writer = JournalWriter(folder) if folder is not None else None
        offset_s = time.time() - time.monotonic()
        clock = steady_epoch_clock(offset_s)
        self.driver = Driver(
            ControlState(control), _Observed(self.engine, self._observe), writer, clock, on_fatal
        )
        self.platform = LocalPlatform(
            self.store, self.database, self.driver, self.engine, self.logs, gateway.max_upload_bytes,
            node.environments_bytes, Explainer(folder),
        )  # fmt: skip
        self.gateway = Gateway(
            GATEWAY, gateway, leases=LeaseTable(GATEWAY), known=self.platform.deployments.known,
            post=self.driver.post, clock=clock, place=Place(0, gateways),
        )  # fmt: skip
        self.driver.register_gateway(GATEWAY, self.gateway)
        self.group: GatewayGroup | None = None
        if gateways > 1:
            self.group = GatewayGroup(
                self.gateway,
                gateways,
                offset_s,
                node.state_dir,
                self.driver.post,
                self.driver.register_gateway,
            )
            self.platform.deployments.on_known = self.group.know
        self._wires: Gateway | GatewayGroup = self.gateway if self.group is None else self.group
        self.pressure: PressureWatch | None = None
        if node.gives_way:
            state, least_bytes = self.driver.state, control.environment_estimate_bytes + LEAST_MEMORY_BYTES
            self.pressure = PressureWatch(
                Path(node.files_root), least_bytes, lambda: node_statuses(state), self.driver.post, clock
            )
        self.calls = CallDesk(state_dir / "calls.db", calls, GatewayDispatcher(self.gateway), clock)
        self.http = HttpGateway(self.gateway, self.platform, self.calls)

    async def start(self) -> None:
        """Starts the node and brings back every deployed function. Raises Unavailable."""
        self.driver.start()
        await self.engine.start()
        if self.pressure is not None:
            self.pressure.start()
        self.platform.deployments.restore()
        await self.calls.start()

    async def drain(self) -> bool:
        """Refuses new requests and waits for the others, as long as settings allow; True when all ended."""
        return await self._wires.drain()

    async def close(self) -> None:
        """Ends everything. In-flight requests are the gateway's to drain before."""
        await self.calls.close()
        if self.pressure is not None:
            await self.pressure.close()
        if self.group is not None:
            await self.group.close()
        await self.gateway.close()
        await self.driver.close()
        self.platform.close()

    def _attach(self, instance: InstanceId, sock: socket.socket) -> None:
        self._wires.attach(instance, sock)

    def _env_of(self, spec: FunctionSpec) -> dict[str, str]:
        return self.platform.deployments.env_of(spec)

    def _on_said(self, said: Said) -> None:
        kept = self.platform.deployments.known(FunctionId(said.function)) is not None
        self.logs.add(said.function, said.instance, said.stream, said.lines, kept=kept)

    def _observe(self, event: Event) -> None:
        """After the controller has had its say: an instance that ended needs no connection any more."""
        self.platform.observe(event)
        if isinstance(event, NodeLost):
            self._wires.detach_all(event.why)
            return
        ended = _ended_instance(event)
        if ended is not None:
            self._wires.detach(*ended)


class _Observed:
    """An engine whose events are also shown to somebody, after the controller has handled them."""

    def __init__(self, engine: LocalEngine, observe: Callable[[Event], None]) -> None:
        self._engine = engine
        self._observe = observe
        self.submit = engine.submit
        self.close = engine.close

    def connect(self, emit: Callable[[Event], None]) -> None:
        def both(event: Event) -> None:
            emit(event)
            self._observe(event)

        self._engine.connect(both)


def _ended_instance(event: Event) -> tuple[InstanceId, str, str] | None:
    """The instance that an event says has ended, why, and the code of its requests' error."""
    if isinstance(event, InstanceExited):
        return event.instance, event.why, event.code
    if isinstance(event, (StepLost, CommandFailed)) and event.target.kind == "instance":
        why = event.why if isinstance(event, StepLost) else event.message
        return InstanceId(int(event.target.key)), why, "worker_died"
    return None


def steady_epoch_clock(offset_s: float) -> Callable[[], float]:
    """Epoch seconds that never run backwards, whatever is done to the machine's wall clock: the monotonic
    clock's and `offset_s`."""
    return lambda: time.monotonic() + offset_s


def default_state_dir() -> Path:
    """`$XDG_STATE_HOME/glowplug`, else `~/.local/state/glowplug`."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "glowplug"
