"""What must hold between any two events."""

from __future__ import annotations

from collections import Counter

from glowplug.control.bindings import is_unused
from glowplug.control.capacity import MOST_IN_ONE
from glowplug.control.context import Context
from glowplug.control.fleet.validate import check_fleet
from glowplug.control.gangs import check_gangs
from glowplug.control.holdings import is_nobodys
from glowplug.control.preloading.validate import check_preloads
from glowplug.control.records import Store
from glowplug.control.victims import work_out_displaced_s
from glowplug.control.worth import work_out_score
from glowplug.core.ids import CommandId, InstanceId, RequestId
from glowplug.core.priority import PASSED_OVER


def check(c: Context) -> None:
    """Raises AssertionError naming the first invariant that does not hold."""
    store = c.store
    _check_ledger(store)
    _check_requests(store)
    _check_instances(store)
    _check_holdings(store)
    _check_functions(store)
    _check_timers(store)
    for key in c.policies.eviction.keys():  # noqa: SIM118
        holding = store.holdings.get(key)
        assert holding is not None, f"{key} is offered for eviction, but is not held"
        assert holding.phase == "up", f"{key} is offered for eviction while {holding.phase}"
        assert key not in store.dependents, f"{key} is offered for eviction, but something stands on it"
        if holding.target.kind == "instance":
            assert is_unused(store.instances[InstanceId(int(holding.target.key))]), (
                f"{key} is offered, but used"
            )
    _check_weighed(c)
    check_gangs(c)
    check_fleet(c)
    check_preloads(c)
    assert [*c.dirty, *c.freed, *c.idled, *c.unoffered, *c.out] == [], "an event was left unsettled"


def _check_weighed(c: Context) -> None:
    """Of what is kept until something changes that it is what would be worked out now."""
    for key, score in c.scores.items():
        assert key in c.store.holdings, f"{key} is gone, and its score is not"
        assert score == work_out_score(c, key), f"the score of {key} is of an earlier state"
    for (name, short_bytes, limit), cost_s in c.displaced_s.items():
        node = c.store.nodes.get(name)
        assert node is not None, f"node {name} is gone, and what its memory would cost is not"
        now_s = work_out_displaced_s(c, node, short_bytes, limit)
        assert cost_s == now_s, f"what {short_bytes} bytes of {name} would cost is of an earlier state"


def _check_ledger(store: Store) -> None:
    used: Counter[str] = Counter()
    leaving: Counter[str] = Counter()
    for key, entry in store.ledger.entries.items():
        assert entry.held_bytes >= 0, f"{key} holds {entry.held_bytes} bytes"
        used[entry.node] += entry.held_bytes
        leaving[entry.node] += entry.held_bytes if entry.leaving else 0
    for node in store.ledger.budget:
        assert store.ledger.used[node] == used[node], f"ledger of {node} is wrong: {used[node]}"
        assert store.ledger.leaving[node] == leaving[node], f"ledger of {node}: leaving is wrong"
    contexts = {
        device.context_key: device.node for device in store.fleet.devices.values() if device.context_key
    }
    assert set(store.ledger.entries) == {*store.holdings, *contexts}, "ledger and holdings differ"
    waiting: Counter[str] = Counter()
    for key, where in contexts.items():
        waiting[where] += store.ledger.held_bytes(key)
    for each in store.nodes.values():
        assert each.context_bytes == waiting[each.id], f"{each.id}: contexts hold {waiting[each.id]}"
    assert set(store.ledger.budget) == set(store.nodes) == set(store.node_order), "nodes differ"


def _check_requests(store: Store) -> None:
    queued = [number for function in store.functions.values() for number in function.queue]
    bound = [number for instance in store.instances.values() for number in instance.bound]
    lined = [n for device in store.fleet.devices.values() for batch in device.line for n in batch.requests]
    places = Counter(queued + bound + lined)
    assert places.keys() == store.requests.keys(), "a request is nowhere, or was forgotten"
    assert max(places.values(), default=1) == 1, "a request is in two places"
    assert sorted(queued) == sorted(store.waiting), "the index of queued requests is wrong"
    for queue in (store.waiting, *(function.queue for function in store.functions.values())):
        ranks = list(queue.lanes)
        assert ranks == sorted(ranks, reverse=True), f"classes are out of order: {ranks}"
        assert len(queue) == sum(map(len, queue.lanes.values())), "the length of a queue is wrong"
        for rank, lane in queue.lanes.items():
            assert lane, f"class {rank} has a lane and nobody in it"
            assert all(store.requests[number].rank == rank for number in lane), (
                "a request is in a wrong class"
            )
    watched = {number for _, number in store.deadlines}
    for number, request in store.requests.items():
        waits = request.state in ("queued", "lined")
        assert waits == (request.instance is None), f"request {number} is half bound"
        assert (request.state == "lined") == (request.device is not None), f"request {number} is half lined"
        assert number in watched or request.state == "cancelling", f"nobody watches the deadline of {number}"
        assert request.function in store.functions, f"request {number} is of an unknown function"
        if request.instance is None:
            assert not request.stopping, f"request {number} is being stopped nowhere"
        else:
            assert number in store.instances[request.instance].bound, f"request {number} is bound elsewhere"


def _check_instances(store: Store) -> None:
    for number, instance in store.instances.items():
        version = store.versions.get(instance.version)
        assert version is not None, f"instance {number} is of an unknown version"
        holding = store.holdings[instance.key]
        slots = [s for s in ("idle", "busy", "climbing", "leased") if number in getattr(version, s)]
        assert slots == ([instance.slot] if instance.slot else []), f"instance {number} stands in {slots}"
        in_it = len(instance.bound) + instance.lent
        assert in_it <= MOST_IN_ONE, f"{in_it} requests may be in instance {number}"
        gone = instance.draining or holding.phase == "descending"
        assert gone == (instance.slot == ""), f"instance {number} drains, yet stands in {instance.slot!r}"
        if gone:
            occupied = instance.bound or instance.leases or number in store.guests
            assert occupied or holding.phase == "descending", f"{number} lingers"
        if instance.slot == "idle":
            assert holding.phase == "up", f"instance {number} is idle while {holding.phase}"
    for version in store.versions.values():
        for slot in ("idle", "busy", "climbing", "leased"):
            for number in getattr(version, slot):
                assert number in store.instances, f"{slot} instance {number} is gone"
        live = len(version.idle) + len(version.busy) + len(version.climbing) + len(version.leased)
        assert version.live == live, f"{version.spec.version}: {version.live} are live, not {live}"


def _check_holdings(store: Store) -> None:
    dependents: Counter[str] = Counter()
    for key, holding in store.holdings.items():
        dependents.update(holding.needs)
        moving = holding.phase != "up"
        assert moving == (holding.command is not None), f"{key} is {holding.phase} under {holding.command}"
        if holding.command is not None:
            assert store.commands[holding.command] == key, f"{key} is not under its command"
            name = "descend" if holding.phase == "descending" else "climb"
            assert f"{name}:{holding.command}" in store.timers, f"{key} may wait for ever"
        assert (holding.phase == "descending") <= store.ledger.entries[key].leaving, f"{key} leaves unseen"
        if holding.version is not None:
            assert key in store.versions[holding.version].keys, f"{key} is not in its version's index"
        elif is_nobodys(store, holding):
            assert holding.phase == "descending" or key in store.dependents, f"no version has {key}"
        if holding.target.kind == "instance":
            assert InstanceId(int(holding.target.key)) in store.instances, f"{key} has no instance"
    assert dict(dependents) == store.dependents, "dependents are wrong"
    for key in dependents:
        leaving = key in store.holdings and store.holdings[key].phase == "descending"
        assert not (leaving and key.startswith("weights/")), f"{key} is let go, but something stands on it"
    for key in (key for node in store.nodes.values() for key in node.doomed):
        assert store.holdings[key].phase != "descending", f"{key} is on its way already"
        assert key in store.dependents, f"nothing keeps {key} from going"
    assert len(store.commands) == sum(h.command is not None for h in store.holdings.values()), "stray command"
    assert set(store.lines) == {node.id for node in store.nodes.values() if node.starved}, "lines are wrong"
    for node in store.nodes.values():
        assert all(store.holdings[key].target.node == node.id for key in node.keys), "a node's index is wrong"
        for number in node.starved:
            function = store.functions[number]
            assert function.queue or function.lined, f"{number} is starved without a request"
            assert store.functions[number].starved_at == node.id, f"{number} is starved elsewhere"
            assert store.functions[number].line_rank in PASSED_OVER, f"{number} is in line without a class"
    assert sum(len(node.keys) for node in store.nodes.values()) == len(store.holdings), (
        "a holding without node"
    )


def _check_functions(store: Store) -> None:
    for number, function in store.functions.items():
        wanted = [v for v in (function.active, function.next, *function.previous) if v is not None]
        assert len(set(wanted)) == len(wanted), f"{number}: a version has two roles"
        for name in (*wanted, *function.retiring):
            assert name in store.versions, f"{number}: version {name} is unknown"
            assert store.versions[name].retired == (name in function.retiring), f"{name}: retired or not?"
        assert not function.gone or not function.queue, f"{number} is gone, yet requests wait"
        assert function.active is not None or not function.warm_until_s, f"{number}: warmed, with no version"
        bound = sum(len(i.bound) for i in store.instances.values() if i.function == number)
        assert function.in_flight == bound, f"{number}: in_flight is {function.in_flight}, not {bound}"
    for version in store.versions.values():
        assert version.spec.function in store.functions, f"{version.spec.version} has no function"
    sharers = {(v.shared_weights, name) for name, v in store.versions.items() if v.shared_weights}
    assert {(name, v) for name, them in store.sharers.items() for v in them} == sharers, "sharers are wrong"
    for name in (*store.build_queue, *store.building):
        assert name in store.versions, f"{name} is to be built, but unknown"
        assert not store.versions[name].retired, f"{name} is built, and nobody wants it"


def _check_timers(store: Store) -> None:
    for key in store.timers:
        kind, _, name = key.partition(":")
        if kind in ("climb", "descend"):
            assert CommandId(int(name)) in store.commands, f"timer {key} has no command"
        elif kind in ("keep", "lease"):
            where, _, gateway = name.partition(":")
            instance = store.instances.get(InstanceId(int(where)))
            assert instance is not None, f"timer {key} has no instance"
            assert kind == "keep" or gateway in instance.leases, f"timer {key} has no lease"
        elif kind == "cancel":
            assert store.requests[RequestId(int(name))].stopping, f"timer {key} has no request"
    for number, instance in store.instances.items():
        for gateway, lease in instance.leases.items():
            assert gateway == lease.gateway, f"a lease of {number} is {lease.gateway}'s and {gateway}'s"
            assert lease.slots > 0, f"{gateway} is lent nothing of {number}"
            assert f"lease:{number}:{gateway}" in store.timers, f"{gateway}'s lease of {number} has no end"
    assert bool(store.deadlines) <= ("deadline" in store.timers), "deadlines without a timer"
