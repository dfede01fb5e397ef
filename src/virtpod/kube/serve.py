"""The small HTTP server of every process: is it well, does it lead, what does it count and think.

/debug answers only to the pod itself, which `kubectl port-forward` is: decisions hold what users
wrote into their specs. Certificates are looked at again at each handshake, so that a new one needs
no restart.

Source: https://kubernetes.io/docs/concepts/workloads/pods/probes/
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from virtpod.kube import review, tls


class Certificate:
    """A server's TLS, out of files that somebody replaces.

    With a `ca`, clients' certificates are asked for and verified; `require_client` refuses those
    who have none. `context` is for any server; connections that stand keep what they had.
    """

    def __init__(
        self, certificate: str, key: str, ca: str = "", require_client: bool = False
    ) -> None:
        self.certificate = certificate
        self.key = key
        self.ca = ca
        self.require_client = require_client
        self._stamp = self._stamped()
        self._current = self._built()
        self.context = self._built()
        self.context.sni_callback = self._at_handshake

    def _at_handshake(
        self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext
    ) -> None:
        stamp = self._stamped()
        if stamp != self._stamp:
            # A pair that does not fit is one being replaced: look again at the next handshake.
            with contextlib.suppress(OSError, ssl.SSLError):
                self._current = self._built()
                self._stamp = stamp
        connection.context = self._current

    def _stamped(self) -> tuple[int, ...]:
        paths = [path for path in (self.certificate, self.key, self.ca) if path]
        with contextlib.suppress(OSError):
            return tuple(os.stat(path).st_mtime_ns for path in paths)
        return ()

    def _built(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        if self.ca:
            context.verify_mode = ssl.CERT_REQUIRED if self.require_client else ssl.CERT_OPTIONAL
        return tls.obeys(context)


DRAIN = 5.0
"""Seconds in which a server that is to end still answers those who keep their connection."""


class Farewell:
    """Of a server whose clients keep connections for their next request, as kube-apiserver does.

    One that is closed under them loses the request that they are just writing, and a POST is not
    sent again. So each is closed with the answer to its next request.
    """

    def __init__(self, app: web.Application) -> None:
        """Before the application is run."""
        self._leaving = False
        app.on_response_prepare.append(self._closes)

    async def _closes(self, _request: web.Request, response: web.StreamResponse) -> None:
        if self._leaving:
            response.force_close()
            response.headers["Connection"] = "close"

    async def said(self, runner: web.AppRunner) -> None:
        """Until no connection is left, or `DRAIN`."""
        self._leaving = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                # aiohttp tells nobody of a connection's end.
                while runner.server is not None and runner.server.connections:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


class Server:
    """`async with Server(port=8443, ...)`: /healthz /readyz /leader /metrics /debug/<name>.

    `port` 0 takes a free one; `address` tells which.
    """

    def __init__(
        self,
        host: str = "0.0.0.0",
        port: int = 8443,
        *,
        certificate: Certificate | None = None,
        healthy: Callable[[], bool] = lambda: True,
        ready: Callable[[], bool] = lambda: True,
        leader: Callable[[], bool | None] = lambda: None,
        debug: Mapping[str, Callable[[], Any]] | None = None,
        registry: CollectorRegistry = REGISTRY,
        refresh: Callable[[], Awaitable[None]] | None = None,
        more: Sequence[web.RouteDef] = (),
        farewell: bool = False,
    ) -> None:
        """`refresh` is awaited before the metrics are told; `more`: routes of the process's own,
        with `farewell` those of webhooks."""
        self.host = host
        self.port = port
        self.certificate = certificate
        self.healthy = healthy
        self.ready = ready
        self.leader = leader
        self.debug = dict(debug or {})
        self.registry = registry
        self.refresh = refresh
        self.more = more
        self.farewell = farewell
        self._runner: web.AppRunner | None = None
        self._farewell: Farewell | None = None

    def routes(self) -> list[web.RouteDef]:
        """For a process that has an application of its own."""
        return [
            web.get("/healthz", self._healthz),
            web.get("/livez", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/leader", self._leader),
            web.get("/metrics", self._metrics),
            web.get("/debug/{name}", self._debug),
        ]

    @property
    def address(self) -> tuple[str, int]:
        assert self._runner is not None
        host, port = self._runner.addresses[0][:2]
        return host, port

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=review.LIMIT if self.more else 1024**2)
        app.add_routes([*self.routes(), *self.more])
        self._farewell = Farewell(app) if self.farewell else None
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        tls = self.certificate.context if self.certificate else None
        await web.TCPSite(self._runner, self.host, self.port, ssl_context=tls).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            if self._farewell is not None:
                await self._farewell.said(self._runner)
            await self._runner.cleanup()
            self._runner = None

    async def _healthz(self, request: web.Request) -> web.Response:
        return _answer(self.healthy())

    async def _readyz(self, request: web.Request) -> web.Response:
        return _answer(self.ready())

    async def _leader(self, request: web.Request) -> web.Response:
        return web.json_response({"apiserver": {"leader": str(bool(self.leader())).lower()}})

    async def _metrics(self, request: web.Request) -> web.Response:
        if self.refresh is not None:
            await self.refresh()
        return web.Response(
            body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _debug(self, request: web.Request) -> web.Response:
        if not _is_loopback(request.remote):
            raise web.HTTPForbidden(text="only from the pod itself: kubectl port-forward")
        told = self.debug.get(request.match_info["name"])
        if told is None:
            raise web.HTTPNotFound(text=f"there is: {', '.join(sorted(self.debug)) or 'nothing'}")
        body = msgspec.json.encode(told(), enc_hook=repr)
        return web.Response(body=msgspec.json.format(body), content_type="application/json")


def _answer(well: bool) -> web.Response:
    return web.Response(text="ok" if well else "not ok", status=200 if well else 503)


def _is_loopback(address: str | None) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address or "").is_loopback
    return False
