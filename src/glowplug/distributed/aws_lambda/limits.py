"""What AWS Lambda allows (its documentation, "Lambda quotas"), checked before anything is uploaded."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from glowplug.core.errors import InvalidArguments
from glowplug.core.units import show_bytes
from glowplug.distributed.errors import PackageTooLarge

ZIP_BYTES = 50 * 2**20
"""Of a package that goes up with the call; a larger one lies in S3."""
UNZIPPED_BYTES = 250 * 2**20
"""Of a package and all its layers, unpacked."""
EVENT_BYTES = 256 * 2**10
"""Of an event that nobody waits for."""
MEMORY_MIB = (128, 10_240)
FILES_MIB = (512, 10_240)
"""Of what a function may write below /tmp."""
TIMEOUT_S = 900
RUNTIMES = tuple(f"python3.{minor}" for minor in range(10, 15))
_NAMED = 4


def runtime() -> str:
    """Lambda's name for this interpreter, whose compiled packages are packed. Raises InvalidArguments."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if name not in RUNTIMES:
        raise InvalidArguments(f"Lambda has no {name}: use one of {', '.join(RUNTIMES)}")
    return name


def memory_mib(memory_bytes: int) -> int:
    """The largest memory size within `memory_bytes`. Raises InvalidArguments."""
    low, high = MEMORY_MIB
    found = memory_bytes // 2**20
    if not low <= found <= high:
        raise InvalidArguments(
            f"{show_bytes(memory_bytes)} of memory: Lambda has {low} to {high} MiB", "memory"
        )
    return found


def timeout_s(deadline_s: float) -> int:
    """How long a function of a run may take, which is no longer than the run. Raises InvalidArguments."""
    if deadline_s > TIMEOUT_S:
        raise InvalidArguments(
            f"a deadline of {deadline_s:g} s: Lambda ends every function after {TIMEOUT_S} s", "deadline"
        )
    return max(1, int(deadline_s))


def files_mib(nbytes: int) -> int:
    """The room below /tmp for so many bytes. Raises InvalidArguments."""
    low, high = FILES_MIB
    needed = -(-nbytes // 2**20) + 1
    if needed > high:
        raise InvalidArguments(
            f"a worker reads {show_bytes(nbytes)} of files, and Lambda gives a function {high} MiB for them: "
            "use more workers"
        )
    return max(low, needed)


def check_unzipped(sizes: Mapping[str, int]) -> None:
    """`sizes` by what is packed. Raises PackageTooLarge, which names the largest."""
    total = sum(sizes.values())
    if total <= UNZIPPED_BYTES:
        return
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_NAMED]
    named = ", ".join(f"{name} {show_bytes(sizes[name])}" for name in largest)
    raise PackageTooLarge(
        f"unpacked, the function takes {total} bytes ({named}), and Lambda takes {UNZIPPED_BYTES} with all "
        "layers: install binutils, whose `strip` takes symbols out of libraries, or use a container image"
    )


def check_zipped(nbytes: int) -> None:
    """Of what goes up with the call. Raises PackageTooLarge."""
    if nbytes > ZIP_BYTES:
        raise PackageTooLarge(
            f"the zip takes {nbytes} bytes, and Lambda takes {ZIP_BYTES} with the call: give an s3:// store, "
            "from which it takes larger ones"
        )


def check_event(event: bytes) -> None:
    """Raises InvalidArguments."""
    if len(event) > EVENT_BYTES:
        raise InvalidArguments(
            f"a start message of {len(event)} bytes: Lambda takes {EVENT_BYTES}; use fewer workers or a "
            "smaller branching"
        )
