"""How climbs and descents end: well, badly, late, or by themselves."""

from __future__ import annotations

from itertools import islice

from glowplug.control import answers, builds, failures, gangs, holdings, instances, overdue
from glowplug.control.context import Context
from glowplug.control.fleet import cache, loads
from glowplug.control.overdue import LOOKED_AT
from glowplug.control.records import Function, Holding, Instance, Version
from glowplug.core.commands import Descend, Target
from glowplug.core.events import CommandFailed, InstanceExited, StepLost, StepReached
from glowplug.core.ids import CommandId, FunctionId, InstanceId
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority

_CLIMB_ATTEMPTS = 2
EARLY_S = 1e-3
"""A clock may be read a little before the time it was asked to fire at."""


def on_step_reached(c: Context, event: StepReached) -> None:
    """Ignored when the climb was given up meanwhile: a Descend follows it already."""
    holding = _under(c, event.command)
    if holding is None or holding.phase != "climbing" or holding.target != event.target:
        _take_down_unknown(c, event.target)
        return
    if holding.target.kind == "instance":
        instance = c.store.instances[InstanceId(int(holding.target.key))]
        instances.on_parked(c, instance, event)
        if instance.device is not None:
            cache.keep(c, instance)
    elif holding.target.kind != "build":
        holdings.arrive(c, holding, event)
        c.touch(holding.function)


def _take_down_unknown(c: Context, target: Target) -> None:
    """Its Climb crossed the loss of its device, and the instance came up when the device was back. Nobody
    waits for it, and numbers are never used twice, so it can be taken down."""
    if target.kind == "instance" and InstanceId(int(target.key)) not in c.store.instances:
        c.emit(Descend(id=c.command_id(), target=target, step=Step.STAGED, why="nobody waits for it"))


def on_step_lost(c: Context, event: StepLost) -> None:
    """By a Descend (its latest, if it was sent again), or by itself."""
    target = event.target
    holding = c.store.holdings.get(f"{target.kind}/{target.node}/{target.key}")
    if holding is None or (event.command is not None and event.command != holding.command):
        return
    if target.kind == "instance":
        instance = c.store.instances[InstanceId(int(target.key))]
        instances.end(c, instance, "worker_died", event.why or "it is gone", permanent=False)
    elif target.kind == "part" and event.command is None:
        if holding.phase != "descending":
            _part_lost(c, holding, "worker_died", event.why or "it is gone", permanent=False, gone=True)
    elif event.command is not None or holding.phase == "up":
        ahead = event.command is None and _was_ahead(c, holding)
        holdings.remove(c, holding)
        if event.command is None and target.kind == "version" and holding.function is not None:
            function = c.store.functions[holding.function]
            if ahead:
                function.note(event.why or "its zygote is gone")
            if function.goal is not None:
                _missed(function)


def on_instance_exited(c: Context, event: InstanceExited) -> None:
    instance = c.store.instances.get(event.instance)
    if instance is not None:
        instances.end(c, instance, event.code, event.why, permanent=False)


def on_command_failed(c: Context, event: CommandFailed) -> None:
    """A failed climb leaves nothing behind. A failed descent is sent again by its timer."""
    holding = _under(c, event.command)
    if holding is None or holding.phase != "climbing":
        return
    _fail(c, holding, event.code, event.message, permanent=event.permanent, gone=True)


def on_climb_timer(c: Context, command: CommandId) -> None:
    """A climb without an outcome is given up; what it may have left is taken down. An instance's is looked at
    several times before (overdue.py)."""
    holding = _under(c, command)
    if holding is None or holding.phase != "climbing":
        return
    if holding.target.kind == "instance" and _has_time(c, holding):
        return
    seconds = c.now_s - holding.since_s
    _fail(c, holding, "unavailable", f"no outcome after {seconds:.0f} s", permanent=False, gone=False)


def _has_time(c: Context, holding: Holding) -> bool:
    """Whether an instance's climb may go on, and is looked at later, or was given up here because the
    requests that wait for it are better off without it. Those in the queue are looked at in any case."""
    ends_s = holding.since_s + c.settings.climb_timeout_s
    instance = c.store.instances[InstanceId(int(holding.target.key))]
    if instance.device is not None or c.now_s >= ends_s - EARLY_S:
        return False
    version, next_s = c.version_of(instance), ends_s
    if overdue.is_overdue(c, instance, holding):
        c.touch(instance.function)
        if overdue.is_awaited(c, instance):
            if overdue.may_end(c, instance):
                _give_up(c, instance, holding)
                version.given_up += 1
                return True
            # Another worker may stand by then.
            next_s = c.now_s + overdue.patience_s(c, version, instance.origin, Priority.INTERACTIVE)
    elif instance.bound:
        next_s = overdue.from_s(c, instance, holding)
    if not instance.bound:
        # A request may be bound to it any moment.
        next_s = c.now_s + overdue.patience_s(c, version, instance.origin, Priority.INTERACTIVE)
    c.set_timer(f"climb:{holding.command}", min(ends_s, next_s))
    return True


def give_up_overdue(c: Context, version: Version) -> None:
    """A request needs a worker: climbs that are overdue are given up, as far as they may be, so that none is
    expected of them and another may begin."""
    looked_at = (*islice(version.climbing, LOOKED_AT), *islice(version.busy, LOOKED_AT))
    late = [
        (instance, holding)
        for instance in map(c.store.instances.__getitem__, looked_at)
        if overdue.is_overdue(c, instance, holding := c.store.holdings[instance.key])
        and overdue.may_end(c, instance)
    ]
    for instance, holding in late:
        _give_up(c, instance, holding)
    if late:
        version.given_up += 1


def _give_up(c: Context, instance: Instance, holding: Holding) -> None:
    """If it was loaded ahead, that pauses. Requests that were sent there lie in its socket: their gateway
    asks again when the process has ended (gateway/invoke.py). What was not sent yet is queued again then."""
    function = c.function_of(instance)
    message = f"a worker was not there after {c.now_s - holding.since_s:.0f} s, far longer than usual"
    if instance.id in c.store.preloads.unused:
        c.store.preloads.note_failed(instance.function, c.now_s)
    function.note(message)
    instances.kill(c, instance, message)
    c.touch(function.id)


def on_descend_timer(c: Context, command: CommandId) -> None:
    """Memory counts until it is seen to be free, so a descent without an outcome is asked for again."""
    holding = _under(c, command)
    if holding is None or holding.phase != "descending":
        return
    holdings.end_command(c, holding)
    again = holding.command = c.command_id()
    c.store.commands[again] = holding.key
    c.emit(Descend(id=again, target=holding.target, step=Step.LOCAL, why="asked again"))
    c.set_timer(f"descend:{again}", c.now_s + c.settings.climb_timeout_s)


def _under(c: Context, command: CommandId) -> Holding | None:
    key = c.store.commands.get(command)
    return None if key is None else c.store.holdings[key]


def _fail(c: Context, holding: Holding, code: str, message: str, *, permanent: bool, gone: bool) -> None:
    """`gone`: nothing of it is left; else it has to be taken down first."""
    kind = holding.target.kind
    if kind == "instance":
        instance = c.store.instances[InstanceId(int(holding.target.key))]
        if gone:
            instances.end(c, instance, code, message, permanent=permanent)
        else:
            failures.fail_requests(c, instance, code, message, permanent=permanent)
            instances.kill(c, instance, message)
            c.touch(instance.function)
        return
    if kind == "part":
        _part_lost(c, holding, code, message, permanent=permanent, gone=gone)
        return
    waiters, ahead = list(holding.waiters), _was_ahead(c, holding)
    if gone:
        holdings.remove(c, holding)
    else:
        holdings.descend(c, holding, Step.LOCAL, message)
    if kind == "environment":
        _environment_failed(c, holding.target.key, waiters, code, message, permanent=permanent)
    elif kind == "version" and holding.version is not None:
        version = c.store.versions[holding.version]
        version.unstageable = permanent
        function = c.store.functions[version.spec.function]
        function.stage_wanted = False
        if permanent or ahead:
            function.note(message)
        if ahead and function.goal is None:
            return
        if permanent:
            function.misses += 1
        else:
            _missed(function)
    elif kind == "build" and holding.version is not None:
        version = c.store.versions[holding.version]
        if permanent:
            builds.fail(c, version, code, message)
        else:
            builds.retry(c, version, code, message, slow=not gone or code in ("no_space", "out_of_memory"))


def _was_ahead(c: Context, holding: Holding) -> bool:
    """Whether this is a zygote that was loaded ahead and nobody used: its function pauses."""
    ahead = holding.key in c.store.preloads.zygotes
    if ahead and holding.function is not None:
        c.store.preloads.note_failed(holding.function, c.now_s)
    return ahead


def _missed(function: Function) -> None:
    """Its zygote did not come up, or went down. If an operator asked for it, it is tried once more."""
    function.misses += 1
    if function.goal is not None and function.misses >= _CLIMB_ATTEMPTS:
        function.goal = None


def _part_lost(c: Context, part: Holding, code: str, message: str, *, permanent: bool, gone: bool) -> None:
    """Its whole gang goes, because no other process can compute that part."""
    climbed = part.phase == "climbing"
    if gone:
        holdings.remove(c, part)
    else:
        holdings.descend(c, part, Step.LOCAL, message)
    head = gangs.head_of(c, part)
    if head is not None and c.holding_of(head).phase != "descending":
        words = f"worker {part.target.key.rpartition('.')[2]} of its gang: {message}"
        failures.fail_requests(c, head, code, words, permanent=permanent, climbing=climbed)
        instances.kill(c, head, words)
        c.touch(head.function)


def _environment_failed(
    c: Context, environment: str, waiters: list[FunctionId], code: str, message: str, *, permanent: bool
) -> None:
    """It is tried once more for those who wait. After that they get an error, and the next try comes after
    a pause."""
    misses = c.store.environment_misses.get(environment, 0) + 1
    if not permanent and misses < _CLIMB_ATTEMPTS:
        c.store.environment_misses[environment] = misses
        return
    c.store.environment_misses.pop(environment, None)
    for number in waiters:
        function = c.store.functions.get(number)
        if function is None:
            continue
        loads.forget(c, function)
        answers.reject_queue(c, function, code if permanent else "unavailable", message)
        function.goal = None
        function.note(message)
        failures.pause(c, function)
        version = c.store.versions.get(function.next) if function.next else None
        if version is not None and version.state == "pending":
            (builds.fail if permanent else builds.retry)(c, version, code, message)
