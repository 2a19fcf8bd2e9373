"""What a model server counts, as Prometheus reads it, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.065, 0.08, 0.09, 0.1, 0.11, 0.125, 0.15, 0.2, 0.35,
             0.5, 1.0, 2.0, 5.0)  # fmt: skip
"""Closest around 100 ms, the budget from sensor to output: a share beyond it should not be a guess."""
CONTENT_TYPE = CONTENT_TYPE_LATEST


def rss_bytes() -> int:
    """Memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


class _Lean(CollectorRegistry):
    """Without the time of creation that prometheus_client adds to each counter and histogram, as a series of its own.

    The library can be told so only for the whole process, which is not ours alone.
    """

    def collect(self) -> Iterator[Metric]:
        """The metrics, made anew at each call."""
        for metric in super().collect():
            metric.samples = [sample for sample in metric.samples if sample.name != f"{metric.name}_created"]
            yield metric


class Metrics:
    """Counters and histograms of one server; nothing global, so that several live in one process."""

    def __init__(self, waiting: Callable[[], float], busy_ms: Callable[[], float | None]) -> None:
        self._registry = registry = _Lean()
        self._requests = Counter(
            "hil_http_requests", "Requests that were answered.", ("endpoint", "status"), registry=registry
        )
        self._seconds = Histogram(
            "hil_http_request_seconds", "From a request's head to its answer.", ("endpoint",),
            buckets=BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._model = Histogram(
            "hil_model_seconds", "What the model took for a request.", buckets=BUCKETS_S, registry=registry
        )
        self._windows = Counter("hil_model_windows", "Windows that the model answered.", registry=registry)
        self._faults = Counter(
            "hil_model_faults", "Requests that the model failed on: it raised, or was too late.", ("kind",),
            registry=registry,
        )  # fmt: skip
        for kind in ("raised", "late"):
            self._faults.labels(kind)  # a rate over a series that appears with its first fault misses that one
        self._info = Info("hil_model", "The model that is served.", registry=registry)
        depth = Gauge("hil_queue_depth", "Requests that wait for the model.", registry=registry)
        depth.set_function(waiting)
        busy = Gauge("hil_model_busy_seconds", "For how long the running call has been running.", registry=registry)
        busy.set_function(lambda: (busy_ms() or 0.0) / 1e3)
        self.in_flight = Gauge("hil_http_in_flight", "Requests that are not answered yet.", registry=registry)
        rss = Gauge("process_resident_memory_bytes", "Resident memory of the server.", registry=registry)
        rss.set_function(rss_bytes)

    def describe(self, facts: Mapping[str, str]) -> None:
        """What the model is, as labels of ``hil_model_info``."""
        self._info.info(dict(facts))

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """A request was answered; ``endpoint`` is one of few, whatever path was asked for."""
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def inferred(self, windows: int, seconds: float) -> None:
        """The model answered for that many windows."""
        self._model.observe(seconds)
        self._windows.inc(windows)

    def fault(self, kind: str) -> None:
        """The model ``raised``, or was ``late``."""
        self._faults.labels(kind).inc()

    def text(self) -> bytes:
        """The exposition, of content type CONTENT_TYPE."""
        return generate_latest(self._registry)
