"""Prometheus metrics of the client and the work queues, under the names dashboards know.

The queue's are client-go's (`workqueue_*`), the client's `rest_client_*`, with KubeVirt's prefix.
"""

from __future__ import annotations

import logging
import re
import time
import weakref
from collections.abc import Iterable
from typing import Any

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from virtpod.kube.client import Observation
from virtpod.kube.queue import Queue

log = logging.getLogger(__name__)

SECONDS = tuple(10.0**power for power in range(-8, 2))
LATENCY = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)

REQUESTS = Counter(
    "kubevirt_rest_client_requests_total",
    "HTTP requests to the API server, by answer.",
    ("code", "method", "host", "resource", "verb"),
)
REQUEST_SECONDS = Histogram(
    "kubevirt_rest_client_request_latency_seconds",
    "How long the API server took to answer.",
    ("verb", "url"),
    buckets=LATENCY,
)
LIMITER_SECONDS = Histogram(
    "kubevirt_rest_client_rate_limiter_duration_seconds",
    "How long the limit of the KubeVirt object held requests back.",
    ("verb", "url"),
    buckets=LATENCY,
)
ADDS = Counter("kubevirt_workqueue_adds_total", "Keys added.", ("name",))
RETRIES = Counter("kubevirt_workqueue_retries_total", "Keys added again after failing.", ("name",))
DEPTH = Gauge("kubevirt_workqueue_depth", "Keys in line.", ("name",))
QUEUE_SECONDS = Histogram(
    "kubevirt_workqueue_queue_duration_seconds", "In line.", ("name",), buckets=SECONDS
)
WORK_SECONDS = Histogram(
    "kubevirt_workqueue_work_duration_seconds", "Being worked on.", ("name",), buckets=SECONDS
)

NAMESPACE = re.compile(r"/namespaces/[^/]+")
OBJECT = re.compile(r"^(/(?:api/[^/]+|apis/[^/]+/[^/]+)(?:/namespaces/\{namespace\})?/[^/]+)/[^/]+")


def observe_request(seen: Observation) -> None:
    """For `Client(observe=...)`. Who wants to see each one logged raises the log's verbosity."""
    REQUESTS.labels(
        str(seen.code) if seen.code else "<error>",
        seen.method,
        seen.host,
        seen.resource,
        seen.verb,
    ).inc()
    REQUEST_SECONDS.labels(seen.verb, url_of(seen.path)).observe(seen.seconds)
    if seen.held:
        LIMITER_SECONDS.labels(seen.verb, url_of(seen.path)).observe(seen.held)
    if log.isEnabledFor(logging.DEBUG):
        log.debug(
            "asked",
            extra={
                "method": seen.method,
                "path": seen.path,
                "code": seen.code,
                "ms": round(seen.seconds * 1000, 1),
            },
        )


def url_of(path: str) -> str:
    """A path without names, so that there are few of them."""
    return OBJECT.sub(r"\1/{name}", NAMESPACE.sub("/namespaces/{namespace}", path))


class QueueMeter:
    """A work queue's numbers."""

    def __init__(self, name: str) -> None:
        self._adds = ADDS.labels(name)
        self._retries = RETRIES.labels(name)
        self._depth = DEPTH.labels(name)
        self._waited = QUEUE_SECONDS.labels(name)
        self._worked = WORK_SECONDS.labels(name)

    def added(self, depth: int) -> None:
        self._adds.inc()
        self._depth.set(depth)

    def got(self, waited: float, depth: int) -> None:
        self._waited.observe(waited)
        self._depth.set(depth)

    def done(self, worked: float) -> None:
        self._worked.observe(worked)

    def retried(self) -> None:
        self._retries.inc()


class _Unfinished(Collector):
    """What is being worked on at the time of the question: computed when scraped."""

    def __init__(self) -> None:
        self.queues: weakref.WeakSet[Queue[Any]] = weakref.WeakSet()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        total = GaugeMetricFamily(
            "kubevirt_workqueue_unfinished_work_seconds",
            "Seconds of work in progress.",
            labels=["name"],
        )
        longest = GaugeMetricFamily(
            "kubevirt_workqueue_longest_running_processor_seconds",
            "How long the longest work in progress has taken.",
            labels=["name"],
        )
        for queue in self.queues:
            running = list(queue.processing().values())
            total.add_metric([queue.name], sum(running))
            longest.add_metric([queue.name], max(running, default=0.0))
        return (total, longest)


_unfinished = _Unfinished()
REGISTRY.register(_unfinished)


def metered(name: str) -> Queue[Any]:
    """A queue that is measured under that name."""
    queue: Queue[Any] = Queue(name, meter=QueueMeter(name), clock=time.monotonic)
    _unfinished.queues.add(queue)
    return queue
