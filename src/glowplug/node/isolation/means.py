"""What this host allows, found out by trying, and told in words: at start-up, by `doctor`, in /system/info.

A word that begins with "no" is a weakness; `--strict` refuses to start with one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from glowplug.core.settings import NodeSettings
from glowplug.node.isolation import cgroups, families, identities, landlock, launch, namespaces, syscalls

_PROBE_BYTES = 1 << 20


class Means:
    """The features that hold for one agent, open until `close`."""

    def __init__(self) -> None:
        self.identities: identities.Identities | None = None
        """None: every function runs as the server's own user."""
        self.user_namespaces = False
        self.own_network = False
        self.own_families = False
        """Without a network no sockets of another kind are made either."""
        self.own_ipc = False
        self.landlock = 0
        self.groups: cgroups.Groups | None = None
        self.mounts = False
        self.words = {"no new privileges": "yes", "killed with its parent": "yes"}
        self._block = -1

    def close(self) -> None:
        """Removes control groups and gives the users back."""
        if self.groups is not None:
            self.groups.close()
        if self._block >= 0:
            os.close(self._block)
            self._block = -1

    def find(self, settings: NodeSettings, why_not_own_processes: str) -> None:
        """Tries each feature. `why_not_own_processes` is what `namespaces.enter` said."""
        words = self.words
        words["own processes"] = f"no: {why_not_own_processes}" if why_not_own_processes else _SEEN_ONLY
        words["own user"] = self._find_users(settings)
        self._find_namespaces()
        self.landlock = landlock.version()
        words["own files"] = (
            f"yes, by Landlock {self.landlock}" if self.landlock else "no: this kernel has no Landlock"
        )
        words["limits"] = self._find_groups(settings)
        words["own scratch"] = self._find_mounts(settings, why_not_own_processes)

    def _find_users(self, settings: NodeSettings) -> str:
        if not settings.drop_privileges:
            return "no: switched off"
        if os.geteuid() != 0:
            return "no: Glowplug does not run as root, functions run as its own user"
        try:
            first, self._block = identities.claim_block(settings.state_dir)
        except OSError as error:
            return f"no: {error}"
        self.identities = identities.Identities(first)
        try:
            _in_child(_become_nobody_of_a_namespace)
        except OSError as error:
            return f"no: one for each namespace and environment only, for {error}"
        self.user_namespaces = True
        return f"yes, one for each function, from {first} on"

    def _find_namespaces(self) -> None:
        why = _why_not_left(syscalls.CLONE_NEWNET)
        self.own_network = not why
        self.words["own network"] = (
            f"no: functions reach what this host reaches, for {why}"
            if why
            else f"yes, none unless a function says network=True{self._find_families()}"
        )
        why = _why_not_left(syscalls.CLONE_NEWIPC)
        self.own_ipc = not why
        self.words["own shared memory"] = (
            f"no: what functions share by name lies among what this host's processes do, for {why}"
            if why
            else "yes, none that lasts"
        )

    def _find_families(self) -> str:
        """What there is to say of it, empty when it holds."""
        try:
            _in_child(_make_no_other_sockets)
        except OSError as error:
            return f"; but this machine's own host may be reached (AF_VSOCK), for {error}"
        self.own_families = True
        return ""

    def _find_groups(self, settings: NodeSettings) -> str:
        try:
            self.groups = cgroups.open_groups(Path(settings.state_dir) / "cgroups")
        except OSError as error:
            return f"no: memory and processes of functions are not limited, for {error}"
        return f"yes, memory and processes by control groups (version {self.groups.version})"

    def _find_mounts(self, settings: NodeSettings, why_not: str) -> str:
        if why_not:
            return f"no: only each file is limited, for {why_not}"
        try:
            probe = Path(tempfile.mkdtemp(dir=settings.run_dir))
        except OSError as error:
            return f"no: only each file is limited, for {error}"
        try:
            mount_scratch(probe, _PROBE_BYTES)
            syscalls.unmount(str(probe))
        except OSError as error:
            return f"no: only each file is limited, for {error}"
        finally:
            shutil.rmtree(probe, ignore_errors=True)
        self.mounts = True
        return "yes, in memory, and no larger than what the function declared"


_SEEN_ONLY = "yes: functions see their own only, and all end with the agent"


def mount_scratch(folder: Path, size_bytes: int) -> None:
    """An empty file system in memory over `folder`. Raises OSError."""
    syscalls.mount("tmpfs", str(folder), "tmpfs", _SCRATCH, f"mode=0711,{_room(size_bytes)}")


def resize_scratch(folder: Path, size_bytes: int) -> None:
    """What `mount_scratch` made holds so much from now on. Raises OSError when it holds more already."""
    syscalls.mount(None, str(folder), None, syscalls.MS_REMOUNT | _SCRATCH, _room(size_bytes))


def show_read_only(source: Path, folder: Path) -> None:
    """What lies in `source` can be read in `folder` too. Raises OSError; nothing is mounted then."""
    syscalls.mount(str(source), str(folder), None, syscalls.MS_BIND)
    # What the source's file system forbids stays forbidden: the kernel refuses anything else.
    kept = os.statvfs(folder).f_flag & syscalls.MS_NOEXEC
    try:
        flags = syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY | _SCRATCH | kept
        syscalls.mount(None, str(folder), None, flags)
    except OSError:
        syscalls.unmount(str(folder))
        raise


_SCRATCH = syscalls.MS_NOSUID | syscalls.MS_NODEV


def _room(size_bytes: int) -> str:
    return f"size={size_bytes},nr_inodes={max(1024, size_bytes >> 14)}"


def examine() -> dict[str, str]:
    """What an agent started by this process would find. Leaves this process's namespaces: call it in one of
    its own that was just made."""
    why = namespaces.enter(os.getppid())
    with tempfile.TemporaryDirectory() as folder:
        means = Means()
        try:
            means.find(NodeSettings(folder, folder), why)
        finally:
            means.close()
        return means.words


def _why_not_left(namespace: int) -> str:
    """Empty when a process can have such a namespace of its own."""
    try:
        _in_child(lambda: launch.leave(namespace, syscalls))
    except OSError as error:
        return str(error)
    return ""


def _make_no_other_sockets() -> None:
    syscalls.no_new_privileges()
    families.refuse_others()


def _become_nobody_of_a_namespace() -> None:
    syscalls.unshare(syscalls.CLONE_NEWUSER, "user")


def _in_child(attempt: Callable[[], None]) -> None:
    """Runs it in a fork, so that nothing of it lasts. Raises the OSError that it raised there."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            attempt()
        except OSError as error:
            os.write(writer, f"{error.errno or 0} {error.strerror or error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        text = said.read().decode()
    os.waitpid(child, 0)
    if text:
        number, _, what = text.partition(" ")
        raise OSError(int(number), what)
