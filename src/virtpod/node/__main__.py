"""virt-handler: the node agent, as one task group.

Its end is nobody's end: guests, their networks and their launchers stay as they are, and the next
virt-handler finds them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
from prometheus_client import REGISTRY, Gauge

from virtpod.api.kubevirt import KubeVirt, KubeVirtConfiguration
from virtpod.api.qat import QATNodePolicy
from virtpod.installation import obeyed
from virtpod.kube import errors, profile
from virtpod.kube import log as logs
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.events import Recorder
from virtpod.kube.metrics import observe_request
from virtpod.kube.resources import KUBEVIRTS, NODES, QAT_NODE_POLICIES, Key
from virtpod.kube.serve import Certificate, Server
from virtpod.kube.store import Informer
from virtpod.node import cpus, labels, seccomp
from virtpod.node.attended import Place, Ways
from virtpod.node.counts import Counts
from virtpod.node.devices import kinds
from virtpod.node.devices.allotted import Allotments
from virtpod.node.devices.hostdevices import Folders, HostDevices
from virtpod.node.devices.mediated import MediatedDevices
from virtpod.node.devices.metrics import Devices
from virtpod.node.devices.news import OFFERED, DeviceNews
from virtpod.node.devices.shared import DEVICES, RESERVATIONS, VSOCK, Shared
from virtpod.node.heartbeat import Heartbeat
from virtpod.node.inotify import Inotify
from virtpod.node.lending import Lender
from virtpod.node.measures import Measures
from virtpod.node.probe import Probe
from virtpod.node.server import Console
from virtpod.node.sync import NodeSync
from virtpod.node.vsock import Authority, Guests

log = logging.getLogger(__name__)

NAME = "virt-handler"
PR_SET_NAME = 15
PATIENCE = 300.0
"""Seconds to see the API server; the kubelet starts us anew after that."""
FAREWELL = 3.0
"""Seconds for the last word about this node when the process is told to stop."""


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__)
    parser.add_argument("--node-name", default=os.environ.get("NODE_NAME", ""))
    parser.add_argument("--address", default="0.0.0.0", help="to listen on")
    parser.add_argument("--port", type=int, default=8443, help="of health and metrics")
    parser.add_argument("--console-server-port", type=int, default=8186)
    parser.add_argument("--certs", type=Path, default=Path("/etc/virtpod/certs"))
    parser.add_argument("--ca", type=Path, default=Path("/etc/virtpod/ca/ca-bundle"))
    parser.add_argument("--pods-dir", type=Path, default=Path("/var/lib/kubelet/pods"))
    parser.add_argument("--seccomp-dir", type=Path, default=seccomp.FOLDER)
    parser.add_argument(
        "--pod-resources-dir", type=Path, default=Path("/var/lib/kubelet/pod-resources")
    )
    parser.add_argument(
        "--device-plugins-dir", type=Path, default=Path("/var/lib/kubelet/device-plugins")
    )
    parser.add_argument(
        "--plugins-dir",
        type=Path,
        default=Path("/var/lib/kubelet/plugins_registry"),
        help="the kubelet's sockets of drivers of resource claims",
    )
    parser.add_argument("--probe-dir", type=Path, default=Path("/var/lib/kubevirt-node-labeller"))
    parser.add_argument("--dev-dir", type=Path, default=Path("/host/dev"), help="the node's /dev")
    parser.add_argument("--sysfs", type=Path, default=Path("/host/sys"), help="the node's /sys")
    parser.add_argument("--kubeconfig", default="", help="instead of the pod's own account")
    # Others' manifests name these; there is nothing here that they could change.
    for ignored in (
        "--hostname-override",
        "--pod-ip-address",
        "--max-metric-requests",
        "--graceful-shutdown-seconds",
        "-v",
    ):
        parser.add_argument(ignored, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.node_name = args.node_name or args.hostname_override or ""
    if not args.node_name:
        parser.error("which node is this? --node-name or NODE_NAME tells")
    return args


def main() -> None:
    """Runs until SIGTERM."""
    args = arguments()
    logs.setup(NAME)
    ctypes.CDLL(None).prctl(PR_SET_NAME, NAME.encode(), 0, 0, 0)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(args))
    else:
        uvloop.run(serve(args))


async def serve(args: argparse.Namespace) -> None:
    """Everything, until the process is told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    node: str = args.node_name
    try:
        seccomp.install(args.seccomp_dir)
    except OSError as error:  # guests with passt alone need it
        log.warning("cannot install the seccomp profile", extra={"error": str(error)})
    config = Config.load(kubeconfig=args.kubeconfig)
    with Inotify() as inotify:
        async with Client(config, component=NAME, observe=observe_request) as client:
            recorder = Recorder(client, NAME, host=node)
            probe = Probe(args.probe_dir)
            place = Place(node, args.pods_dir, probe)
            counts = Counts(REGISTRY)
            allotments = Allotments(client, node, args.pod_resources_dir, args.sysfs)
            lender = Lender(lambda: given.look, args.pod_resources_dir, args.dev_dir)
            ways = Ways(allotted=allotments.of, lent=lender.given)
            sync = NodeSync(client, recorder, place, inotify, ways, counts=counts)

            def ready() -> bool:
                return sync.synced and all(plugin.registered for plugin in plugins)

            abilities = _Abilities(probe, partial(counts.deprecated, node))
            own_cpus = partial(cpus.exclusive, args.pod_resources_dir)
            heartbeat = Heartbeat(
                client, node, partial(_labels, abilities, args.sysfs), ready, own_cpus
            )
            kubevirts: Informer[KubeVirt] = Informer(
                client,
                KUBEVIRTS,
                namespace=os.environ.get("POD_NAMESPACE", "kubevirt"),
                project=lambda raw: msgspec.json.decode(raw, type=KubeVirt),
            )
            kubevirts.on_change(lambda _key, _old, new: abilities.configured(new, heartbeat.wake))
            kubevirts.on_change(
                lambda _key, _old, new: obeyed(
                    new, client, "virt_handler", "handler_configuration", node
                )
            )
            # Guests may come as soon as we can look after them, not a heartbeat later.
            plugins = [
                Shared(device, args.device_plugins_dir, args.dev_dir, inotify, heartbeat.wake)
                for device in DEVICES
            ]
            for plugin in plugins:
                kubevirts.on_change(partial(_told, plugin))
            if os.path.isdir(helper := RESERVATIONS.folder):
                plugins.append(Shared(RESERVATIONS, args.device_plugins_dir, Path(helper), inotify))
            policies: Informer[QATNodePolicy] = Informer(
                client,
                QAT_NODE_POLICIES,
                project=lambda raw: msgspec.json.decode(raw, type=QATNodePolicy),
            )
            news = DeviceNews(
                client,
                recorder,
                node,
                lambda: heartbeat.known,
                partial(heartbeat.condition, OFFERED),
                policies,
                sync.devices_changed,
            )
            folders = Folders(
                args.sysfs,
                args.dev_dir,
                args.device_plugins_dir,
                args.pod_resources_dir,
                args.plugins_dir,
            )
            given = HostDevices(
                folders,
                inotify,
                news,
                sync.has_devices,
                lambda: makes.leaving,
                sync.vmi_of_pod,
            )
            sync.ailing = news.ailing
            REGISTRY.register(Devices(lambda: given.look, sync.vmi_of_pod))
            policies.on_change(lambda _key, _old, _new: given.wake())
            kubevirts.on_change(lambda _key, _old, new: given.configured(new))
            makes = MediatedDevices(
                args.sysfs,
                args.dev_dir,
                args.pod_resources_dir,
                partial(_node_labels, client, node),
                lambda: given.look.offered,
            )
            kubevirts.on_change(lambda _key, _old, new: makes.configured(new))
            vsocks = Shared(VSOCK, args.device_plugins_dir, args.dev_dir, inotify)
            authority = Authority(args.ca, vsocks.run)
            kubevirts.on_change(lambda _key, _old, new: authority.configured(new))
            caller = args.certs / "kubevirt-virt-handler-vsock-client-certs"
            kubevirts.on_change(lambda _key, _old, new: sync.configured(new))
            certificate = args.certs / "kubevirt-virt-handler-server-certs"
            files = (str(certificate / "tls.crt"), str(certificate / "tls.key"))
            guests = Measures(node, lambda: [guest.measured() for guest in sync.guests()])
            REGISTRY.register(guests)
            Gauge("kubevirt_virt_handler_up", "virt-handler runs.").set(1)
            able = Gauge("kubevirt_virt_handler_ready_status", "Whether it can work.")
            able.set_function(lambda: float(ready()))
            health = Server(
                args.address,
                args.port,
                certificate=Certificate(*files, ca=str(args.ca)),
                more=profile.routes(profile.Profiler()),
                ready=ready,
                debug={"decisions": sync.loop.decisions},
                refresh=guests.refresh,
            )
            vsock = Guests(caller / "tls.crt", caller / "tls.key")
            console = Console(sync.guest, vsock).serving(
                args.address,
                args.console_server_port,
                Certificate(*files, ca=str(args.ca), require_client=True),
            )
            async with health, console, asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(part())
                    for part in (
                        recorder.run,
                        sync.run,
                        kubevirts.run,
                        policies.run,
                        given.run,
                        makes.run,
                        authority.run,
                        *(plugin.run for plugin in plugins),
                    )
                ]
                beating = tasks.create_task(_beat(heartbeat, kubevirts))
                log.info("virt-handler runs", extra={"node": node})
                running.append(tasks.create_task(_once_synced(heartbeat, sync)))
                await stop.wait()
                beating.cancel()
                await _farewell(heartbeat, recorder)
                for task in running:
                    task.cancel()


async def _node_labels(client: Client, node: str) -> dict[str, str]:
    found = await client.get(NODES, Key("", node))
    labels: dict[str, str] = found["metadata"].get("labels") or {}
    return labels


async def _beat(heartbeat: Heartbeat, kubevirts: Informer[KubeVirt]) -> None:
    """Once it is known whether guests have KVM: labels that come and go would be a lie."""
    with contextlib.suppress(TimeoutError):
        await kubevirts.wait_synced(PATIENCE)
    await heartbeat.run()


async def _once_synced(heartbeat: Heartbeat, sync: NodeSync) -> None:
    for informer in (sync.pods, sync.vmis):
        await informer.wait_synced(PATIENCE)
    heartbeat.wake()


def _told(plugin: Shared, _key: Key, _old: KubeVirt | None, new: KubeVirt | None) -> None:
    plugin.configured(new)


async def _farewell(heartbeat: Heartbeat, recorder: Recorder) -> None:
    """No new guests come to a node that nobody looks after; that it cannot be said stops nobody."""
    with contextlib.suppress(errors.ApiError, TimeoutError):
        async with asyncio.timeout(FAREWELL):
            await heartbeat.stop()
            await recorder.flush(FAREWELL)


async def _labels(abilities: _Abilities, sysfs: Path) -> dict[str, str]:
    """The labels of what the node can do and of the devices that it has; none until the first are
    known."""
    found = abilities.labels()
    return {**found, **await asyncio.to_thread(kinds.seen, sysfs)} if found else {}


class _Abilities:
    """The labels of what the node can do. The init container has described it before we came, once
    with KVM and once without; the KubeVirt CR says which of the two guests will have."""

    def __init__(self, probe: Probe, deprecated: Callable[[tuple[str, ...]], None]) -> None:
        """`deprecated` is told of the machine types that are."""
        self._probe = probe
        self._deprecated = deprecated
        self._emulation = False
        self._obsolete = labels.OBSOLETE
        self._read: dict[bool, dict[str, str]] = {}

    def configured(self, kubevirt: KubeVirt | None, changed: Callable[[], None]) -> None:
        """Calls `changed` where the labels do. The CR's deletion changes nothing: the operator
        removes us then."""
        if kubevirt is None:
            return
        config = kubevirt.spec.configuration or KubeVirtConfiguration()
        developer = config.developer_configuration
        before = self._emulation, self._obsolete
        self._emulation = bool(developer and developer.use_emulation)
        self._obsolete = labels.obsolete(config.obsolete_cpu_models or {})
        if before != (self._emulation, self._obsolete):
            self._read.clear()
            changed()

    def labels(self) -> dict[str, str]:
        """Read once; until there is something to read, none."""
        found = self._read.get(self._emulation)
        if not found:
            found = self._read[self._emulation] = self._described(self._emulation)
        return found

    def _described(self, emulation: bool) -> dict[str, str]:
        texts = [
            self._probe.text(emulation, name)
            for name in ("domcapabilities.xml", "capabilities.xml")
        ]
        try:
            self._deprecated(labels.deprecated_machines(texts[1]))
            return labels.labels(texts[0], texts[1], self._obsolete)
        except ValueError as error:
            log.warning("this node is described in no known way", extra={"error": str(error)})
            return {}


if __name__ == "__main__":
    main()
