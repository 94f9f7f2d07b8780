"""Functions that mean harm: to their own process, to the machine, or to other functions."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import glowplug

app = glowplug.App("hostile")


@app.function()
def kind(a: int) -> int:
    return a + 1


@app.function(timeout="2s")
def loops(deaf: bool = False) -> None:
    if deaf:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    while True:
        pass


@app.function()
def forks() -> int:
    """Children that fork on, until nothing more is allowed."""
    made = 0
    while made < 5000:
        try:
            if os.fork() == 0:
                time.sleep(1000)
        except OSError:
            return made
        made += 1
    return made


@app.function(memory="64MB")
def eats(how: str) -> int:
    if how == "little":
        return len(bytearray(1 << 20))
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20)) * 16)


@app.function(memory="64MB")
def fills(how: str = "one") -> str:
    """Writes to its folder until it may not."""
    if how == "many":
        try:
            for number in range(1_000_000):
                Path(f"file{number}").touch()
        except OSError as error:
            return str(error.errno)
        return "no end"
    try:
        with open("filler", "wb") as file:
            for _ in range(4096):
                file.write(b"x" * (1 << 20))
    except OSError as error:
        return str(error.errno)
    return "no end"


@app.function()
def closes() -> None:
    """Closes all it has, and goes on."""
    os.closerange(0, 4096)
    while True:
        time.sleep(1000)


@app.function()
def scribbles(what: str) -> str:
    """Writes what is no message to every socket that it has."""
    data = {"garbage": b"\x00\xff" * 5000, "zeros": bytes(64), "huge": b"\xff" * 8 + b"x" * 100}[what]
    for number in range(256):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                socket.socket(fileno=os.dup(number)).send(data, socket.MSG_DONTWAIT)
        except OSError:
            pass
    return "done"


@app.function(target_concurrency=2)
def amid(how: str) -> str:
    """Another harm, in a thread beside others."""
    if how == "closes":
        closes()
    if how == "scribbles":
        scribbles("garbage")
    while how == "deaf":
        try:
            loops()
        except BaseException:
            pass
    return how


@app.function()
def threads(count: int) -> int:
    """Starts threads that never end."""
    started = 0
    try:
        for _ in range(count):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            started += 1
    except RuntimeError:
        pass
    return started


@app.function()
def daemons(die: bool = False) -> int:
    """A process detached in every way there is: another session, an orphan, deaf to signals."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            os.write(writer, str(os.getpid()).encode())
            os.closerange(0, 4096)
            while True:
                time.sleep(1000)
        os._exit(0)
    os.wait()
    pid = int(os.read(reader, 20))
    if die:
        print(pid, flush=True)
        os._exit(1)
    return pid


@app.function(secrets=["TREASURE"])
def keeper(theft: dict[str, Any] | None = None) -> Any:
    """Has what others want, and says where; or does to itself what a thief would do."""
    if theft:
        return steal(**theft)
    Path("diary.txt").write_text("dear diary")
    held = globals().setdefault("held", ctypes.create_string_buffer(b"crown jewels"))
    listener = globals().setdefault("listener", socket.socket(socket.AF_UNIX))
    name = f"glowplug-keeper-{os.getpid()}"
    if not listener.getsockname():
        listener.bind(f"\0{name}")
        listener.listen()
    return {
        "pid": os.getpid(), "zygote": os.getppid(), "folder": str(Path.cwd()), "code": __file__,
        "address": ctypes.addressof(held), "socket": name,
    }  # fmt: skip


@app.function()
def thief(theft: dict[str, Any]) -> str:
    """Tries one theft. Returns the loot, or the name of the error."""
    try:
        return steal(**theft)
    except OSError as error:
        return f"refused: {type(error).__name__}"


def steal(what: str, pid: int = 0, path: str = "", address: int = 0, name: str = "") -> str:
    if what == "file":
        return Path(path).read_text()
    if what == "list":
        return str(list(Path(path).iterdir()))
    if what == "write":
        Path(path).write_text("gotcha")
        return "written"
    if what == "environ":
        return Path(f"/proc/{pid}/environ").read_bytes().decode()
    if what == "memory":
        with open(f"/proc/{pid}/mem", "rb") as memory:
            memory.seek(address)
            return memory.read(12).decode()
    if what == "ptrace":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(16, pid, 0, 0) < 0:  # PTRACE_ATTACH
            raise OSError(ctypes.get_errno(), "ptrace")
        return "attached"
    if what == "vm":
        return _read_other_memory(pid, address)
    if what == "descriptors":
        return str(list(Path(f"/proc/{pid}/fd").iterdir()))
    if what == "kill":
        os.kill(pid, signal.SIGKILL)
        return "killed"
    if what == "abstract":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"\0{name}")
        return "connected"
    if what == "network":
        with socket.create_connection(("127.0.0.1", address), 5):
            return "connected"
    if what == "uid":
        os.setuid(0)
        return "root"
    if what == "mount":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(0x10000000 | 0x20000) < 0 or libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) < 0:
            raise OSError(ctypes.get_errno(), "mount")
        return "mounted"
    if what == "su":
        return subprocess.run(["su", "-c", "id"], capture_output=True, text=True, check=True).stdout
    raise ValueError(what)


def _read_other_memory(pid: int, address: int) -> str:
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    libc = ctypes.CDLL(None, use_errno=True)
    found = ctypes.create_string_buffer(12)
    ours, theirs = Vector(ctypes.addressof(found), 12), Vector(address, 12)
    if libc.process_vm_readv(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")
    return found.raw.decode()
