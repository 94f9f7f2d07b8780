"""Workloads by name: the one text that commands and experiments give.

`KIND` or `KIND:SETTING,SETTING,...`, where a setting is NAME=VALUE; a recorded trace's path stands first,
without a name. A path with a comma in it cannot be given.

    zipf:functions=35,s=0.9,rate_per_min=325,minutes=6
    azure2019:traces/azure2019_1h_1000fn,top=35,rate_per_min=325,minutes=6
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, get_type_hints

import msgspec

from glowplug.core.errors import InvalidWorkload
from glowplug.sim.workloads import Workload
from glowplug.sim.workloads.trace import Trace

KINDS = {
    "access_log": "glowplug.sim.workloads.access_log:AccessLog",
    "azure2019": "glowplug.sim.workloads.azure2019:Azure2019",
    "azure_llm": "glowplug.sim.workloads.azure_llm:AzureLlm",
    "bursty": "glowplug.sim.workloads.bursty:Bursty",
    "diurnal": "glowplug.sim.workloads.diurnal:Diurnal",
    "events": "glowplug.sim.workloads.events_csv:EventsCsv",
    "mix": "glowplug.sim.workloads.mix:Mix",
    "poisson": "glowplug.sim.workloads.poisson:Poisson",
    "timers": "glowplug.sim.workloads.timers:Timers",
    "zipf": "glowplug.sim.workloads.zipf:Zipf",
}


def make_trace(text: str, seed: int = 0) -> Trace:
    """The calls of a workload. A `seed=` in the text goes before the argument.

    Raises InvalidWorkload naming what in the text makes no sense, InvalidTrace for a broken file.
    """
    workload, own_seed = parse(text)
    return workload.trace(seed if own_seed is None else own_seed)


def parse(text: str) -> tuple[Workload, int | None]:
    """(the workload, the seed in the text). Raises InvalidWorkload."""
    kind, _, rest = text.partition(":")
    cls = workload_class(kind.strip())
    settings = _settings(text, rest, takes_path="path" in cls.__struct_fields__)
    seed = settings.pop("seed", None)
    if seed is not None and not seed.isdecimal():
        raise InvalidWorkload(f"{text}: seed={seed} is not a whole number")
    unknown = set(settings) - set(cls.__struct_fields__)
    if unknown:
        raise InvalidWorkload(
            f"{text}: {kind} has no {', '.join(sorted(unknown))}; "
            f"there are {', '.join((*cls.__struct_fields__, 'seed'))}"
        )
    try:
        made: Workload = msgspec.convert(settings, cls, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidWorkload(f"{text}: {error}".replace("`$.", "`")) from error
    return made, None if seed is None else int(seed)


def workload_class(kind: str) -> Any:
    """The Struct registered as `kind`. Raises InvalidWorkload naming those that exist."""
    if kind not in KINDS:
        raise InvalidWorkload(f"no workload is called {kind!r}; there are {', '.join(sorted(KINDS))}")
    module, _, attribute = KINDS[kind].partition(":")
    return getattr(import_module(module), attribute)


def settings_of(kind: str) -> dict[str, tuple[Any, str]]:
    """(default, what it is) of each setting of a kind; a path has msgspec.NODEFAULT."""
    cls = workload_class(kind)
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(cls):
        described = [meta.description for meta in hints[field.name].__metadata__ if meta.description]
        found[field.name] = (field.default, described[0])
    return found


def _settings(text: str, rest: str, takes_path: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    for place, setting in enumerate(part.strip() for part in rest.split(",") if part.strip()):
        name, equals, value = setting.partition("=")
        if not equals and place == 0 and takes_path:
            name, value = "path", setting
        elif not equals:
            raise InvalidWorkload(f"{text}: {setting!r} sets nothing; write NAME=VALUE")
        if name in found:
            raise InvalidWorkload(f"{text}: {name} is set twice")
        found[name] = value
    if takes_path and "path" not in found:
        raise InvalidWorkload(f"{text}: needs a path, as in {text.partition(':')[0]}:PATH,top=35")
    return found
