"""What Prometheus sees. Only functions that are deployed become labels, so a caller cannot grow them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (.0005, .001, .002, .004, .008, .016, .03, .06, .12, .25, .5, 1, 2, 4, 8, 16, 32, 64)  # fmt: skip
_UNKNOWN = ""


class Gauge(msgspec.Struct, frozen=True):
    """One value that is read when Prometheus asks. All gauges of one `name` have the same label names."""

    name: str
    help: str
    value: float
    labels: dict[str, str] = {}


class _GaugeCollector(Collector):
    def __init__(self, read: Callable[[], Iterable[Gauge]]) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        for gauge in self._read():
            family = families.get(gauge.name)
            if family is None:
                family = GaugeMetricFamily(gauge.name, gauge.help, labels=list(gauge.labels))
                families[gauge.name] = family
            family.add_metric(list(gauge.labels.values()), gauge.value)
        yield from families.values()

    def describe(self) -> list[GaugeMetricFamily]:
        return []


class Metrics:
    """Counters and histograms of one gateway, in a registry of its own."""

    def __init__(self, read_gauges: Callable[[], Iterable[Gauge]] = tuple) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "glowplug_requests_total", "Requests answered.", ["function", "status"], registry=self._registry
        )
        self._seconds = self._histogram("glowplug_request_seconds", "From arrival to answer.", ["function"])
        self._cold_seconds = self._histogram(
            "glowplug_cold_start_seconds", "From arrival to answer, of requests that waited for a climb.",
            ["function", "origin"],
        )  # fmt: skip
        self._phase_seconds = self._histogram("glowplug_phase_seconds", "Time spent in a phase.", ["phase"])
        self._registry.register(_GaugeCollector(read_gauges))
        self._counted: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def _histogram(self, name: str, text: str, labels: list[str]) -> Histogram:
        return Histogram(name, text, labels, buckets=_SECONDS, registry=self._registry)

    def answered(
        self, function: str | None, status: int, total_s: float, origin: str, phases: dict[str, float]
    ) -> None:
        """Counts one answer; `function` is None when it named none that is deployed."""
        key = (function or _UNKNOWN, status)
        found = self._counted.get(key)
        if found is None:
            found = self._requests.labels(key[0], str(status)), self._seconds.labels(key[0])
            self._counted[key] = found
        counter, seconds = found
        counter.inc()
        seconds.observe(total_s)
        if function is not None and origin and origin != "parked":
            self._cold_seconds.labels(function, origin).observe(total_s)
            for name, phase_s in phases.items():
                self._phase_seconds.labels(name).observe(phase_s)
        elif "compute" in phases:
            self._phase_seconds.labels("compute").observe(phases["compute"])

    def forget(self, function: str) -> None:
        """Drops the labels of a function that is gone."""
        for key in [key for key in self._counted if key[0] == function]:
            del self._counted[key]
        for metric in (self._requests, self._seconds, self._cold_seconds):
            metric.remove_by_labels({"function": function})

    def text(self) -> bytes:
        return generate_latest(self._registry)
