"""The options of `@app.model` and `@app.function` in one place: their types, defaults and checks."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, TypedDict, get_args, get_type_hints

import msgspec

from glowplug.core.errors import InvalidDeclaration
from glowplug.core.ids import check_name
from glowplug.core.priority import PriorityLabel, rank_of
from glowplug.core.specs import (
    AS_NEEDED,
    MOST_AT_ONCE,
    MOST_COPIES,
    MOST_COUNTED,
    MOST_IN_GANG,
    MOST_THREADS,
    MOST_WORKERS,
    Declaration,
    DeviceKind,
    EndpointSpec,
    Kind,
    Preload,
    Requirements,
)
from glowplug.core.units import parse_bytes, parse_seconds
from glowplug.handles import Weights


class Options(TypedDict, total=False):
    """`name` is the class's or the function's own in lower case. `libraries` are imported once, in the
    environment's zygote. Without `network` there is none, neither where it builds nor where it answers.

    `min_workers` stay parked and up to `max_workers` climb when the queue would take longer than a climb;
    each runs `target_concurrency` requests at once and computes with `threads` threads (0: the cores divided
    over `max_workers`). `priority` is `interactive`, `batch` or `background`.

    With `workers` above 1 the model is spread over so many processes of one machine, each of which may hold
    `memory` of it: each of `max_workers` is then a gang of `workers`. With `workers="auto"` it has as few as
    can hold it. Such a model needs an `example`.

    A server that loads functions before they are called (`serve --preload`) does so with `preload="auto"`
    when a call is likely; with `"always"` whenever there is memory that nobody uses, which needs no policy;
    with `"never"` it does not, nor copies it to one more device. With `pin` what has climbed stays, however
    long ago it was used, and goes only for a request that finds no other room.

    With `device="gpu"` the model lies and computes on one of the server's devices (`serve --devices`), where
    it takes `device_memory` (not given: its weights and `memory`); `max_workers` are then copies on different
    devices (not given: as many as pay off). `latency_target` is how long an answer may take where requests
    that wait a little can be answered as one batch.

    `requirements` are installed once, at deploy, for all that ask for the same: lines as pip has them
    (`["numpy==1.26.4"]`), or a file beside the source (`"requirements.txt"`, `"pylock.toml"`). What they do
    not install comes from the server's own packages. Only wheels are installed, unless `build_from_source`
    lets packages run their own code to build one.
    """

    name: str | None
    libraries: Sequence[str]
    memory: str | int
    keep_warm: str | float
    timeout: str | float
    max_queue: int
    min_workers: int
    max_workers: int
    workers: int | Literal["auto"]
    target_concurrency: int
    threads: int
    priority: PriorityLabel
    device: DeviceKind
    device_memory: str | int
    latency_target: str | float
    network: bool
    prewarm: str
    preload: Preload
    pin: bool
    env: dict[str, str] | None
    secrets: Sequence[str]
    include: Sequence[str]
    requirements: str | Sequence[str] | None
    build_from_source: bool | None


_CHECKED_IN_WORDS = ("memory", "keep_warm", "timeout", "workers", "priority", "device", "device_memory",
                     "latency_target", "preload", "requirements")  # fmt: skip
"""Options whose own checks say more than which type they have."""
_MEMORY: dict[Kind, str] = {"model": "512MB", "function": "256MB"}
DEFAULTS: Options = {
    "libraries": (), "keep_warm": "5m", "timeout": "60s", "max_queue": 100,
    "min_workers": 0, "workers": 1, "target_concurrency": 1, "threads": 0,
    "priority": "interactive", "device": "cpu", "device_memory": 0, "latency_target": 0.0, "network": False,
    "prewarm": "auto", "preload": "auto", "pin": False, "env": {}, "secrets": (), "include": (),
    "requirements": None, "build_from_source": None,
}  # fmt: skip


def declaration(
    target: Any,
    kind: Kind,
    namespace: str,
    endpoints: tuple[EndpointSpec, ...],
    weights: Weights,
    given: Options,
    of_app: Requirements,
) -> Declaration:
    """What `given` declares of `target`; requirements that it does not give are the app's.

    Raises InvalidDeclaration naming the option that makes no sense, InvalidName.
    """
    _check_type(f"{kind} {target.__name__}", "name", given.get("name"))
    name = given.get("name")
    own_name = check_name(target.__name__.lower() if name is None else name)
    what = f"{kind} {own_name}"
    for unknown in given.keys() - Options.__annotations__.keys():
        near = difflib.get_close_matches(unknown, Options.__annotations__, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InvalidDeclaration(f"{what}: there is no option {unknown}{hint}")
    for option, value in given.items():
        _check_type(what, option, value)
    copies = MOST_COPIES if given.get("device") == "gpu" else 1
    o: Options = {"memory": _MEMORY[kind], "max_workers": copies, **DEFAULTS, **given}
    _check(what, o, weights)
    _check_device(what, o, endpoints)
    _check_workers(what, target, kind, o, endpoints)
    found = Declaration(
        name=own_name, kind=kind, module=target.__module__, qualname=target.__qualname__,
        namespace=namespace, endpoints=endpoints,
        weights=weights if isinstance(weights, str) else None, libraries=tuple(o["libraries"]),
        memory_bytes=parse_bytes(o["memory"], f"{what}: memory"),
        keep_warm_s=parse_seconds(o["keep_warm"], f"{what}: keep_warm"),
        timeout_s=parse_seconds(o["timeout"], f"{what}: timeout"),
        max_queue=o["max_queue"], min_workers=o["min_workers"], max_workers=o["max_workers"],
        workers=AS_NEEDED if o["workers"] == "auto" else o["workers"],
        target_concurrency=o["target_concurrency"], threads=o["threads"], priority=o["priority"],
        device=o["device"], device_memory_bytes=parse_bytes(o["device_memory"], f"{what}: device_memory"),
        latency_target_s=parse_seconds(o["latency_target"], f"{what}: latency_target"),
        network=o["network"], prewarm=o["prewarm"], preload=o["preload"], pin=o["pin"],
        env=dict(o["env"] or {}), secrets=tuple(o["secrets"]),
        include=tuple(o["include"]), requirements=_requirements(what, o, of_app),
        doc=inspect.getdoc(target) or "",
    )  # fmt: skip
    found.check_memory()
    return found


@cache
def _types() -> dict[str, Any]:
    return get_type_hints(Options)


def _check_type(what: str, option: str, value: Any) -> None:
    if option in _CHECKED_IN_WORDS:
        return
    if option in ("libraries", "secrets", "include") and isinstance(value, str):
        raise InvalidDeclaration(f"{what}: libraries, secrets and include are lists of names, not one string")
    try:
        msgspec.convert(value, _types()[option])
    except msgspec.ValidationError as error:
        raise InvalidDeclaration(f"{what}: {option}: {error}") from None


def _check(what: str, o: Options, weights: Weights) -> None:
    if weights is not None and not isinstance(weights, str) and not callable(weights):
        raise InvalidDeclaration(
            f"{what}: weights is text, the path of a file beside the source, or a callable, not {weights!r}"
        )
    if o["max_queue"] < 1 or o["max_workers"] < 1 or not 0 <= o["min_workers"] <= o["max_workers"]:
        raise InvalidDeclaration(f"{what}: need max_queue >= 1 and 0 <= min_workers <= max_workers >= 1")
    if max(o["max_queue"], o["max_workers"]) > MOST_COUNTED:
        raise InvalidDeclaration(f"{what}: need max_queue and max_workers of at most {MOST_COUNTED}")
    if not 1 <= o["target_concurrency"] <= MOST_AT_ONCE or not 0 <= o["threads"] <= MOST_THREADS:
        raise InvalidDeclaration(
            f"{what}: need 1 <= target_concurrency <= {MOST_AT_ONCE} and 0 <= threads <= {MOST_THREADS}"
        )
    if o["preload"] not in get_args(Preload):
        raise InvalidDeclaration(
            f"{what}: preload is {', '.join(map(repr, get_args(Preload)))}, not {o['preload']!r}"
        )
    try:
        rank_of(o["priority"])
    except (ValueError, TypeError) as error:
        raise InvalidDeclaration(f"{what}: priority: {error}") from None


def _check_device(what: str, o: Options, endpoints: tuple[EndpointSpec, ...]) -> None:
    if o["device"] not in ("cpu", "gpu"):
        raise InvalidDeclaration(f"{what}: device is 'cpu' or 'gpu', not {o['device']!r}")
    if o["device"] == "cpu":
        for name in ("device_memory", "latency_target"):
            if o.get(name):
                raise InvalidDeclaration(f"{what}: {name} is for device='gpu'")
        return
    if o["target_concurrency"] != 1:
        raise InvalidDeclaration(
            f"{what}: on a device one call runs at a time: leave target_concurrency away, and let "
            "an endpoint take batches (max_batch)"
        )
    awaiting = [endpoint.name for endpoint in endpoints if endpoint.is_async]
    if awaiting:
        raise InvalidDeclaration(
            f"{what}: endpoint {awaiting[0]} may not be async on a device: write plain def"
        )


def _check_workers(
    what: str, target: Any, kind: Kind, o: Options, endpoints: tuple[EndpointSpec, ...]
) -> None:
    workers = o["workers"]
    if workers != "auto" and (type(workers) is not int or not 1 <= workers <= MOST_WORKERS):
        raise InvalidDeclaration(f"{what}: need 1 <= workers <= {MOST_WORKERS} or 'auto', not {workers!r}")
    if workers == 1:
        return
    if kind != "model" or not callable(getattr(target, "example", None)):
        raise InvalidDeclaration(
            f"{what}: workers={workers!r} spreads a model, which has to be watched once: declare a class "
            "with @app.model and give it an example(self)"
        )
    if o["device"] != "cpu" or o["target_concurrency"] > MOST_IN_GANG:
        raise InvalidDeclaration(
            f"{what}: workers={workers!r} is for device='cpu' and at most {MOST_IN_GANG} calls at a time: "
            "leave device away, and make target_concurrency smaller"
        )
    awaiting = [endpoint.name for endpoint in endpoints if endpoint.is_async]
    if awaiting:
        raise InvalidDeclaration(
            f"{what}: endpoint {awaiting[0]} may not be async with workers={workers!r}: write plain def"
        )


def _requirements(what: str, o: Options, of_app: Requirements) -> Requirements | None:
    wanted, from_source = o["requirements"], o["build_from_source"]
    lines = of_app.lines if wanted is None else requirement_lines(wanted, what)
    if not lines:
        return None
    return Requirements(
        lines, build_from_source=of_app.build_from_source if from_source is None else from_source
    )


def requirement_lines(wanted: str | Sequence[str], what: str) -> tuple[str, ...]:
    """One string is the name of a file. Raises InvalidDeclaration."""
    if isinstance(wanted, str):
        if not wanted.endswith((".txt", ".in", ".toml", ".lock")):
            raise InvalidDeclaration(
                f"{what}: requirements is a list of lines, or a requirements file's name, not {wanted[:80]!r}"
            )
        return (f"-r {wanted}",)
    if not isinstance(wanted, Sequence) or not all(isinstance(line, str) for line in wanted):
        raise InvalidDeclaration(f"{what}: requirements is a list of text, such as ['numpy==1.26.4']")
    return tuple(wanted)
