"""Builds: a queue, a few at once, each with its environment up and its memory reserved."""

from __future__ import annotations

from glowplug.control import gangs, growth, holdings, memory, offers, placement, versions
from glowplug.control.context import Context
from glowplug.control.learning import describe
from glowplug.control.records import Version, build_timer, key_of
from glowplug.control.sizes import fits_later, too_big
from glowplug.core.commands import Build, Target
from glowplug.core.events import Built
from glowplug.core.ids import NodeId
from glowplug.core.ladder import Step

_INSTALLING = "environment"
"""The phase of an environment's climb in which its packages are installed."""
_INSTALLING_AT_ONCE = 2
"""Each holds memory for the zygote that it will be."""
_ATTEMPTS = 12
"""A deploy was acknowledged, so bad luck does not end it soon."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
"""After an attempt. What it failed for may last, and attempts cost the others a place."""
_SLOW_ATTEMPTS = 2
"""A build that did not end in its time, or found the disk full, takes as long again, and others wait."""


def start(c: Context) -> None:
    """Starts a few builds at once: the highest class first, and in each class first come, first served.
    The first in line waits for its environment and for memory. The others go ahead of it only while
    packages are installed for it, because that can take minutes."""
    store, installing = c.store, 0
    if len(store.building) >= c.settings.max_builds:
        return
    for number in sorted(store.build_queue, key=lambda name: -store.versions[name].spec.rank):
        if len(store.building) >= c.settings.max_builds:
            return
        version = store.versions[number]
        if number not in store.build_queue or build_timer(number) in store.timers:
            continue
        if installing >= _INSTALLING_AT_ONCE and version.spec.packages:
            continue
        if _start(c, version):
            store.build_queue.pop(number, None)
            if version.state == "building":
                store.building[number] = None
        elif not _is_installing(c, version):
            return
        else:
            installing += 1


def _start(c: Context, version: Version) -> bool:
    """Whether the queue may move on: the build runs, or will never run."""
    spec = version.spec
    function = c.store.functions[spec.function]
    need_bytes = spec.declaration.memory_bytes
    node = placement.choose(c, version, need_bytes)
    if node is None:
        return False
    hopeless = too_big(c, version, node.id, need_bytes)
    if hopeless is not None and fits_later(c, version, node.id, need_bytes):
        return False
    if hopeless is not None:
        fail(c, version, "no_space", hopeless)
        return True
    if key_of("build", node.id, spec.version) in c.store.holdings:
        # An earlier attempt is still on its way out.
        return False
    environment = growth.ensure_environment(c, node, function, version)
    if environment is None:
        return False
    if not memory.acquire(c, node, function, need_bytes, urgent=False, keep=(environment.key,)):
        return False
    target = Target("build", node.id, spec.version)
    holding = holdings.enter(c, target, Step.LOCAL, need_bytes, spec=spec, needs=(environment.key,))
    command = c.command_id()
    holding.phase, holding.command = "climbing", command
    c.store.commands[command] = holding.key
    version.state = "building"
    c.emit(Build(id=command, node=node.id, spec=spec))
    c.set_timer(f"climb:{command}", c.now_s + c.settings.build_timeout_s)
    return True


def _is_installing(c: Context, version: Version) -> bool:
    key = version.spec.environment_key
    found = [c.store.holdings[key_of("environment", n, key)] for n in c.store.environments.get(key, ())]
    return any(each.phase == "climbing" and each.phase_of_climb == _INSTALLING for each in found)


def on_built(c: Context, event: Built) -> None:
    key = c.store.commands.get(event.command)
    holding = c.store.holdings.get(key or "")
    version = c.store.versions.get(event.version)
    if holding is None or version is None or holding.key != key_of("build", event.node, event.version):
        return
    describe(version, event.facts, c)
    version.state, version.attempts = "built", 0
    c.store.building.pop(event.version, None)
    holdings.remove(c, holding)
    # What was just written lies in the page cache, whether there is room for it or not.
    node = NodeId(event.node)
    growth.hold_weights(c, version, node, forced=True)
    gangs.hold_weights(c, version, node, forced=True)
    for key in (key_of("weights", node, version.weights), *gangs.weights_keys(version, node)):
        weights = c.store.holdings.get(key)
        if weights is not None:
            offers.reconsider(c, weights)
    c.touch(version.spec.function)


def fail(c: Context, version: Version, code: str, message: str) -> None:
    """The version cannot be built. An older one stays active."""
    version.state, version.code, version.error = "failed", code, message
    c.store.building.pop(version.spec.version, None)
    c.store.build_queue.pop(version.spec.version, None)
    c.build_check = True
    function = c.store.functions[version.spec.function]
    if function.next != version.spec.version and not version.retired:
        if version.spec.version in function.previous:
            function.previous.remove(version.spec.version)
        versions.retire(c, function, version.spec.version)
    c.touch(version.spec.function)


def retry(c: Context, version: Version, code: str, message: str, *, slow: bool = False) -> None:
    """A build that failed for no fault of the function's is tried again, a few times."""
    version.attempts += 1
    c.store.building.pop(version.spec.version, None)
    if version.attempts >= (_SLOW_ATTEMPTS if slow else _ATTEMPTS):
        fail(c, version, code, message)
    else:
        version.state = "pending"
        c.store.build_queue[version.spec.version] = None
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (version.attempts - 1))
        c.set_timer(build_timer(version.spec.version), c.now_s + pause_s)
        c.build_check = True
