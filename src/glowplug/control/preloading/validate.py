"""What must hold of guests and pre-loads between any two events."""

from __future__ import annotations

from glowplug.control.context import Context
from glowplug.control.preloading import sandboxes
from glowplug.control.sizes import loaded_bytes
from glowplug.control.worth import work_out_needed


def check_preloads(c: Context) -> None:
    """Raises AssertionError naming the first invariant that does not hold."""
    store = c.store
    for number, guests in store.guests.items():
        host = store.instances.get(number)
        assert host is not None, f"sandbox {number} of guests is gone"
        assert host.host is None, f"guest {number} is a sandbox itself"
        assert guests, f"sandbox {number} has a list of guests and nobody in it"
        for guest in guests:
            assert guest in store.instances, f"guest {guest} of {number} is gone"
            assert store.instances[guest].host == number, f"guest {guest} is elsewhere"
            held_bytes = store.ledger.held_bytes(store.instances[guest].key)
            assert held_bytes == 0, f"guest {guest} holds {held_bytes} bytes beside its sandbox"
            assert store.instances[guest].node == host.node, f"guest {guest} is at another node"
            if host.slot == "":
                assert store.instances[guest].draining, f"guest {guest} stays in a sandbox that goes"
        # Its owner does not wait for guests that leave: for the moments of their end both are there.
        leaving = [each for each in guests if store.instances[each].draining]
        leaving_bytes = sum(loaded_bytes(c.version_of(store.instances[each])) for each in leaving)
        room_bytes = sandboxes.room_bytes(c, host) + leaving_bytes
        assert room_bytes >= 0, f"sandbox {number} holds {-room_bytes} bytes too many"
    for number, instance in store.instances.items():
        if instance.host is not None and instance.host in store.instances:
            assert number in store.guests.get(instance.host, ()), f"guest {number} is not in its sandbox"
    for number in store.preloads.unused:
        assert number in store.instances, f"pre-load {number} is gone, yet counted"
        assert not store.instances[number].draining, f"pre-load {number} leaves, yet counted"
    if c.needed_at_s == c.now_s:
        for function, needed in c.needed_soon.items():
            now = work_out_needed(c, function)
            assert needed == now, f"{function} is needed soon with {now}, not {needed}"
    for function, climb in store.preloads.wanted.items():
        assert function in store.functions, f"{function} is to be pre-loaded, but unknown"
        assert climb.node in store.nodes, f"{function} is to be pre-loaded at {climb.node}, which is gone"
    for key, zygote in store.preloads.zygotes.items():
        assert key in store.holdings, f"{key} was loaded ahead, but is gone"
        climbs = store.holdings[key].phase == "climbing"
        assert zygote.climbs == climbs, f"{key} climbs: {climbs}"
