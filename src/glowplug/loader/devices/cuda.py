"""One NVIDIA GPU, by torch. Only a machine with one can show that this is right: tests marked `gpu`."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from glowplug.loader.devices import kernels
from glowplug.loader.devices.base import Placement, Reservation, T, not_wanted, require_fit
from glowplug.loader.devices.counted import Counted
from glowplug.loader.devices.pinning import PinnedSource

_ASK_S = 30
_LEAST_PINNED_BYTES = 2**20
"""Less is copied sooner than it is pinned."""
_REHEARSAL_BYTES = 192 * 2**20
"""Of the device, while kernels are loaded: nearly what a context is allowed beside what it takes."""
_REHEARSAL_S = 1.0
_HOST_REGISTER_READ_ONLY = 8
"""Of cudaHostRegister: the only kind that takes a read-only mapping, and no page of a file is duplicated."""


class _Copy:
    def __init__(
        self, memory: Any, source: Any, event: Any, torch: Any, pinned: PinnedSource | None = None
    ) -> None:
        self.memory = memory
        # Asynchronous: the source must outlive the copy.
        self._source = source
        self._event = event
        self._torch = torch
        self._pinned = pinned

    def done(self) -> bool:
        arrived: bool = self._event.query()
        return arrived

    def wait(self) -> None:
        self._event.synchronize()
        pinned, self._pinned, self._source = self._pinned, None, None
        if pinned is not None:
            # Nobody need wait for it, and the pages stay mapped until it is done: it holds them.
            threading.Thread(target=pinned.release, name="unpin", daemon=True).start()

    def guard(self) -> None:
        # The stream that computes there waits, not the host; the thread's current device may be another.
        self._event.wait(self._torch.cuda.current_stream(self.memory.device))


class CudaDevice(Counted):
    """Copies run on a stream of their own, beside the computation. From pinned memory they are asynchronous;
    from any other the driver copies through a buffer of its own, and `copy` returns late. `place` pins.

    Its capacity is what was free when it was opened: other processes hold the rest.
    """

    def __init__(self, number: int) -> None:
        import torch

        if not torch.cuda.is_available() or number >= torch.cuda.device_count():
            raise RuntimeError(
                f"this machine has no device cuda:{number} ({torch.cuda.device_count()} found)"
            )
        self._torch = torch
        self._device = torch.device(f"cuda:{number}")
        free_bytes, _ = torch.cuda.mem_get_info(self._device)
        super().__init__(f"cuda:{number}", free_bytes)
        self._stream: Any = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        self._pins = True

    @property
    def context_bytes(self) -> int:
        """None beside the capacity: what is free was asked for when this process had its context."""
        return 0

    def open_context(self) -> None:
        self._torch.cuda.init()  # type: ignore[no-untyped-call]

    def warm(self, records: Sequence[bytes] = (), wanted: Callable[[], bool] = not_wanted) -> None:
        """A product and a convolution: cuBLAS and cuDNN come with the first use of each, and their handles
        are the calling thread's. Then the kernels that were recorded, in a bounded part of the device's
        memory, which it gets back, and of the time."""
        torch = self._torch
        self.open_context()
        with torch.cuda.device(self._device), torch.inference_mode():
            pixels = torch.ones(1, 8, 8, 8, device=self._device)
            torch.nn.functional.conv2d(pixels, pixels[:, :, :3, :3].contiguous())
            torch.nn.functional.linear(pixels[0, 0], pixels[0, 0], pixels[0, 0, 0])
            if records:
                self._rehearse(records, wanted)
            torch.cuda.synchronize(self._device)

    def _rehearse(self, records: Sequence[bytes], wanted: Callable[[], bool]) -> None:
        cuda = self._torch.cuda
        _, total_bytes = cuda.mem_get_info(self._device)
        cuda.set_per_process_memory_fraction(_REHEARSAL_BYTES / total_bytes, self._device)
        try:
            deadline_s = time.monotonic() + _REHEARSAL_S
            kernels.replay(records, self.name, lambda: wanted() or time.monotonic() > deadline_s)
            with contextlib.suppress(RuntimeError):
                cuda.synchronize(self._device)
            cuda.empty_cache()
        finally:
            cuda.set_per_process_memory_fraction(1.0, self._device)

    def place(self, weights: memoryview, reservation: Reservation) -> Placement:
        self._ledger.check(reservation, weights.nbytes)
        memory = self.allocate(reservation)[: weights.nbytes]
        if weights.nbytes < _LEAST_PINNED_BYTES:
            return self.copy(weights, memory, 0)
        pinned = PinnedSource(weights, self)
        for offset, part in pinned.parts(0, weights.nbytes):
            last = self._copied(part, memory[offset : offset + part.nbytes])
        # One stream: the last copy is over when all are.
        return _Copy(memory, weights, last, self._torch, pinned)

    def pin(self, address: int, nbytes: int) -> bool:
        """For this process alone; needs its context. What could not be pinned once is not tried again."""
        torch = self._torch
        if not self._pins:
            return False
        with torch.cuda.device(self._device):
            error = self._runtime.cudaHostRegister(address, nbytes, _HOST_REGISTER_READ_ONLY)
            self._pins = not int(error)
            if not self._pins:
                # The runtime tells a failed call to whoever asks next: that is to be nobody.
                with contextlib.suppress(RuntimeError):
                    torch.ones(1, device=self._device)
        return self._pins

    def unpin(self, address: int) -> None:
        with self._torch.cuda.device(self._device):
            self._runtime.cudaHostUnregister(address)

    def allocate(self, reservation: Reservation) -> Any:
        self._ledger.check(reservation, reservation.nbytes)
        torch = self._torch
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream), torch.inference_mode(False):
            memory = torch.empty(reservation.nbytes, dtype=torch.uint8, device=self._device)
        # The allocator must not hand this memory out again while the compute stream still reads it.
        memory.record_stream(torch.cuda.default_stream(self._device))
        return memory

    def staging(self, nbytes: int) -> memoryview:
        pinned: Any = self._torch.empty(nbytes, dtype=self._torch.uint8, pin_memory=True).numpy()
        return memoryview(pinned)

    def copy(self, part: memoryview, memory: Any, offset: int) -> Placement:
        require_fit(part, memory.nbytes, offset)
        return _Copy(memory, part, self._copied(part, memory[offset : offset + part.nbytes]), self._torch)

    def _copied(self, part: memoryview, target: Any) -> Any:
        """The event that ends this copy."""
        torch = self._torch
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            if part.nbytes:
                target.copy_(torch.frombuffer(part, dtype=torch.uint8), non_blocking=True)
            event = torch.cuda.Event()
            event.record(self._stream)
        return event

    def run(self, work: Callable[[], T], after: Placement | None = None) -> T:
        torch = self._torch
        with torch.cuda.device(self._device):
            if after is not None:
                after.wait()
            result = work()
            torch.cuda.current_stream(self._device).synchronize()
        return result


def cards(folder: Path = Path("/dev")) -> tuple[int, ...]:
    """The numbers of the cards that this machine shows, without touching one."""
    names = (re.fullmatch(r"nvidia(\d+)", path.name) for path in folder.glob("nvidia*"))
    return tuple(sorted(int(name[1]) for name in names if name is not None))


def card_bytes(number: int) -> int:
    """What is free on a card now, by the driver's own tool: this process gets no context. Raises
    RuntimeError."""
    command = ["nvidia-smi", f"--id={number}", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ASK_S).stdout
        return int(said) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"what is free on cuda:{number} cannot be asked: {error}") from error


def open_cuda(number: int = 0) -> CudaDevice:
    """Raises RuntimeError where there is no such GPU."""
    return CudaDevice(number)
