"""Packs on their way from the artifact store into this node's disk cache.

The first request does not wait for the end: its worker maps the file while it is being written, and is
told of each unit as it arrives (loader/arriving.py); so does who goes to a device. Everything else that needs
a pack waits until it is whole and its SHA-256 is the one that its name says; only then does it get its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from glowplug.loader.arbiter import Priority
from glowplug.loader.arriving import announce, announce_failure
from glowplug.loader.contents import Contents, read_contents
from glowplug.loader.errors import PackCorrupt
from glowplug.loader.fetchers import Fetchers
from glowplug.loader.fetching import Fetch
from glowplug.loader.file_sink import FileSink
from glowplug.loader.io_priority import Standing
from glowplug.loader.sources import open_source
from glowplug.loader.sources.base import WeightSource

if TYPE_CHECKING:
    from glowplug.node.agent import Agent

_PIPE_BYTES = 65_536
_HASHED_BYTES = 2**20
"""At once: they stay in the core's own cache."""


class Stream:
    """One pack that is being fetched. `path` is the unfinished file, mappable once `opened` is done; all of
    its units are in it when `here` is, and `whole` is done when the pack has its name. Each raises what went
    wrong: LoaderError, OSError."""

    def __init__(self, path: Path, opened: asyncio.Future[None], whole: asyncio.Future[None]) -> None:
        self.path = path
        self.opened = opened
        self.here: asyncio.Future[None] = whole.get_loop().create_future()
        self.whole = whole
        self.shares: list[float] = []
        """Of the weights' bytes, by unit; once it is opened."""
        self.number = 0
        self.priority = Priority.BACKGROUND
        self.hashing = Standing(Priority.BACKGROUND)
        """When all is here, who looks at it once more before it gets its name."""
        self.expected = contextlib.ExitStack()
        """Until its head is here, the arbiter expects it in each class that it has had."""
        self._arrived: list[int] = []
        self._listeners: list[int] = []
        self._followers: list[Callable[[float], object]] = []

    def count_as(self, priority: Priority) -> None:
        """What is yet to be read is read in this class."""
        self.priority = priority
        self.hashing.promote(priority)

    def listen(self) -> int:
        """The reading end of a pipe that tells of every unit, those that arrived before included."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(writer, False)
        with contextlib.suppress(OSError):  # more than there may be: then it holds what pipes hold
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, max(_PIPE_BYTES, 4 * len(self.shares)))
        self._listeners.append(writer)
        self._tell(writer, self._arrived)
        return reader

    def follow(self, came: Callable[[float], object]) -> None:
        """Calls it with the share of the weights' bytes that each unit is, those that arrived before
        included."""
        self._followers.append(came)
        for unit in self._arrived:
            came(self.shares[unit])

    def arrived(self, unit: int) -> None:
        self._arrived.append(unit)
        for came in self._followers:
            came(self.shares[unit])
        for writer in list(self._listeners):
            self._tell(writer, [unit])

    def end(self, error: BaseException | None) -> None:
        """Nothing more comes; whoever still waits for something is told why."""
        for writer in self._listeners:
            if error is not None:
                with contextlib.suppress(OSError):
                    announce_failure(writer, str(error))
            os.close(writer)
        self._listeners.clear()

    def _tell(self, writer: int, units: list[int]) -> None:
        # A pipe holds thousands of units; one whose reader is gone, or stuck, is given up.
        try:
            announce(writer, units)
        except OSError:
            self._listeners.remove(writer)
            os.close(writer)


class Streams:
    """All fetches of one agent, in its event loop; one arbiter shares the line between them."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._fetchers = Fetchers()
        self._streams: dict[str, Stream] = {}

    def missing(self, pack: str) -> bool:
        """Whether the pack is not on this node's disk, though an artifact store may have it."""
        return self._agent.artifacts is not None and not self._agent.store.pack_path(pack).exists()

    def fetch(self, pack: str, priority: Priority) -> Stream:
        """Starts to bring a pack here, or joins who does; a higher class hurries it."""
        stream = self._streams.get(pack)
        if stream is None:
            loop = asyncio.get_running_loop()
            path = self._agent.store.packs / f".new-{secrets.token_hex(8)}"
            stream = self._streams[pack] = Stream(path, loop.create_future(), loop.create_future())
            stream.count_as(priority)
            self._agent.spawn(self._run(pack, stream))
        else:
            self.hurry(pack, priority)
        return stream

    def hurry(self, pack: str, priority: Priority) -> None:
        """The pack, if it is still coming, counts as one of this class, if that is higher."""
        stream = self._streams.get(pack)
        if stream is not None and priority > stream.priority:
            stream.count_as(priority)
            if stream.number:
                self._fetchers.promote(stream.number, priority)
            else:
                stream.expected.enter_context(self._fetchers.expecting(priority))

    async def _run(self, pack: str, stream: Stream) -> None:
        error: BaseException | None = None
        try:
            await self._bring(pack, stream)
        except Exception as caught:
            error = caught
        finally:
            del self._streams[pack]
            stream.expected.close()
            stream.end(error)
            stream.path.unlink(missing_ok=True)
            for future in (stream.opened, stream.here, stream.whole):
                if not future.done():
                    if error is None:
                        future.set_result(None)
                    else:
                        future.set_exception(error)
                        future.exception()  # nobody need be waiting

    async def _bring(self, pack: str, stream: Stream) -> None:
        agent, loop = self._agent, asyncio.get_running_loop()
        assert agent.artifacts is not None
        # In a thread of its own: a store that is slow to answer keeps nobody from the disk.
        opener = ThreadPoolExecutor(1, "open")
        try:
            url = agent.artifacts.url(pack)
            with stream.expected:
                stream.expected.enter_context(self._fetchers.expecting(stream.priority))
                source, contents, sink = await loop.run_in_executor(opener, _open, url, stream.path)
        finally:
            opener.shutdown(wait=False)
        over: asyncio.Future[None] = loop.create_future()
        errors: list[BaseException] = []

        def arrived(unit: int) -> None:
            loop.call_soon_threadsafe(stream.arrived, unit)

        def finished() -> None:
            loop.call_soon_threadsafe(over.set_result, None)

        try:
            fetch = Fetch(source, contents, sink, arrived, errors.append, finished)
            stream.number = self._fetchers.start(fetch, stream.priority, parallel=source.advice.parallel)
            units = contents.header.units
            total_bytes = sum(unit.nbytes for unit in units) or 1
            stream.shares = [unit.nbytes / total_bytes for unit in units]
            self._fetchers.release(stream.number, fetch.units)
            if fetch.end_if_empty():
                self._fetchers.forget(stream.number)
            stream.opened.set_result(None)
            await over
            if errors:
                raise errors[0]
            stream.here.set_result(None)
            final = agent.store.pack_path(pack)
            await asyncio.to_thread(_adopt, sink.descriptor, stream.path, final, pack, stream.hashing)
        finally:
            source.close()
            if over.done() and not over.cancelled():  # else somebody may still write
                sink.close()


def _open(url: str, path: Path) -> tuple[WeightSource, Contents, FileSink]:
    """The source, what it says of itself, and a file of its size with everything but the weights in it."""
    source = open_source(url)
    try:
        contents = read_contents(source, skeleton=False)
        end = contents.weights_offset + contents.header.weights_nbytes
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        sink = FileSink(descriptor, contents.weights_offset)
        try:
            # Takes the space at once: a full disk is an error before anybody maps the file.
            os.posix_fallocate(descriptor, 0, source.size)
            sink.copy(source, 0, contents.weights_offset)
            sink.copy(source, end, source.size)
        except BaseException:
            sink.close()
            raise
    except BaseException:
        source.close()
        raise
    return source, contents, sink


def _adopt(descriptor: int, path: Path, final: Path, pack: str, standing: Standing) -> None:
    """Gives the file its name when its content is what the name says. It stands back for that only while it
    reads: what it writes out others' writes may have to wait for, in the file system's journal."""
    digest = hashlib.sha256()
    buffer, offset = memoryview(bytearray(_HASHED_BYTES)), 0
    with standing:
        while read := os.preadv(descriptor, [buffer], offset):
            digest.update(buffer[:read])
            offset += read
    if digest.hexdigest() != pack:
        raise PackCorrupt(f"pack {pack}: the artifact store has something else under this name; deploy again")
    os.fsync(descriptor)
    path.chmod(0o444)
    with contextlib.suppress(FileExistsError):
        path.rename(final)
