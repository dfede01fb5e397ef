"""What virt-api counts, under the names that KubeVirt's dashboards know."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

_STREAMS = {
    "console": ("kubevirt_console_active_connections", "Open serial consoles."),
    "vnc": ("kubevirt_vnc_active_connections", "Open VNC connections."),
    "usbredir": ("kubevirt_usbredir_active_connections", "Redirected USB devices."),
    "portforward": ("kubevirt_portforward_active_tunnels", "Open tunnels into guests."),
}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """One process's registry."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        labels = ["namespace", "vmi"]
        self._streams = {
            name: Gauge(metric, text, labels, registry=self.registry)
            for name, (metric, text) in _STREAMS.items()
        }
        self._last_connection = Gauge(
            "kubevirt_vmi_last_api_connection_timestamp_seconds",
            "When somebody last opened a console, VNC or tunnel.",
            labels,
            registry=self.registry,
        )
        self._requests = Counter(
            "virtpod_api_requests_total",
            "Requests by route.",
            ["method", "route", "code"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "virtpod_api_request_seconds",
            "Time to an answer, streams aside.",
            ["method", "route"],
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10),
        )
        up = Gauge("kubevirt_virt_api_up", "virt-api runs.", registry=self.registry)
        up.set(1)
        ready = Gauge(
            "kubevirt_virt_api_ready_status", "Whether it can work.", registry=self.registry
        )
        ready.set(1)  # who is not, does not listen
        self._created = Counter(
            "kubevirt_vm_created_by_pod_total",
            "Virtual machines whose creation this pod has let in.",
            ["namespace"],
            registry=self.registry,
        )

    def created(self, namespace: str) -> None:
        """A VM was let in."""
        self._created.labels(namespace).inc()

    @contextmanager
    def stream(self, subresource: str, namespace: str, name: str) -> Iterator[None]:
        """Counts a stream while it lasts; other subresources are not counted here."""
        gauge = self._streams.get(subresource)
        if gauge is None:
            yield
            return
        self._last_connection.labels(namespace, name).set(time.time())
        gauge.labels(namespace, name).inc()
        try:
            yield
        finally:
            gauge.labels(namespace, name).dec()

    @web.middleware
    async def middleware(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Counts a request by its route, never by its path: users choose paths."""
        began = time.monotonic()
        code = 500
        try:
            response = await handler(request)
            code = response.status
            return response
        finally:
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else "none"
            method = request.method if request.method in _METHODS else "other"
            self._requests.labels(method, route, str(code)).inc()
            if code != 101:
                self._seconds.labels(method, route).observe(time.monotonic() - began)

    async def expose(self, _request: web.Request) -> web.Response:
        """GET /metrics"""
        return web.Response(
            body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
