"""Building a version on this node: build child -> adopt its pack -> publish -> probe child -> facts.

The function's own code runs in the two children only; this side trusts nothing that they wrote but copies it,
names it by its hash, and measures.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from glowplug.bundle.gangs import part_path
from glowplug.bundle.instantiate import pack_digest
from glowplug.bundle.manifest import Manifest
from glowplug.bundle.trees import tree_bytes
from glowplug.bundle.uploads import code_files
from glowplug.core.commands import Build, Descend, Target
from glowplug.core.errors import InvalidUpload
from glowplug.core.events import Built, CommandFailed, StepLost
from glowplug.core.ladder import Step
from glowplug.core.specs import BundleFacts, PartFacts
from glowplug.core.units import show_bytes
from glowplug.node import wire
from glowplug.node.isolation.seats import Seat
from glowplug.node.messages import BuildDone, Failed, Happened, ProbeDone
from glowplug.node.processes import Process
from glowplug.node.removed_files import removed_bytes

if TYPE_CHECKING:
    from glowplug.node.agent import Agent

_WATCH_S = 0.5


class _Work(msgspec.Struct):
    """One build under way, in its build child or its probe child."""

    command: Build
    env: dict[str, str]
    output: Path
    started_s: float
    left_out: dict[str, str]
    seat: Seat
    limit_bytes: int
    """Of its files together."""
    result: BuildDone | None = None
    probe: ProbeDone | None = None
    failed: Failed | None = None
    manifest: Manifest | None = None
    descend: Descend | None = None


class _Packs(msgspec.Struct, frozen=True):
    """What a build made that is in the store now; `pack` is empty where it made none."""

    pack: str
    size_bytes: int
    digest: str
    parts: tuple[PartFacts, ...]


class Builds:
    """All builds of one agent, in its event loop; the disk's work in its disk thread."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._works: dict[Process, _Work] = {}
        self._versions: dict[str, _Work] = {}
        """Each build under way, also while none of its processes runs."""

    def start(self, command: Build, env: dict[str, str]) -> None:
        """Outcome: Built, or CommandFailed. Raises OSError when not even a folder can be made."""
        parent = self.agent.roster.environments.get(command.spec.environment_key)
        if parent is None or not parent.ready or parent.process.exited:
            self._fail(command, "unavailable", "the environment's zygote is gone")
            return
        broken = [
            f"{n}: {parent.missing[n]}" for n in command.spec.declaration.libraries if n in parent.missing
        ]
        if broken:
            self._fail(
                command, "build_failed", "libraries that cannot be imported: " + "; ".join(broken), True
            )
            return
        try:
            code = self.agent.store.upload_path(command.spec.upload) / "code"
        except InvalidUpload as error:
            self._fail(command, error.code, error.message, True)
            return
        seat = self.agent.seats.building(command.spec)
        try:
            output = seat.new_folder("output")
            limit_bytes = self.agent.settings.build_bytes or shutil.disk_usage(output).free // 2
        except OSError:
            self.agent.seats.leave(seat)
            raise
        work = _Work(command, env, output, time.monotonic(), parent.left_out, seat, limit_bytes)
        self._versions[command.spec.version] = work
        self._fork(work, "build", declaration=command.spec.declaration, code=str(code), output=str(output))
        self.agent.spawn(self._watch(work))

    async def _watch(self, work: _Work) -> None:
        """Ends a build whose files take more of the disk than they may."""
        version = work.command.spec.version
        while self._versions.get(version) is work:
            if problem := await asyncio.to_thread(_too_much, work.seat, work.limit_bytes):
                work.failed = Failed("no_space", f"its build's files {problem}")
                self._kill(work)
                return
            await asyncio.sleep(_WATCH_S)

    def descend(self, command: Descend) -> None:
        """Gives a build up. Outcome: StepLost, as soon as nothing of it runs any more."""
        work = self._versions.get(command.target.key)
        if work is None:
            self.agent.emit(StepLost(command.target, command.step, command.why, command.id))
            return
        work.descend = command
        self._kill(work)

    def _kill(self, work: _Work) -> None:
        for process, other in self._works.items():
            if other is work:
                process.kill()

    def owns(self, process: Process) -> bool:
        """Whether it is the build's or the probe's child of one under way."""
        return process in self._works

    def on_message(self, process: Process, message: Any) -> None:
        """What a child of a build says of it: used when the child has ended, and checked then."""
        work = self._works[process]
        if isinstance(message, Failed):
            work.failed = work.failed or message
        elif isinstance(message, BuildDone):
            work.result = message
        elif isinstance(message, ProbeDone):
            work.probe = message

    def on_exit(self, process: Process, why: str, code: int | None, *, greedy: bool) -> None:
        """Without a `code` its zygote is gone too, and with it the process: no fault of the function's. Nor
        need it be one when somebody killed it: the kernel, short of memory, or an operator. It is one when it
        was `greedy`: the kernel killed it because it held more than it may."""
        work = self._works.pop(process)
        if work.descend is not None:
            self._end(work)
            return
        if work.failed is not None or (work.result is None if work.manifest is None else work.probe is None):
            innocent = code in (None, -signal.SIGKILL) and not greedy
            failed = work.failed or Failed(
                "unavailable" if innocent else "build_failed", f"the process that built it ended: {why}"
            )
            self._fail(work.command, failed.code, failed.message, failed.code != "unavailable", work)
        elif work.manifest is None:
            self.agent.spawn(self._adopt(work))
        else:
            self.agent.spawn(self._finish(work))

    def _fork(self, work: _Work, role: Any, **more: Any) -> None:
        spec = work.command.spec
        parent = self.agent.roster.environments.get(spec.environment_key)
        if parent is None or parent.process.exited:
            self._fail(work.command, "unavailable", "the environment's zygote is gone", work=work)
            return
        target = Target("build", work.command.node, spec.version)
        births = self.agent.births
        more |= births.share(spec, building=True)
        try:
            held = births.child(parent, role, target, spec, env=work.env, **more)
        except (OSError, ValueError) as error:  # or what it is told is longer than a message may be
            self._fail(work.command, "unavailable", str(error), work=work)
        else:
            self._works[held.process] = work

    async def _adopt(self, work: _Work) -> None:
        store = self.agent.store
        try:
            packs = await self.agent.on_disk(self._adopt_packs, work)
            if packs.pack and store.artifacts is not None:
                # By itself: a store that is slow must not keep the disk's thread, in which seats are left.
                await asyncio.to_thread(store.artifacts.put, store.pack_path(packs.pack), packs.pack)
            if work.descend is None:
                work.manifest = await self.agent.on_disk(self._publish, work, packs)
        except Exception as error:
            code = "no_space" if isinstance(error, OSError) and error.errno == 28 else "build_failed"
            message = f"the bundle could not be stored: {error}"
            self._fail(work.command, code, message, not isinstance(error, (OSError, MemoryError)), work)
            return
        if work.descend is not None:
            self._end(work)
        else:
            self._fork(work, "probe")

    def _adopt_packs(self, work: _Work) -> _Packs:
        """Runs in the disk thread. Raises OSError for what may go well another time; what else is wrong, the
        build's processes did."""
        store = self.agent.store
        assert work.result is not None
        result = work.result.result
        produced, left_bytes = work.output / "pack", work.limit_bytes
        pack, size = store.adopt_pack(produced, left_bytes) if result.pack else ("", 0)
        digest = pack_digest(store.pack_path(pack)) if pack else ""
        left_bytes -= size
        parts: tuple[PartFacts, ...] = ()
        for worker, blocks in enumerate(result.blocks, 1):
            parts += (PartFacts(*store.adopt_pack(part_path(produced, worker), left_bytes), blocks),)
            left_bytes -= parts[-1].weight_bytes
        return _Packs(pack, size, digest, parts)

    def _publish(self, work: _Work, packs: _Packs) -> Manifest:
        """Stores the bundle of packs that are there. As `_adopt_packs`."""
        store, spec = self.agent.store, work.command.spec
        assert work.result is not None
        result = work.result.result
        upload = store.upload_path(spec.upload)
        manifest = Manifest(
            version=spec.version, function=spec.function, declaration=spec.declaration, mode=result.mode,
            reason=result.reason, pack=packs.pack, pack_bytes=packs.size_bytes, pack_digest=packs.digest,
            parts=packs.parts,
            endpoints=spec.declaration.endpoints, files=code_files(upload), kernels=result.kernels,
            built_with=result.built_with,
        )  # fmt: skip
        store.publish(manifest, upload / "code")
        return manifest

    async def _finish(self, work: _Work) -> None:
        assert work.manifest is not None
        assert work.probe is not None
        assert work.result is not None
        probe, result = work.probe, work.result.result
        if min(probe.staged_bytes, probe.parked_bytes, probe.peak_bytes) < 0:
            # Counted for its instances, it would be memory that the others get and that is not there.
            self._fail(work.command, "build_failed", "it says that it holds less than nothing", True, work)
            return
        facts = BundleFacts(
            highest_step=Step.IMPORTED if probe.threads > 1 or probe.ties else Step.PARKED,
            reason=_reason(probe, work.left_out, result.reason),
            weight_bytes=work.manifest.pack_bytes, staged_bytes=probe.staged_bytes,
            parked_bytes=probe.parked_bytes, peak_bytes=probe.peak_bytes,
            build_s=time.monotonic() - work.started_s, primed=result.primed, rehearsed=probe.rehearsed,
            pack=work.manifest.pack, parts=work.manifest.parts, endpoints=work.manifest.endpoints,
        )  # fmt: skip
        work.manifest = msgspec.structs.replace(work.manifest, facts=facts)
        try:
            code = self.agent.store.upload_path(work.command.spec.upload) / "code"
            await self.agent.on_disk(self.agent.store.publish, work.manifest, code)
        except Exception as error:
            self._fail(work.command, "no_space", f"the bundle could not be stored: {error}", work=work)
            return
        spec = work.command.spec
        built = Built(work.command.id, spec.version, work.command.node, facts, facts.build_s)
        try:
            wire.encoded(Happened(built))
        except ValueError as error:
            self._fail(work.command, "build_failed", f"it says too much of itself: {error}", True, work)
            return
        if self._end(work):
            self.agent.emit(built)

    def _end(self, work: _Work) -> bool:
        """Nothing of the build is left. Whether anybody still waits for its outcome."""
        self.agent.seats.leave(work.seat)
        del self._versions[work.command.spec.version]
        descend = work.descend
        if descend is not None:
            self.agent.emit(StepLost(descend.target, descend.step, descend.why, descend.id))
        return descend is None

    def _fail(
        self, command: Build, code: str, message: str, permanent: bool = False, work: _Work | None = None
    ) -> None:
        if work is not None and not self._end(work):
            return
        target = Target("build", command.node, command.spec.version)
        self.agent.emit(CommandFailed(command.id, target, code, message, permanent))


def _too_much(seat: Seat, limit_bytes: int) -> str:
    """What is wrong with the files of a build, empty while nothing is. Those that it removed and holds open
    are known by its user, where it has one."""
    try:
        taken_bytes = tree_bytes(seat.folder)
    except OSError as error:
        return f"cannot be counted: {error.strerror}"
    if seat.owner is not None and seat.user:
        taken_bytes += removed_bytes(seat.owner, seat.folder)
    return f"take more than {show_bytes(limit_bytes)}" if taken_bytes > limit_bytes else ""


def _reason(probe: ProbeDone, left_out: dict[str, str], of_mode: str) -> str:
    """What keeps a function from its fastest climb, in sentences."""
    sentences = []
    if probe.threads > 1:
        sentences.append(f"staging leaves {probe.threads} threads, and such a process must not fork")
    if probe.ties:
        sentences.append(f"staging leaves {probe.ties}, which forked workers would share: each makes its own")
    sentences += [
        f"importing {name} {what}, so each process of the function imports it by itself"
        for name, what in left_out.items()
    ]
    return ". ".join(filter(None, [*sentences, of_mode]))
