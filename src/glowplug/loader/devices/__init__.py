"""Places that weights can be used from. One file per kind; `testing.device_suite` checks any of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from glowplug.loader.devices.base import Device

if TYPE_CHECKING:
    import torch

DEVICES = {
    "cpu": "glowplug.loader.devices.cpu:open_cpu",
    "cuda": "glowplug.loader.devices.cuda:open_cuda",
    "virtual": "glowplug.loader.devices.virtual:open_virtual",
}


def device(name: str | torch.device) -> Device:
    """Opens the device called `name`: a kind, or a kind and a number as `cuda:1`; or torch's own for one.

    Raises ValueError for an unknown kind, RuntimeError where this machine has no such device.
    """
    name = str(name)
    kind, _, number = name.partition(":")
    if kind not in DEVICES or (number and not number.isdecimal()):
        raise ValueError(
            f"no device is called {name!r}; kinds are {', '.join(DEVICES)}, as in 'cuda' or 'cuda:1'"
        )
    module, _, attribute = DEVICES[kind].partition(":")
    opened: Device = getattr(import_module(module), attribute)(int(number or 0))
    return opened
