"""Versions: deploy, build, switch over, roll back, retire."""

from __future__ import annotations

from glowplug.control import answers, bindings, failures, growth, holdings, instances, offers, sharing
from glowplug.control.context import Context
from glowplug.control.fleet import lines, loads
from glowplug.control.learning import describe
from glowplug.control.records import Function, Version, build_timer, key_of
from glowplug.control.wants import replicas_wanted
from glowplug.core.errors import NoSpace
from glowplug.core.events import Deployed, RollbackRequested, ScaleRequested
from glowplug.core.ids import FunctionId, InstanceId, VersionId
from glowplug.core.ladder import Step

_KEPT_FOR_ROLLBACK = 3
_DEPLOYED_COUNTS = 0.1
"""A deploy says a little about demand: less than one request."""


def on_deployed(c: Context, event: Deployed) -> None:
    """The version becomes the next one, unless it is there already or only kept for rolling back."""
    spec, store = event.spec, c.store
    function = store.functions.setdefault(spec.function, Function(id=spec.function))
    version = store.versions.get(spec.version)
    if version is None:
        version = store.versions[spec.version] = Version(spec=spec)
        describe(version, None, c)
    elif (
        not version.retired and version.state != "failed" and spec.version in (function.active, function.next)
    ):
        if version.state == "pending":
            _begin_anew(c, version)
            c.build_check = True
        return
    function.latest = spec
    function.gone = version.retired = False
    function.retiring.pop(spec.version, None)
    if event.facts is not None:
        describe(version, event.facts, c)
        version.state = "built"
    elif version.state == "failed":
        version.state = "pending"
    version.error = version.code = ""
    _begin_anew(c, version)
    c.policies.arrivals.observe(function.id, c.now_s, _DEPLOYED_COUNTS)
    c.policies.arrivals.observe(spec.environment_key, c.now_s, _DEPLOYED_COUNTS)
    if event.active:
        _aim(c, function, version)
    elif spec.version not in (function.active, function.next):
        _keep(c, function, spec.version)
    c.touch(function.id)


def on_rollback(c: Context, event: RollbackRequested) -> None:
    function = c.store.functions.get(event.function)
    if function is None or function.gone or event.version not in function.previous:
        return
    _aim(c, function, c.store.versions[event.version])
    c.touch(function.id)


def _aim(c: Context, function: Function, version: Version) -> None:
    """`version` is to be the active one; what was on its way to that before is not any more."""
    number = version.spec.version
    superseded = function.next
    function.next = None
    c.revalue(function.id)
    function.error = function.code = ""
    if superseded is not None and superseded != number:
        c.store.build_queue.pop(superseded, None)
        other = c.store.versions[superseded]
        _drain(c, other, "superseded")
        if other.state == "built":
            _keep(c, function, superseded)
            offers.reconsider_version(c, other)
        else:
            retire(c, function, superseded)
    if number in function.previous:
        function.previous.remove(number)
    if number == function.active:
        return
    function.next = number
    c.revalue(function.id)
    failures.forgive(c, function, ahead=True)
    offers.reconsider_version(c, version)
    _begin_anew(c, version)
    if version.state == "pending":
        c.store.build_queue[number] = None
        c.build_check = True


def _begin_anew(c: Context, version: Version) -> None:
    """Its attempts are counted from here, and the next waits for no pause."""
    version.attempts = 0
    c.clear_timer(build_timer(version.spec.version))


def _keep(c: Context, function: Function, number: VersionId) -> None:
    """The last few versions stay for rolling back, the newest last."""
    if number in function.previous:
        function.previous.remove(number)
    function.previous.append(number)
    while len(function.previous) > _KEPT_FOR_ROLLBACK:
        retire(c, function, function.previous.pop(0))


def retire(c: Context, function: Function, number: VersionId) -> None:
    """The version is wanted no more; it is forgotten once it holds nothing."""
    version = c.store.versions[number]
    version.retired = True
    c.store.build_queue.pop(number, None)
    c.clear_timer(build_timer(number))
    if version.state == "building":
        _stop_build(c, version)
    function.retiring[number] = None
    _drain(c, version, "retired")
    c.touch(function.id)


def _stop_build(c: Context, version: Version) -> None:
    """Others wait for its turn. Should it be deployed again it is built again."""
    version.state = "pending"
    del c.store.building[version.spec.version]
    c.build_check = True
    for key in list(version.keys):
        holding = c.store.holdings[key]
        if holding.target.kind == "build" and holding.phase != "descending":
            holdings.descend(c, holding, Step.LOCAL, "nobody waits for it")


def on_undeployed(c: Context, number: FunctionId) -> None:
    function = c.store.functions.get(number)
    if function is None or function.gone:
        return
    function.gone = True
    function.goal = function.hold = function.replicas = None
    function.warm_until_s = 0.0
    lines.recall_all(c, function, retried=False)
    loads.forget(c, function)
    answers.reject_queue(c, function, "unknown_function", f"{number} was undeployed")
    function.on_device = False
    wanted = [v for v in (function.active, function.next, *function.previous) if v is not None]
    function.active = function.next = None
    function.previous = []
    c.revalue(number)
    # Before its instances are gone: until then a policy might load it once more.
    c.policies.scheduling.forget(number)
    c.policies.preload.forget(number)
    for version in wanted:
        retire(c, function, version)
    c.touch(number)


def on_scale(c: Context, event: ScaleRequested) -> None:
    """Wants that many instances parked; idle ones beyond go at once, and then lent ones when they are idle:
    only their gateway knows whether what it last reported still runs."""
    function = c.store.functions.get(event.function)
    if function is None or function.gone:
        return
    function.replicas = max(0, event.replicas)
    function.goal = function.hold = None
    c.touch(function.id)
    if function.active is None:
        return
    version = c.store.versions[function.active]
    surplus = version.live - function.replicas
    for number in (*version.idle, *version.leased, *version.climbing):
        if surplus <= 0:
            break
        instance = c.store.instances[number]
        if bindings.is_unused(instance):
            instances.drain(c, instance, "scaled down")
            surplus -= 1
    for number in list(version.leased)[: max(0, surplus)]:
        instances.drain(c, c.store.instances[number], "scaled down")


def advance(c: Context, function: Function) -> None:
    """Switches to the next version when it is built and, if the old one serves, has a parked instance."""
    if function.next is None:
        return
    version = c.store.versions[function.next]
    if version.state == "failed":
        function.error, function.code = version.error, version.code
        number, function.next = function.next, None
        c.revalue(function.id)
        retire(c, function, number)
        if function.active is None:
            answers.reject_queue(c, function, version.code, version.error)
        return
    if version.state != "built":
        return
    if version.on_device:
        _switch(c, function, version)
        return
    serving = function.active is not None and c.store.versions[function.active].live > 0
    if not (serving or replicas_wanted(c, function) > 0) or version.idle or version.leased:
        _switch(c, function, version)
    elif function.starved_at is not None:
        # Requests wait for memory to be served by the old one: each would take what the other waits for.
        return
    elif not version.live and c.now_s >= function.retry_at_s:
        try:
            growth.grow(c, function, version, prime=True)
        except NoSpace as error:
            version.state, version.code, version.error = "failed", error.code, error.message
            c.touch(function.id)


def _switch(c: Context, function: Function, version: Version) -> None:
    before, function.active, function.next = function.active, version.spec.version, None
    c.revalue(function.id)
    function.stage_wanted, function.warm_until_s = False, 0.0
    if before is not None:
        if c.store.versions[before].spec.declaration.prewarm != version.spec.declaration.prewarm:
            c.clear_timer(f"prewarm:{function.id}")
        _drain(c, c.store.versions[before], "superseded")
        _keep(c, function, before)
        offers.reconsider_version(c, c.store.versions[before])
    offers.reconsider_version(c, version)
    for number in version.idle:
        c.idled[number] = None


def _drain(c: Context, version: Version, why: str) -> None:
    for key in list(version.keys):
        if key.startswith("instance/"):
            instances.drain(c, c.store.instances[InstanceId(int(key.rpartition("/")[2]))], why)


def _leave_environment(c: Context, version: Version) -> None:
    """A zygote with packages of its own goes when no version is left that needs it, and its packages may go
    too. One of the server's own packages stays for the next deploy."""
    key = version.spec.environment_key
    if not version.spec.packages or any(v.spec.environment_key == key for v in c.store.versions.values()):
        return
    c.policies.arrivals.forget(key)
    c.policies.costs.forget(key)
    for node in list(c.store.environments.get(key, ())):
        holding = c.store.holdings[key_of("environment", node, key)]
        if holding.phase != "descending":
            holdings.descend(c, holding, Step.LOCAL, "nobody needs it")


def tidy(c: Context, function: Function) -> None:
    """Sends down what retired versions still hold, and forgets those that hold nothing."""
    for number in list(function.retiring):
        version = c.store.versions[number]
        if not version.keys:
            del function.retiring[number], c.store.versions[number]
            _leave_environment(c, version)
            sharing.leave(c, version)
            c.policies.costs.forget(number)
            continue
        for key in list(version.keys):
            holding = c.store.holdings[key]
            idle = holding.phase != "descending" and key not in c.store.dependents
            if idle and holding.target.kind in ("version", "weights"):
                holdings.descend(c, holding, Step.LOCAL, "retired")
    if function.gone and not function.retiring:
        c.clear_timer(f"retry:{function.id}")
        c.policies.arrivals.forget(function.id)
        c.policies.scheduling.forget(function.id)
        c.policies.preload.forget(function.id)
        for prewarm in c.policies.prewarm.values():
            prewarm.forget(function.id)
        c.clear_timer(f"prewarm:{function.id}")
        c.policies.predictors.forget(function.id)
        c.needed_soon.pop(function.id, None)
        c.store.preloads.forget(function.id)
        c.store.homes.pop(function.id, None)
        c.store.fleet.tally.forget(function.id)
        c.store.fleet.short.pop(function.id, None)
        c.store.stranded.pop(function.id, None)
        del c.store.functions[function.id]
