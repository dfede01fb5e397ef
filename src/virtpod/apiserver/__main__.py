"""virt-api: admission webhooks and the aggregated API, on one TLS port."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import REGISTRY

from virtpod.api.kubevirt import KubeVirt
from virtpod.apiserver import frontproxy, tls
from virtpod.apiserver.app import Backend, application
from virtpod.apiserver.authorization import authorizer
from virtpod.apiserver.call import Site
from virtpod.apiserver.metrics import Metrics
from virtpod.apiserver.nodes import Identity, KubeNodes, Pod
from virtpod.apiserver.objects import KubeObjects
from virtpod.apiserver.profiles import KubeComponents
from virtpod.apiserver.status import Refusal
from virtpod.installation import Container, Installation, obeyed, project
from virtpod.kube import log as logs
from virtpod.kube import profile
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.events import Recorder
from virtpod.kube.metrics import observe_request
from virtpod.kube.resources import CONFIGMAPS, KUBEVIRTS, PODS, PRESETS
from virtpod.kube.serve import Certificate, Farewell, Server
from virtpod.kube.store import Informer
from virtpod.render import admit, preset

log = logging.getLogger(__name__)

SYNC = 60.0
"""Seconds to learn the configuration; the kubelet starts us anew after that."""
UNDER_WAY = 5.0
"""Seconds that requests under way get when the process is told to stop."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="virt-api", description=__doc__)
    parser.add_argument("--address", default="", help="to listen on; all by default")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--console-server-port", type=int, default=8186, help="of virt-handler")
    parser.add_argument("--profiler-port", type=int, default=8444, help="for virt-api itself")
    parser.add_argument("--certs", type=Path, default=Path("/etc/virtpod/certs"))
    parser.add_argument("--ca", type=Path, default=Path("/etc/virtpod/ca/ca-bundle"))
    parser.add_argument("--kubeconfig", default="", help="instead of the pod's own account")
    parser.add_argument("--subresources-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-v", type=int, default=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Runs until SIGTERM."""
    args = arguments()
    logs.setup("virt-api")
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(args))
    else:
        uvloop.run(serve(args))


async def serve(args: argparse.Namespace) -> None:
    """The process, as one task group."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    container = Container.probe()
    installation = Installation(container)
    config = Config.load(kubeconfig=args.kubeconfig)
    async with Client(config, component="virt-api", observe=observe_request) as client:
        kubevirts: Informer[KubeVirt | None] = Informer(
            client, KUBEVIRTS, namespace=container.namespace, project=project
        )
        kubevirts.on_change(lambda _key, _old, new: installation.changed(new))
        kubevirts.on_change(
            lambda _key, _old, new: obeyed(new, client, "virt_api", "api_configuration")
        )
        authentication: Informer[dict[str, Any]] = Informer(
            client,
            CONFIGMAPS,
            namespace=frontproxy.CONFIG_NAMESPACE,
            fields=f"metadata.name={frontproxy.CONFIG_NAME}",
        )
        handlers: Informer[Pod] = Informer(
            client,
            PODS,
            namespace=container.namespace,
            labels="kubevirt.io=virt-handler",
            project=Pod.project,
            indices={"node": lambda _key, pod: [pod.node]},
        )

        presets: Informer[preset.Preset] = Informer(
            client,
            PRESETS,
            project=preset.project,
            indices={"namespace": lambda key, _preset: [key.namespace]},
        )
        proxies = _FrontProxies(authentication)
        identity = Identity(
            folder=args.certs / "kubevirt-virt-handler-certs",
            ca=args.ca,
            handler_name=f"virt-handler.{container.namespace}.svc",
        )
        recorder = Recorder(client, "virt-api")
        objects = KubeObjects(client, recorder)
        backend = Backend(
            cluster=lambda: installation.cluster,
            front_proxy=proxies.current,
            authorize=authorizer(client),
            rules=admit,
            site=Site(
                objects=objects,
                nodes=KubeNodes(
                    lambda node: _handlers_of(handlers, node), identity, args.console_server_port
                ),
                cluster=lambda: installation.cluster,
            ),
            metrics=Metrics(REGISTRY),
            evictions=objects,
            reads=objects,
            components=KubeComponents(client, container.namespace, identity),
            guestfs_image=lambda: container.guestfs_image,
            presets=lambda: partial(presets.by, "namespace") if len(presets) else None,
            tell=recorder.record,
        )
        async with asyncio.TaskGroup() as tasks:
            watching = [
                tasks.create_task(each.run())
                for each in (kubevirts, authentication, handlers, presets)
            ]
            watching.append(tasks.create_task(recorder.run()))
            await kubevirts.wait_synced(SYNC)
            await presets.wait_synced(SYNC)
            # Webhooks work without the other two; who asks for a console meanwhile is told so.
            async with (
                _listening(args, application(backend), proxies),
                Server(
                    args.address or "0.0.0.0",
                    args.profiler_port,
                    certificate=_own_certificate(args),
                    more=profile.routes(profile.Profiler()),
                ),
            ):
                await stop.wait()
            for task in watching:
                task.cancel()


def _own_certificate(args: argparse.Namespace) -> Certificate:
    certificate, key = tls.pair(args.certs / "kubevirt-virt-api-certs")
    return Certificate(str(certificate), str(key), str(args.ca))


def _handlers_of(store: Informer[Pod], node: str) -> list[Pod]:
    """The virt-handlers of a node. A store that has read nothing yet says nothing about nodes."""
    if not store.synced:
        raise Refusal(503, "virt-api has just started and does not know the nodes yet")
    return store.by("node", node)


class _FrontProxies:
    """The front proxy's configuration, parsed again when the ConfigMap has changed."""

    def __init__(self, store: Informer[dict[str, Any]]) -> None:
        self._current = frontproxy.FrontProxy()
        store.on_change(lambda _key, _old, new: self._changed(new))

    def current(self) -> frontproxy.FrontProxy:
        return self._current

    def _changed(self, config_map: dict[str, Any] | None) -> None:
        # Its deletion changes nothing: the API server writes it again.
        if config_map is not None:
            self._current = frontproxy.config(config_map.get("data") or {})
            log.info(
                "front proxy known", extra={"allowed_names": list(self._current.allowed_names)}
            )


@contextlib.asynccontextmanager
async def _listening(args: argparse.Namespace, app: web.Application, proxies: _FrontProxies) -> Any:
    context = tls.serving(args.certs / "kubevirt-virt-api-certs", lambda: proxies.current().ca)
    farewell = Farewell(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=UNDER_WAY)
    await runner.setup()
    try:
        await web.TCPSite(runner, args.address or None, args.port, ssl_context=context).start()
        log.info("virt-api listens", extra={"port": args.port})
        yield
        await farewell.said(runner)
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    main()
