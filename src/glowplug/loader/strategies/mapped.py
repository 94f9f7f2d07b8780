"""Map the weights and use them where they lie: in the page cache, shared by everyone who maps the file.

When they are not there yet, a thread reads ahead in the order of execution while the object is rebuilt.
"""

from __future__ import annotations

from typing import Any

from glowplug.loader.devices.base import Device
from glowplug.loader.reader import open_pack


def load(path: str, device: Device) -> object:
    """Returns when the weights are placed and no thread of ours runs, so that the caller may fork.

    What it reserves on the device stays reserved until the process ends.
    Raises as `MappedPack.load`, and DeviceFull.
    """

    def place(weights: memoryview) -> Any:
        placement = device.place(weights, device.reserve(weights.nbytes))
        placement.wait()
        return placement.memory

    with open_pack(path) as pack:
        prefetch = pack.prefetch()
        try:
            return pack.load(place)
        finally:
            prefetch.join()
