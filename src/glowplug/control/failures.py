"""What becomes of requests whose instance ended, and when a function that could not climb tries again."""

from __future__ import annotations

from glowplug.control import answers, bindings
from glowplug.control.context import Context
from glowplug.control.fleet import lines as device_lines
from glowplug.control.fleet import places
from glowplug.control.records import Function, Instance, Version

_MISSES_BEFORE_GIVING_UP = 2
_ATTEMPTS_OF_NEXT = 12
"""A new version gets more attempts: only its deployer waits, and the deploy was already acknowledged."""
_LONGEST_BACKOFF_S = 60.0
_DEATHS_UNHEEDED = 1


def fail_requests(
    c: Context, instance: Instance, code: str, message: str, *, permanent: bool, climbing: bool = False
) -> None:
    """Requests that were never begun get a second chance, the others an error. `climbing` is whether what it
    stands on was still on its way up."""
    climbing = climbing or c.holding_of(instance).phase == "climbing"
    function = c.function_of(instance)
    unbound, unused = not instance.bound, bindings.is_unused(instance) and not instance.uses
    for number in reversed(list(instance.bound)):
        request = c.store.requests[number]
        bindings.unbind(c, instance, request)
        if request.state == "cancelling":
            del c.store.requests[number]
        elif function.gone:
            answers.reject(c, request, "unknown_function", f"{function.id} was undeployed")
        elif climbing and permanent:
            answers.reject(c, request, code, message)
        elif request.started:
            died = code if code == "out_of_memory" else "worker_died"
            answers.reject(c, request, died, f"the worker of {function.id} died: {message}")
        elif request.retried:
            answers.reject(
                c,
                request,
                "unavailable",
                f"two workers of {function.id} ended before they began: {message}",
                1.0,
            )
        else:
            answers.requeue(c, request)
    if instance.id in c.store.preloads.unused:
        if not instance.draining:
            c.store.preloads.note_failed(instance.function, c.now_s)
            function.note(message)
    elif climbing and unbound and not instance.draining:
        _leave_device(c, instance, code)
        _missed(c, c.version_of(instance), code, message, permanent=permanent)
    elif unused and not (climbing or instance.draining):
        _died_unused(c, instance, code, message)


def _leave_device(c: Context, instance: Instance, code: str) -> None:
    """The load failed: requests lined up at this device go back to the queue, marked as retried."""
    device = places.device_of(c, instance)
    if device is not None:
        places.failed(c, device, instance.function, code)
        device_lines.recall(c, device, instance.function, retried=True)


def _missed(c: Context, version: Version, code: str, message: str, *, permanent: bool) -> None:
    """A climb that no request was bound to failed: pause, and after some give up what depends on it."""
    function = c.store.functions[version.spec.function]
    function.misses += 1
    if version.spec.version == function.next:
        version.attempts += 1
        if permanent or version.attempts >= _ATTEMPTS_OF_NEXT:
            version.state, version.code, version.error = "failed", code, message
    elif (permanent or function.misses >= _MISSES_BEFORE_GIVING_UP) and version.live <= 1:
        answers.reject_queue(c, function, code if permanent else "unavailable", message)
    function.note(message)
    pause(c, function)


def _died_unused(c: Context, instance: Instance, code: str, message: str) -> None:
    """An instance came up and ended before anybody used it. If the next one does so too, both count as failed
    climbs. An instance that lived for long resets the count: it shows that others can."""
    function = c.function_of(instance)
    if c.now_s - instance.used_s >= _LONGEST_BACKOFF_S:
        forgive(c, function, ahead=False)
        return
    _leave_device(c, instance, code)
    function.misses += 1
    function.note(message)
    if function.misses > _DEATHS_UNHEEDED:
        pause(c, function)


def forgive(c: Context, function: Function, *, ahead: bool) -> None:
    """Resets failure counts, and what is noted of failures, after an answer, or when another version is
    deployed. Counts of loads `ahead` only if it says so: they may still fail when others do not."""
    function.went_well()
    if ahead:
        c.store.preloads.paused.pop(function.id, None)
    if function.misses or function.retry_at_s:
        function.misses, function.retry_at_s = 0, 0.0
        c.clear_timer(f"retry:{function.id}")


def pause(c: Context, function: Function) -> None:
    """For a while only a request makes this function climb. The more climbs failed, the longer it lasts."""
    pause_s = min(_LONGEST_BACKOFF_S, 0.5 * 2.0 ** min(function.misses, 10))
    function.retry_at_s = c.now_s + pause_s
    c.set_timer(f"retry:{function.id}", function.retry_at_s)
