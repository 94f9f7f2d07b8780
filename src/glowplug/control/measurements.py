"""What nodes measure of a holding's memory, and the ledger learns."""

from __future__ import annotations

from glowplug.control import offers
from glowplug.control.context import Context
from glowplug.control.records import key_of
from glowplug.core.commands import Target
from glowplug.core.events import HeldChanged
from glowplug.core.ids import InstanceId


def measured(c: Context, event: HeldChanged) -> None:
    """Brings the ledger to a measurement; an instance keeps what its next request may need."""
    target = event.target
    holding = c.store.holdings.get(key_of(target.kind, target.node, target.key))
    if holding is None or event.held_bytes <= 0 or target.kind == "build" or is_guest(c, target):
        return
    ledger, held_bytes = c.store.ledger, event.held_bytes
    before_bytes = ledger.held_bytes(holding.key)
    if target.kind == "environment":
        c.policies.costs.learn_held(target.key, held_bytes)
    if target.kind in ("environment", "version"):
        held_bytes += c.settings.reserve_margin_bytes
    elif target.kind in ("instance", "part"):
        held_bytes = max(held_bytes, before_bytes)
    if held_bytes != before_bytes:
        c.reweigh()
        ledger.resize(holding.key, held_bytes)
        c.freed[target.node] = None
        offers.reconsider(c, holding)


def is_guest(c: Context, target: Target) -> bool:
    """Whether its sandbox's limit counts for it, and nothing else does."""
    if target.kind != "instance":
        return False
    number = InstanceId(int(target.key))
    host = c.store.instances[number].host
    return host is not None and number in c.store.guests.get(host, ())
