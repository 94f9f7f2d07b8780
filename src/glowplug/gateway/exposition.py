"""Metrics as Prometheus reads them (text format 0.0.4), in blocks: no event loop stands still meanwhile.

Written here and not by a library: a thousand functions are 40,000 lines, which take prometheus_client half
a second, in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from glowplug.core.histogram import BOUNDS_S, PER_OCTAVE, Histogram
from glowplug.core.ladder import Step
from glowplug.core.status import DeviceStatus, FunctionLoad, NodeStatus, PreloadStatus
from glowplug.gateway.metrics import OTHERS, Metrics, Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BLOCK_SERIES = 100
_COARSE = slice(2 * PER_OCTAVE, len(BOUNDS_S), PER_OCTAVE)
_LE = tuple(f'le="{bound_s:g}"' for bound_s in BOUNDS_S[_COARSE])
"""Bounds that Prometheus sees: each twice the one before, from half a millisecond on."""
_STEPS = {step.label: step.value for step in Step}
_Lines = Iterator[str]


def exposition(
    metrics: Metrics,
    loads: list[FunctionLoad],
    nodes: Iterable[NodeStatus],
    devices: Iterable[DeviceStatus],
    own: dict[str, tuple[str, float]],
    preload: PreloadStatus | None = None,
) -> Iterator[bytes]:
    """All of it, in blocks of a hundred series. `own` are the gateway's: name -> (help, value)."""
    block: list[str] = []
    for lines in (_requests(metrics), _cold_phases(metrics), _functions(loads), _nodes(nodes),
                  _devices(devices), _preload(preload), _own(own)):  # fmt: skip
        for line in lines:
            block.append(line)
            if len(block) >= _BLOCK_SERIES:
                yield "".join(block).encode()
                block.clear()
    yield "".join(block).encode()


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _requests(metrics: Metrics) -> _Lines:
    tallies = list(metrics.tallies.items())
    yield _head("glowplug_requests_total", "counter", "Requests answered.")
    for function, tally in tallies:
        for status, count in tally.statuses.items():
            yield f'glowplug_requests_total{{function="{function}",status="{status}"}} {count}\n'
    yield _head("glowplug_request_seconds", "histogram", "From arrival to answer.")
    for function, tally in tallies:
        yield _histogram("glowplug_request_seconds", f'function="{function}"', tally.seconds)
    yield _head("glowplug_compute_seconds_total", "counter", "Time spent in the functions' own code.")
    for function, tally in tallies:
        yield f'glowplug_compute_seconds_total{{function="{function}"}} {tally.compute_s}\n'
    yield from _cold_starts(tallies)


def _cold_starts(tallies: list[tuple[str, Tally]]) -> _Lines:
    name = "glowplug_cold_request_seconds"
    yield _head(name, "summary", "From arrival to answer, of requests that waited for a climb.")
    for function, tally in tallies:
        for origin, (count, sum_s) in tally.cold.items():
            labels = f'function="{function}",origin="{origin}"'
            yield f"{name}_count{{{labels}}} {count}\n{name}_sum{{{labels}}} {sum_s}\n"


def _cold_phases(metrics: Metrics) -> _Lines:
    name = "glowplug_cold_start_seconds"
    yield _head(
        name, "histogram", "What cold requests waited for, by the step they started from; phase total is all."
    )
    for (origin, phase), histogram in list(metrics.cold_phases.items()):
        yield _histogram(name, f'origin="{origin}",phase="{phase}"', histogram)


def _histogram(name: str, labels: str, histogram: Histogram) -> str:
    """The lines of one histogram, taken at one moment."""
    reached = list(accumulate(histogram.counts))
    lines = [f"{name}_bucket{{{labels},{le}}} {n}\n" for le, n in zip(_LE, reached[_COARSE], strict=True)]
    return (
        "".join(lines) + f'{name}_bucket{{{labels},le="+Inf"}} {reached[-1]}\n'
        f"{name}_sum{{{labels}}} {histogram.sum_s}\n{name}_count{{{labels}}} {reached[-1]}\n"
    )


_GAUGES: tuple[tuple[str, str, str, Callable[[FunctionLoad], float]], ...] = (
    ("glowplug_function_step", "", "Where it stands: 1 local, 2 imported, 3 staged, 4 parked, 5 busy.",
     lambda load: _STEPS[load.step]),
    ("glowplug_queued_requests", "", "Requests waiting for a worker.", lambda load: load.queued),
    ("glowplug_in_flight_requests", "", "Requests in a worker.", lambda load: load.in_flight),
    ("glowplug_leases", "", "Workers lent to gateways.", lambda load: load.leases),
    ("glowplug_workers", ',step="climbing"', "Workers.", lambda load: load.climbing),
    ("glowplug_workers", ',step="parked"', "", lambda load: load.parked),
    ("glowplug_workers", ',step="busy"', "", lambda load: load.busy),
    ("glowplug_held_bytes", ',step="local"', "Memory reserved; at local its part of cached weights.",
     lambda load: load.weight_bytes),
    ("glowplug_held_bytes", ',step="staged"', "", lambda load: load.staged_bytes),
    ("glowplug_held_bytes", ',step="parked"', "", lambda load: load.worker_bytes),
)  # fmt: skip


def _functions(loads: list[FunctionLoad]) -> _Lines:
    for name, labels, text, read in _GAUGES:
        if text:
            yield _head(name, "gauge", text)
        for load in loads:
            yield f'{name}{{function="{load.function}"{labels}}} {read(load)}\n'


def bounded(loads: Iterable[FunctionLoad], most: int) -> list[FunctionLoad]:
    """The first `most`, and one more that is the sum of the others."""
    found = list(loads)
    if len(found) <= most:
        return found
    rest, numbers = found[most:], ("queued", "in_flight", "leases", "climbing", "parked", "busy",
                                   "staged_bytes", "worker_bytes", "weight_bytes")  # fmt: skip
    sums = {name: sum(getattr(load, name) for load in rest) for name in numbers}
    highest = max((load.step for load in rest), key=_STEPS.__getitem__)
    return [*found[:most], FunctionLoad(OTHERS, step=highest, **sums)]


def _nodes(nodes: Iterable[NodeStatus]) -> _Lines:
    found = list(nodes)
    for name, text in (
        ("reserved_bytes", "Memory reserved in all."),
        ("environment_bytes", "Memory of environments, shared by functions."),
        ("cached_bytes", "Memory reserved for weights in the page cache."),
        ("budget_bytes", "Memory that may be reserved."),
        ("granted_bytes", "Memory that may be when nobody else on the machine needs some of it."),
    ):
        yield _head(f"glowplug_{name}", "gauge", text)
        for node in found:
            yield f'glowplug_{name}{{node="{_label(node.node)}"}} {getattr(node, name)}\n'


_PRELOADS = {
    "started": "Workers loaded before anybody asked.",
    "used": "Those of them in which a request ran.",
    "used_late": "Those of these that still loaded when the request came.",
    "wasted": "Those of them that ended unused.",
    "failed": "Loads of workers and zygotes ahead that failed.",
    "held_back": "Loads not begun because their share of a core or of memory was spent.",
    "wasted_byte_seconds": "Bytes held by workers and zygotes that ended unused, times how long.",
    "seconds": "Processor time that loading ahead took.",
}


def _preload(found: PreloadStatus | None) -> _Lines:
    if found is None:
        return
    for name, text in _PRELOADS.items():
        yield _head(f"glowplug_preload_{name}_total", "counter", text)
        yield f"glowplug_preload_{name}_total {getattr(found, name)}\n"
    yield _head("glowplug_preload_unused", "gauge", "Workers loaded ahead that wait for their first use.")
    yield f"glowplug_preload_unused {found.unused}\n"
    yield _head("glowplug_preload_climbing", "gauge", "Workers that are being loaded ahead.")
    yield f"glowplug_preload_climbing {found.climbing}\n"


_DEVICE_GAUGES: tuple[tuple[str, str, Callable[[DeviceStatus], float]], ...] = (
    ("capacity_bytes", "Memory of the device.", lambda device: device.capacity_bytes),
    ("used_bytes", "Memory of the device that is reserved.", lambda device: device.used_bytes),
    ("models", "Models that lie there or come.", lambda device: len(device.residents)),
    ("running_requests", "Requests that compute there.", lambda device: device.running),
    ("queued_requests", "Requests in its line.", lambda device: device.queued),
    ("pace", "How much longer things take there than elsewhere.", lambda device: device.pace),
)


def _devices(devices: Iterable[DeviceStatus]) -> _Lines:
    found = list(devices)
    for name, text, read in _DEVICE_GAUGES if found else ():
        yield _head(f"glowplug_device_{name}", "gauge", text)
        for device in found:
            yield f'glowplug_device_{name}{{device="{_label(device.device)}"}} {read(device)}\n'


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _own(own: dict[str, tuple[str, float]]) -> _Lines:
    for name, (text, value) in own.items():
        yield _head(name, "gauge", text) + f"{name} {value}\n"
