"""virt-controller: caches are kept warm by every replica, decisions are made by the leader."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from prometheus_client import REGISTRY, Gauge

from virtpod import build
from virtpod.controller.caches import Caches
from virtpod.controller.loops import Loops
from virtpod.controller.machines import Machines
from virtpod.controller.transitions import Transitions
from virtpod.installation import Container, Installation, obeyed
from virtpod.kube import errors, profile
from virtpod.kube import log as logs
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.events import Recorder
from virtpod.kube.lease import Lease
from virtpod.kube.metrics import observe_request
from virtpod.kube.resources import Key
from virtpod.kube.serve import Certificate, Server

log = logging.getLogger(__name__)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="virt-controller", description=__doc__)
    parser.add_argument("--address", default="0.0.0.0", help="to listen on")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument(
        "--certs", type=Path, default=Path("/etc/virtpod/certs/kubevirt-controller-certs")
    )
    parser.add_argument("--ca", type=Path, default=Path("/etc/virtpod/ca/ca-bundle"))
    parser.add_argument("--kubeconfig", default="", help="instead of the pod's own account")
    parser.add_argument("-v", type=int, default=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Runs until SIGTERM, or until another leads: then a new process is the cleanest start."""
    args = arguments()
    logs.setup("virt-controller")
    try:
        import uvloop
    except ImportError:
        code = asyncio.run(serve(args))
    else:
        code = uvloop.run(serve(args))
    sys.exit(code)


async def serve(args: argparse.Namespace) -> int:
    """The process, as one task group; its exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    code = 0
    try:
        await _serve(args, stop)
    except* errors.NotLeading as lost:
        log.warning("another leads now", extra={"error": str(lost.exceptions[0])})
        code = 1
    return code


async def _serve(args: argparse.Namespace, stop: asyncio.Event) -> None:
    container = Container.probe()
    installation = Installation(container)
    config = Config.load(kubeconfig=args.kubeconfig)
    async with Client(config, component="virt-controller", observe=observe_request) as client:
        lease = Lease(client, Key(container.namespace, "virt-controller"), identity=container.pod)
        writer = client.guarded(lease.check)
        recorder = Recorder(writer, "virt-controller", host=container.pod)
        caches = Caches(client, container.namespace, installation)
        caches.kubevirts.on_change(
            lambda _key, _old, new: obeyed(
                new, client, "virt_controller", "controller_configuration"
            )
        )
        loops = Loops(caches, writer, recorder, installation)
        synced = asyncio.Event()
        _measure(lease, synced, installation)
        caches.vmis.on_change(Transitions(lambda: lease.leading).changed)
        stores = (caches.vms, caches.vmis, caches.pods, caches.nodes)
        REGISTRY.register(Machines(*stores, lambda: lease.leading, caches.claims.info))
        server = Server(
            args.address,
            args.port,
            certificate=_certificate(args.certs, args.ca),
            ready=synced.is_set,
            leader=lambda: lease.leading,
            debug={"decisions": loops.decisions},
            more=profile.routes(profile.Profiler()),
        )
        async with server, asyncio.TaskGroup() as tasks:

            async def lead() -> None:
                await caches.wait_synced()
                synced.set()
                await lease.lead(loops.run)

            working = [tasks.create_task(each.run()) for each in caches.all]
            working.append(tasks.create_task(recorder.run()))
            working.append(tasks.create_task(lead()))
            await stop.wait()
            with contextlib.suppress(TimeoutError):
                await recorder.flush(2.0)
            for task in reversed(working):
                task.cancel()


def _certificate(folder: Path, ca: Path) -> Certificate | None:
    """None, plain HTTP, only where no certificate was mounted: a developer's own machine."""
    if not folder.is_dir():
        return None
    return Certificate(str(folder / "tls.crt"), str(folder / "tls.key"), str(ca))


def _measure(lease: Lease, synced: asyncio.Event, installation: Installation) -> None:
    Gauge("kubevirt_virt_controller_up", "virt-controller runs.").set(1)
    leading = Gauge("kubevirt_virt_controller_leading_status", "Whether this replica leads.")
    leading.set_function(lambda: float(lease.leading))
    about = build.info()
    told = Gauge("kubevirt_info", "The version that is installed.", ["goversion", "kubeversion"])
    told.labels(about["goVersion"], about["gitVersion"]).set(1)
    emulated = Gauge(
        "kubevirt_configuration_emulation_enabled", "Whether guests run without KVM where need be."
    )
    emulated.set_function(lambda: float(_emulates(installation)))
    ready = Gauge("kubevirt_virt_controller_ready_status", "Whether its caches are filled.")
    ready.set_function(lambda: float(synced.is_set()))


def _emulates(installation: Installation) -> bool:
    developer = installation.cluster.config.developer_configuration
    return bool(developer and developer.use_emulation)


if __name__ == "__main__":
    main()
