"""One build of an environment, from the agent's side: its folders, its process, what it says, its seal."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import time
import traceback
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from glowplug.bundle.environments import BuiltPackages, Request, interpreter
from glowplug.core.commands import Climb
from glowplug.core.errors import BuildFailed, GlowplugError, NoSpace, Unavailable, in_words
from glowplug.core.ids import PackagesId
from glowplug.core.requirements import hide_credentials
from glowplug.node import guard, installer, printed, wire
from glowplug.node.isolation import namespaces
from glowplug.node.layers import python_path
from glowplug.node.processes import Process, exit_status
from glowplug.node.sealing import installed, seal

if TYPE_CHECKING:
    from glowplug.node.agent import Agent

_LINES_KEPT = 6
_LINE_CHARS = 400
_REAPED_S = 10.0
"""How long an installer that is dead may be traced by somebody else."""
_USER = "packages"
_KEPT_VARIABLES = (
    "PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HTTP_PROXY",
    "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS",
    "PIP_NO_INDEX", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_TRUSTED_HOST", "PIP_PROXY", "UV_INDEX",
    "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX_STRATEGY",
    "UV_INSECURE_HOST", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS",
)  # fmt: skip
"""Where the server's user keeps packages and certificates, by the words of pip and uv."""


class Installation:
    """Used in the agent's event loop. `done` ends with None, or with what went wrong (a GlowplugError).

    `climbs` are those who wait for it; `private_files` are the server's user's settings for installers.
    """

    def __init__(self, agent: Agent, name: PackagesId) -> None:
        self.name = name
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.climbs: list[Climb] = []
        self.given_up = False
        self._agent = agent
        self._store = agent.store.environments
        self._process: Process | None = None
        self._last_lines: deque[str] = deque(maxlen=_LINES_KEPT)

    def kill(self) -> None:
        """Ends it, now or before it begins."""
        self.given_up = True
        if self._process is not None and not self._process.exited:
            guard.kill_group(self._process.pid)

    async def run(self, turns: asyncio.Semaphore) -> None:
        """To its end, which `done` tells. Only as many as there are `turns` run at once."""
        error: GlowplugError | None = Unavailable("the installation of its packages was broken off")
        try:
            async with turns:
                if self._store.whole(self.name) is None and not self.given_up:
                    await self._build()
            error = None
        except GlowplugError as caught:
            error = caught
        except OSError as caught:
            kind = NoSpace if caught.errno in (errno.ENOSPC, errno.EDQUOT) else Unavailable
            error = kind(f"its packages cannot be installed: {caught}")
        except Exception as caught:
            traceback.print_exc()
            error = Unavailable(f"its packages could not be installed: {in_words(caught)}")
        finally:
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
                self.done.exception()  # nobody need be waiting

    async def _build(self) -> None:
        request, chosen = (
            self._store.request(self.name),
            installer.find_installer(self._agent.settings.installer),
        )
        if request is None:
            raise BuildFailed("what it requires is not known here any more; deploy it again")
        if not chosen:
            named = self._agent.settings.installer or "uv or pip"
            raise BuildFailed(f"{named} is not there to install packages; on the server: pip install uv")
        start_s, from_source = time.monotonic(), request.requirements.build_from_source
        attempt = await asyncio.to_thread(self._store.new_attempt, self.name)
        home = attempt.with_name(f"{attempt.name}.home")
        try:
            # Installing wheels runs nobody's code, so all who do may share what was downloaded.
            uid = self._agent.births.uid(source_user(attempt.name) if from_source else _USER)
            await asyncio.to_thread(self._lay_out, request, attempt, home, uid)
            settings = self._agent.settings
            order = installer.Order(
                str(attempt), str(home), chosen, "" if from_source else str(self._store.cache), from_source,
                request.provided,
                settings.environment_build_s, settings.environment_build_bytes,
            )  # fmt: skip
            popen = await self._install(order, uid)
            if from_source and uid is not None:
                await asyncio.to_thread(guard.kill_user, uid)
            code = await self._status(popen)
            if self.given_up:
                return
            if code != 0:
                raise self._failure(code, chosen)
            built = await asyncio.to_thread(_seal, attempt, installer.installer_name(chosen), start_s)
            await asyncio.to_thread(self._store.publish, self.name, built)
        finally:
            await asyncio.to_thread(self._store.clear_attempts, self.name)

    def _lay_out(self, request: Request, attempt: Path, home: Path, uid: int | None) -> None:
        """The folders of the build, which belong to its user. Runs in a thread."""
        home.mkdir(mode=0o700)
        (home / "tmp").mkdir()
        self._store.lay_out(self.name, request, home)
        owned = [attempt, home]
        if not request.requirements.build_from_source:
            self._store.cache.mkdir(mode=0o700, exist_ok=True)
            owned.append(self._store.cache)
            for name, content in self._agent.private_files.items():
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                (home / name).write_bytes(content)
        if uid is not None:
            for path in (*owned, *home.rglob("*")):
                os.lchown(path, uid, uid)

    async def _install(self, order: installer.Order, uid: int | None) -> subprocess.Popen[bytes]:
        """The process that installs, when it is dead; nothing of its group is left."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_exit(process: Process, why: str, code: int | None) -> None:
            ended.set_result(None)

        ours, theirs = wire.socket_pair()  # it is told nothing, but an end that closes would end it
        reader, writer = os.pipe2(os.O_CLOEXEC)
        order_text = msgspec.json.encode(order).decode()
        try:
            popen = subprocess.Popen(
                [sys.executable, "-c", installer.COMMAND, str(os.getpid()), order_text],
                stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, cwd=order.home,
                env=_variables(order.home), start_new_session=True,
                user=uid, group=uid, extra_groups=[] if uid is not None else None,
            )  # fmt: skip
        except OSError:
            ours.close()
            theirs.close()
            os.close(reader)
            raise
        finally:
            os.close(writer)
        process = self._process = Process(f"installer {self.name}", ours, _ignore, on_exit, self._on_lines)
        process.popen = popen
        process.capture(reader, "build")
        process.born(popen.pid, os.pidfd_open(popen.pid))
        if self.given_up:
            self.kill()
        try:
            await ended
        finally:
            theirs.close()
            guard.kill_group(popen.pid)
        return popen

    async def _status(self, popen: subprocess.Popen[bytes]) -> int:
        """A build from source may have left somebody who traces its installer."""
        namespaces.end_orphans()
        try:
            return await asyncio.wait_for(exit_status(popen), _REAPED_S)
        except TimeoutError:
            raise BuildFailed("it left a process that holds on to its installer") from None

    def _on_lines(self, process: Process, stream: str, lines: list[bytes]) -> None:
        """What it prints goes to the logs of the functions that wait for it."""
        found = printed.texts(lines, self._agent.settings.log_lines_kept)
        shown = [hide_credentials(line)[:_LINE_CHARS] for line in found if line.strip()]
        self._last_lines.extend(line for line in shown if not line.startswith("[notice]"))
        for function in dict.fromkeys(climb.spec.function for climb in self.climbs):
            for message in printed.told(function, 0, stream, shown):
                self._agent.tell(message)

    def _failure(self, code: int, chosen: str) -> GlowplugError:
        told = "\n".join(self._last_lines) or f"it ended with status {code}"
        full = code == installer.TOO_LARGE or os.strerror(errno.ENOSPC) in told
        kind: type[GlowplugError] = NoSpace if full else BuildFailed
        return kind(f"{installer.installer_name(chosen)} could not install what it requires:\n{told}")


def source_user(attempt: str) -> str:
    """The name of the user who builds packages from source in an attempt, and does nothing else."""
    return f"{_USER}/{attempt}"


def private_files() -> dict[str, bytes]:
    """The server's user's own settings for installers, by their path below the home folder. Read before the
    agent hides that folder."""
    found = {}
    for name in (".config/pip/pip.conf", ".pip/pip.conf", ".netrc"):
        try:
            found[name] = (Path.home() / name).read_bytes()
        except (OSError, RuntimeError):
            continue
    return found


def _seal(attempt: Path, chosen: str, start_s: float) -> BuiltPackages:
    size_bytes = seal(attempt)
    took_s = time.monotonic() - start_s
    packages = installed(attempt)
    return BuiltPackages(attempt.name, interpreter(), chosen, packages, size_bytes, took_s)


def _variables(home: str) -> dict[str, str]:
    kept = {
        name: os.environ[name] for key in _KEPT_VARIABLES for name in (key, key.lower()) if name in os.environ
    }
    return kept | {
        "HOME": home, "TMPDIR": f"{home}/tmp", "PYTHONPATH": python_path(), "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip


def _ignore(process: Process, message: Any, descriptors: list[int]) -> None:
    wire.close_all(descriptors)
