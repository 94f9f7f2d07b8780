"""Moves by hand: an operator or a benchmark wants a function at exactly one step."""

from __future__ import annotations

from glowplug.control import growth, holdings, instances
from glowplug.control.context import Context
from glowplug.control.records import Function, Version, key_of
from glowplug.core.errors import NoSpace
from glowplug.core.ids import FunctionId, InstanceId
from glowplug.core.ladder import Step


def aim(c: Context, number: FunctionId, step: Step) -> None:
    """Sets the goal, which lasts until the function's next request. An unknown function is ignored."""
    function = c.store.functions.get(number)
    if function is None or function.gone:
        return
    function.goal = min(max(step, Step.LOCAL), Step.PARKED)
    function.hold = None
    function.stage_wanted = False
    if step >= Step.STAGED and function.active is not None:
        for key in c.store.versions[function.active].keys:
            c.store.preloads.zygotes.pop(key, None)  # somebody wants them
    c.touch(number)


def pursue(c: Context, function: Function, version: Version) -> None:
    """The next move towards the goal; called again whenever something of the function's changed."""
    goal = function.goal
    if goal is None or function.queue or function.lined:
        return
    if goal == Step.STAGED and (
        version.unstageable or (version.facts is not None and version.facts.highest_step < Step.STAGED)
    ):
        goal = function.goal = Step.IMPORTED
    if goal < Step.PARKED:
        for key in list(version.keys):
            if key.startswith("instance/"):
                number = InstanceId(int(key.rpartition("/")[2]))
                instances.drain(c, c.store.instances[number], "asked for")
    elif not (version.on_device or version.live) and c.now_s >= function.retry_at_s:
        try:
            growth.grow(c, function, version, prime=True)
        except NoSpace as error:
            c.reweigh()
            function.goal = None
            function.note(error.message)
            return
    if goal <= Step.IMPORTED:
        for key in list(version.keys):
            if key.startswith("version/"):
                _let_go(c, key, Step.IMPORTED)
    if goal == Step.LOCAL:
        if all(key.startswith("weights/") for key in version.keys):
            # Once: others may need it, and have it climb again.
            _descend_environment(c, version)
            c.reweigh()
            function.goal, function.hold = None, goal
        return
    if goal in (Step.IMPORTED, Step.STAGED):
        _climb_shared(c, function, version, goal)
    if _is_reached(c, function, version, goal):
        c.reweigh()
        function.goal = None
        function.hold = goal if goal < Step.PARKED else None


def _let_go(c: Context, key: str, step: Step) -> None:
    holding = c.store.holdings[key]
    if holding.phase != "descending" and not any(
        below.startswith("instance/") for below in _standing_on(c, key)
    ):
        holdings.descend(c, holding, step, "asked for")


def _standing_on(c: Context, key: str) -> list[str]:
    """Instances of the same version at that node; a zygote goes after them."""
    holding = c.store.holdings[key]
    if key not in c.store.dependents or holding.version is None:
        return []
    return [
        k for k in c.store.versions[holding.version].keys if k.startswith(f"instance/{holding.target.node}/")
    ]


def _descend_environment(c: Context, version: Version) -> None:
    for node in list(c.store.environments.get(version.spec.environment_key, ())):
        holding = c.store.holdings[key_of("environment", node, version.spec.environment_key)]
        if holding.phase != "descending":
            holdings.descend(c, holding, Step.LOCAL, "asked for")


def _climb_shared(c: Context, function: Function, version: Version, goal: Step) -> None:
    if goal == Step.STAGED and not version.staged_on:
        growth.stage(c, function, version, eager=False)
    elif goal == Step.IMPORTED:
        growth.reach_environment(c, function, version)


def standing(c: Context, function: Function) -> Step:
    """Where the function's active version stands: its best instance or place, including those that leave."""
    if function.active is None:
        return Step.REMOTE
    version, holdings_by_key = c.store.versions[function.active], c.store.holdings
    best = Step.LOCAL
    for key in version.keys:
        holding = holdings_by_key[key]
        if holding.phase == "climbing":
            continue
        if holding.target.kind == "instance":
            instance = c.store.instances[InstanceId(int(holding.target.key))]
            if instance.in_flight:
                return Step.BUSY
            best = Step.PARKED
        elif holding.target.kind == "version":
            best = max(best, Step.STAGED)
    if best == Step.LOCAL:
        for node in c.store.environments.get(version.spec.environment_key, ()):
            if holdings_by_key[key_of("environment", node, version.spec.environment_key)].phase != "climbing":
                return Step.IMPORTED
    return best


def _is_reached(c: Context, function: Function, version: Version, goal: Step) -> bool:
    """What is leaving still counts as standing, but not as arrived."""
    if standing(c, function) != goal:
        return False
    if goal == Step.PARKED:
        return bool(version.idle or version.leased)
    if goal == Step.STAGED:
        return bool(version.staged_on)
    if goal == Step.IMPORTED:
        nodes = c.store.environments[version.spec.environment_key]
        key = version.spec.environment_key
        return any(c.store.holdings[key_of("environment", n, key)].phase == "up" for n in nodes)
    return True
