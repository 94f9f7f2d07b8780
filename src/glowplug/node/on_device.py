"""A worker's side of its device: what is made ready before it climbs, and what runs there."""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from glowplug.core.devices import DeviceSetting
from glowplug.loader.devices import device as device_called
from glowplug.loader.devices.base import Device
from glowplug.loader.devices.cpu import CpuDevice
from glowplug.node import procfs, wire
from glowplug.node.devices import virtual_device
from glowplug.node.isolation import syscalls
from glowplug.node.messages import ContextReady, Fork, Rehearse

NAME = "ready-context"
"""Of a process that has a context and no function yet."""


def open_device(setting: DeviceSetting, descriptors: list[int]) -> Device:
    """The device as this process uses it: one call at a time. Of a virtual one the last of `descriptors` is
    taken, which says how fast it is. Raises RuntimeError where there is none such."""
    if setting.kind == "virtual":
        return virtual_device(setting, descriptors.pop())
    if setting.kind == "cpu":
        return CpuDevice(setting.capacity_bytes)
    return device_called(f"cuda:{setting.number}")


def settle(device: Device) -> Device | None:
    """Makes this process ready to compute there. Returns where its weights are brought, None where they are
    used from the node's memory (the agent sees to the time that a virtual device takes for it)."""
    device.open_context()
    if not device.name.startswith("cuda"):
        return None
    # What a function makes itself (its inputs, buffers that are no weights) is made where its weights are.
    sys.modules["torch"].set_default_device(device.name)
    return device


def run_there(device: Device, call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, as the device runs it. Of one that yields only the beginning counts as a run."""

    def run(**arguments: Any) -> Any:
        return device.run(partial(call, **arguments))

    return run


def wait_in_context(message: Fork, control: socket.socket, extra: list[int]) -> tuple[Fork, list[int]]:
    """Opens the device's context, and loads kernels, before any function is known, says so, and becomes a
    function's worker when it is told to. It is confined already: what it starts here has no more rights than
    it has itself. Raises ConnectionResetError when the agent is gone."""
    from glowplug.node.zygote import settle_as

    assert message.device is not None
    device = open_device(message.device, extra)
    device.warm(message.kernels)
    wire.send(control, ContextReady(procfs.private_dirty_bytes()))
    syscalls.name_process(NAME)  # to whoever sees it the agent has been told
    orders = wire.Receiver(control, Fork | Rehearse)
    while True:
        found = orders.receive()
        if found is None:
            raise ConnectionResetError("the agent is gone")
        order, descriptors = found
        if isinstance(order, Fork):
            return order, settle_as(order, descriptors, os.getppid())
        device.warm(order.kernels, partial(_is_called, control))


def _is_called(control: socket.socket) -> bool:
    """Whether another order waits."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    return bool(poll.poll(0))
