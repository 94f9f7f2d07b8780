"""The devices of one node as its agent keeps them: what lies there, the order of copies, and their faults."""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import struct
import time
from typing import TYPE_CHECKING

import msgspec

from glowplug.core.commands import Climb
from glowplug.core.devices import DeviceSetting, Fault
from glowplug.core.errors import DeviceFailed, DeviceFull
from glowplug.core.events import DeviceJoined, DeviceLost
from glowplug.core.ids import DeviceId, NodeId
from glowplug.core.specs import DeviceSpec
from glowplug.loader import errors as loader_errors
from glowplug.loader.clock import RealClock
from glowplug.loader.devices.base import Reservation
from glowplug.loader.devices.counted import Ledger
from glowplug.loader.devices.virtual import Profile, VirtualCopy, VirtualDevice
from glowplug.node.messages import Disturb, Disturbed

if TYPE_CHECKING:
    from glowplug.node.agent import Agent
    from glowplug.node.roster import Held
    from glowplug.node.streams import Stream

_PACE = struct.Struct("d")
_F_SEAL_FUTURE_WRITE = 0x10
"""Of Linux: nobody writes it any more but by a mapping made before."""
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL | _F_SEAL_FUTURE_WRITE


class PacePage:
    """A number that the agent writes and every worker on its device reads: how much longer things take
    there."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("pace", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        """For workers, who may not write it: whoever has it could open it anew to do so."""
        os.ftruncate(self.descriptor, mmap.PAGESIZE)
        self._page = mmap.mmap(self.descriptor, mmap.PAGESIZE)
        self.set(1.0)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)

    def set(self, pace: float) -> None:
        _PACE.pack_into(self._page, 0, pace)

    def close(self) -> None:
        self._page.close()
        os.close(self.descriptor)


def read_pace(descriptor: int) -> float:
    pace: float = _PACE.unpack(os.pread(descriptor, _PACE.size, 0))[0]
    return pace


def virtual_device(setting: DeviceSetting, descriptor: int) -> VirtualDevice:
    """As the agent and each worker have it; its copies are the agent's business alone."""
    profile = Profile(
        setting.capacity_bytes, setting.copy_bytes_per_s, setting.latency_s, setting.run_s,
        setting.context_bytes, setting.context_s,
    )  # fmt: skip
    return VirtualDevice(profile, RealClock(), setting.name, lambda: read_pace(descriptor))


class SharedContext:
    """Of all workers of a namespace on one device."""

    def __init__(self, reservation: Reservation) -> None:
        self.reservation = reservation
        self.members = 0


class Residence:
    """What one worker has of a device, from before it is born until it is gone. Its weights begin to come at
    once, or with a `stream` as they come from there, unless its process has to open a context first."""

    def __init__(
        self,
        device: NodeDevice,
        reservation: Reservation,
        weight_bytes: int = 0,
        shared: SharedContext | None = None,
        *,
        has_context: bool = True,
        stream: Stream | None = None,
    ) -> None:
        self.device = device
        self.reservation = reservation
        self.shared = shared
        self.gone = False
        self._weight_bytes = weight_bytes
        self._has_context = has_context
        self._stream = stream
        self._copies: list[VirtualCopy] = []
        if has_context:
            stream.follow(self._comes) if stream is not None else self._comes(1.0)

    @property
    def setting(self) -> DeviceSetting:
        """What its worker is told of the device: whoever has a context waits for none."""
        setting = self.device.setting
        return msgspec.structs.replace(setting, context_s=0.0) if self._has_context else setting

    def _comes(self, share: float) -> None:
        """So much of the weights is in the node's memory."""
        if not self.gone:
            self._copies.append(self.device.copy(int(share * self._weight_bytes), self.reservation))

    async def arrived(self, took_s: float) -> float:
        """Called when the process is ready, `took_s` after the climb began; returns when the weights are
        there too, with the seconds that both took by themselves, without what was waited for a `stream`. A
        run occupies the device, so none begins before all has come to the node; onto a card the last of it
        may still be on its way. Raises the loader's DeviceFailed, and what the stream raises."""
        before_s = 0.0
        if self._stream is not None:
            await asyncio.shield(self._stream.here)
        if not self._has_context:
            self._comes(1.0)
            before_s = took_s
        for copy in self._copies:
            while not copy.done():
                await asyncio.sleep(copy.ready_s - time.monotonic())
            copy.wait()
        return max(took_s, before_s + sum(copy.took_s for copy in self._copies))


class NodeDevice:
    """One device. Its ledger asserts what the controller's says."""

    def __init__(self, node: str, setting: DeviceSetting) -> None:
        self.id = DeviceId(f"{node}/{setting.name}")
        self.setting = setting
        self.why_gone = ""
        self.emptied = asyncio.Event()
        """Whether nothing is left of what was there when it was lost."""
        self.page = PacePage() if setting.kind == "virtual" else None
        self._virtual = virtual_device(setting, self.page.descriptor) if self.page is not None else None
        self.ledger: VirtualDevice | Ledger = self._virtual or Ledger(self.id, setting.capacity_bytes)
        takes_time = setting.kind == "cuda" or (setting.kind == "virtual" and setting.context_s > 0)
        self.has_contexts = setting.ready and takes_time and not setting.shared
        """Whether one is ready for the next climb; its bytes are nobody else's then."""
        kept_bytes = setting.context_bytes if self.has_contexts else 0
        self.spec = DeviceSpec(
            self.id, self.ledger.capacity_bytes - kept_bytes, setting.at_once, setting.context_bytes
        )
        self._shared: dict[str, SharedContext] = {}

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a worker is given for it."""
        return () if self.page is None else (self.page.descriptor,)

    @property
    def is_empty(self) -> bool:
        return self.ledger.free_bytes == self.ledger.capacity_bytes

    def admit(self, climb: Climb, *, has_context: bool, stream: Stream | None = None) -> Residence:
        """Room for the instance of this climb, and its weights on their way; by `stream` if they still come
        to the node. Raises DeviceFailed, DeviceFull."""
        if self.why_gone:
            raise DeviceFailed(f"device {self.id}: {self.why_gone}")
        shared = self._share(climb)
        need_bytes = climb.device_bytes - (self.setting.context_bytes if shared is not None else 0)
        try:
            reservation = self._reserve(climb, need_bytes)
        except DeviceFull:
            self._unshare(shared)
            raise
        has_context |= not self.setting.context_s or (shared is not None and shared.members > 1)
        nbytes = min(copied_bytes(climb), need_bytes)
        return Residence(self, reservation, nbytes, shared, has_context=has_context, stream=stream)

    def copy(self, nbytes: int, reservation: Reservation) -> VirtualCopy:
        """So many bytes on their way there. Only a virtual device takes its time: on the node's cores they
        are where they are, and onto a card its workers bring them."""
        if self._virtual is not None:
            return self._virtual.place(_untouched(nbytes), reservation)
        return VirtualCopy(b"", 0.0, 0.0, RealClock())

    def leave(self, residence: Residence) -> None:
        """A worker is gone, and all that it had here free."""
        residence.gone = True
        self.ledger.release(residence.reservation)
        self._unshare(residence.shared)

    def _reserve(self, climb: Climb, nbytes: int) -> Reservation:
        try:
            return self.ledger.reserve(nbytes)
        except loader_errors.DeviceFull as error:
            raise DeviceFull(f"{climb.spec.function}: {error}") from error

    def _share(self, climb: Climb) -> SharedContext | None:
        if not self.setting.shared:
            return None
        namespace = climb.spec.namespace
        found = self._shared.get(namespace)
        if found is None:
            found = SharedContext(self._reserve(climb, self.setting.context_bytes))
            self._shared[namespace] = found
        found.members += 1
        return found

    def _unshare(self, shared: SharedContext | None) -> None:
        """With the last of its namespace the context goes too."""
        if shared is None:
            return
        shared.members -= 1
        if not shared.members:
            self.ledger.release(shared.reservation)
            self._shared = {name: each for name, each in self._shared.items() if each is not shared}

    def disturb(self, fault: Fault) -> None:
        """Slows the device, or makes loads fail; restoring ends both. Raises ValueError when it is none that
        can be told."""
        if self._virtual is None or self.page is None:
            if fault.harm in ("loads", "slow"):
                raise ValueError(f"{self.id} is no virtual device: it cannot be told to do worse")
        elif fault.harm == "slow":
            self.page.set(fault.factor)
        elif fault.harm == "loads":
            self._virtual.fail_copies(fault.count)
        elif fault.harm == "none":
            self.page.set(1.0)
            self._virtual.fail_copies(0)


class Devices:
    """All devices of one agent, in its event loop."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._devices = {
            device.id: device
            for device in (NodeDevice(agent.settings.node, each) for each in agent.settings.devices)
        }

    @property
    def specs(self) -> tuple[DeviceSpec, ...]:
        return tuple(device.spec for device in self._devices.values())

    def find(self, device: DeviceId) -> NodeDevice:
        """Raises DeviceFailed."""
        found = self._devices.get(device)
        if found is None:
            raise DeviceFailed(f"there is no device {device} here")
        return found

    def places_in_worker(self, device: DeviceId) -> bool:
        """Whether a worker brings its weights there by itself."""
        found = self._devices.get(device)
        return found is not None and found.setting.kind == "cuda"

    def left(self, held: Held) -> None:
        """A worker is gone, and what it had of its device is free."""
        residence = held.residence
        if residence is not None:
            held.residence = None
            residence.device.leave(residence)
            if residence.device.is_empty:
                residence.device.emptied.set()

    async def disturb(self, message: Disturb) -> None:
        """Always answers: somebody waits."""
        problem = ""
        try:
            await self._disturb(self.find(message.device), message.fault)
        except (DeviceFailed, ValueError) as error:
            problem = str(error)
        finally:
            self._agent.tell(Disturbed(message.token, problem))

    async def _disturb(self, device: NodeDevice, fault: Fault) -> None:
        if device.why_gone and fault.harm != "none":
            raise ValueError(f"{device.id}: {device.why_gone}; restore it first")
        device.disturb(fault)
        if fault.harm in ("memory", "gone"):
            self._lose(device, "it lost its memory" if fault.harm == "memory" else "it is gone")
        if device.why_gone:
            await device.emptied.wait()
        # Two may have waited to make it whole.
        if fault.harm in ("memory", "none") and device.why_gone:
            device.why_gone = ""
            self._agent.emit(DeviceJoined(NodeId(self._agent.settings.node), device.spec))

    def _lose(self, device: NodeDevice, why: str) -> None:
        """Told first, so that whoever waits for what ran there hears of what."""
        device.why_gone = why
        device.emptied.clear()
        self._agent.emit(DeviceLost(device.id, why))
        self._agent.contexts.forget(device)
        for held in self._agent.roster.workers.values():
            if held.residence is not None and held.residence.device is device:
                held.process.kill()
        if device.is_empty:
            device.emptied.set()


def copied_bytes(climb: Climb) -> int:
    """What a load copies: what the model is declared to take of a device, else its weights."""
    declared_bytes = climb.spec.declaration.device_memory_bytes
    return declared_bytes or (climb.facts.weight_bytes if climb.facts is not None else 0)


def _untouched(nbytes: int) -> memoryview:
    """As many bytes as a copy moves, which nobody reads: they take no memory."""
    if not nbytes:
        return memoryview(b"")
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    return memoryview(mmap.mmap(-1, nbytes, flags=flags, prot=mmap.PROT_READ))
