"""virt-operator: one leader applies what the KubeVirt CR wants and reports how far it is."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import Gauge

from virtpod.api.kubevirt import KubeVirt
from virtpod.build import info
from virtpod.installation import obeyed
from virtpod.kube import apply, errors, profile
from virtpod.kube import log as logs
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.events import Recorder
from virtpod.kube.lease import Lease
from virtpod.kube.loop import Acts, Loop
from virtpod.kube.metrics import observe_request
from virtpod.kube.resources import CONFIGMAPS, KUBEVIRTS, SECRETS, Key, Obj, key_of
from virtpod.kube.serve import Certificate, Server
from virtpod.kube.store import Informer
from virtpod.operator import certificates
from virtpod.operator.admission import Webhooks
from virtpod.operator.decide import Install, Remove, Seen, decide, in_charge
from virtpod.operator.installer import Installer, probed
from virtpod.render.install import CA_MAP, Options

log = logging.getLogger(__name__)

OWN_SECRET = "kubevirt-operator-certs"
REMOVED_WITHIN = 3600.0
"""Seconds; whoever waits for it gives up sooner."""
FIRST_LISTS = 60.0
"""Seconds; the kubelet starts us anew after that."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="virt-operator", description=__doc__)
    parser.add_argument("--address", default="0.0.0.0", help="to listen on")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--run", type=Path, default=Path("/run/virtpod"), help="a folder of ours")
    parser.add_argument("--kubeconfig", default="", help="instead of the pod's own account")
    parser.add_argument(
        "--remove",
        action="store_true",
        help="delete the KubeVirt objects, wait until another virt-operator has taken away all "
        "that it made, and end",
    )
    parser.add_argument("-v", type=int, default=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Runs until SIGTERM, or until another leads."""
    args = arguments()
    logs.setup("virt-operator")
    work = remove(args) if args.remove else serve(args)
    try:
        import uvloop
    except ImportError:
        code = asyncio.run(work)
    else:
        # asyncio's own loop keeps 256 KiB for each connection, and each watched kind has one.
        code = uvloop.run(work)
    sys.exit(code)


async def remove(args: argparse.Namespace) -> int:
    """For whoever takes virt-operator away afterwards, as Helm's hook does; the exit code."""
    options = probed(Options("", ""), os.environ)
    async with Client(Config.load(kubeconfig=args.kubeconfig), "virt-operator") as client:
        found = await client.list(KUBEVIRTS, namespace=options.namespace)
        await apply.delete_all(client, found.items, REMOVED_WITHIN)
    log.info("removed", extra={"objects": len(found.items)})
    return 0


async def serve(args: argparse.Namespace) -> int:
    """The process; its exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    options = probed(Options("", "", version=info()["gitVersion"]), os.environ)
    code = 0
    try:
        async with Client(
            Config.load(kubeconfig=args.kubeconfig), "virt-operator", observe=observe_request
        ) as client:
            await _serve(args, client, options, stop)
    except* errors.NotLeading as lost:
        log.warning("another leads now", extra={"error": str(lost.exceptions[0])})
        code = 1
    return code


async def _serve(
    args: argparse.Namespace, client: Client, options: Options, stop: asyncio.Event
) -> None:
    identity = os.environ.get("POD_NAME") or platform.node()
    lease = Lease(client, Key(options.namespace, "virt-operator"), identity)
    operator = Operator(client, client.guarded(lease.check), options)
    own = _OwnCertificate(client, options.namespace, args.run)
    _measure(lease)
    server = Server(
        args.address,
        args.port,
        certificate=own.certificate,
        leader=lambda: lease.leading,
        debug={"decisions": operator.loop.decisions},
        more=[
            *Webhooks(operator.kubevirts.values, operator.installer.guests).routes(),
            *profile.routes(profile.Profiler()),
        ],
        farewell=True,
    )
    async with server, asyncio.TaskGroup() as tasks:

        async def lead() -> None:
            await operator.wait_synced()
            await lease.lead(operator.loop.run)

        working = [
            tasks.create_task(each.run())
            for each in (
                *operator.informers,
                *operator.installer.late,
                *(own.secrets, own.bundle),
            )
        ]
        working.append(tasks.create_task(operator.recorder.run()))
        working.append(tasks.create_task(lead()))
        await stop.wait()
        for task in reversed(working):
            task.cancel()


class Operator:
    """The loop over KubeVirt CRs, of which one is in charge."""

    def __init__(self, client: Client, writer: Client, options: Options) -> None:
        self.options = options
        self.installer = Installer(client, writer, options)
        self.kubevirts: Informer[Obj] = Informer(client, KUBEVIRTS, namespace=options.namespace)
        self.recorder = Recorder(writer, "virt-operator")
        perform: dict[type[Any], Any] = {
            Install: self.installer.install,
            Remove: self.installer.remove,
        }
        self.loop: Loop[Key, Seen] = Loop(
            "virt-operator",
            self.seen,
            decide,
            Acts(writer, self.recorder, perform),
            stores=[self.kubevirts],
            workers=1,
            keep=50,
        )
        self.kubevirts.on_change(lambda _key, _old, _new: self._look())
        self.kubevirts.on_change(
            lambda _key, _old, new: obeyed(_read(new), client, "virt_operator")
        )
        self.installer.nodes.on_change(self._node_changed)
        for store in self.installer.workloads.values():
            store.on_change(self._workload_changed)
        for other in (*self.installer.others, *self.installer.late):
            other.on_change(lambda _key, _old, _new: self._drifted())

    @property
    def informers(self) -> tuple[Informer[Any], ...]:
        return (self.kubevirts, *self.installer.informers)

    async def wait_synced(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for each in self.informers:
                tasks.create_task(each.wait_synced(FIRST_LISTS))

    async def seen(self, key: Key) -> Seen | None:
        cr = self.kubevirts.get(key)
        if cr is None:
            return None
        elder = in_charge(self.kubevirts.values())
        other = elder is not None and elder["metadata"]["uid"] != cr["metadata"]["uid"]
        installer, now = self.installer, time.time()
        deleting = bool(cr["metadata"].get("deletionTimestamp"))
        due = not other and not deleting and installer.due(cr, now)
        workloads = installer.lacking()
        missing = any(each.why for each in workloads)
        answers = ""
        if not (other or deleting or due or missing):
            # Asked only as long as it is not known: what worked once is watched by its readiness.
            answers = "" if _deployed(cr) else await installer.answers()
        until = installer.done.until - now if installer.done else 0.0
        return Seen(
            cr=cr,
            elder=str(elder["metadata"]["name"]) if other and elder else "",
            due=due,
            problem=installer.problem,
            workloads=workloads,
            answers=answers,
            guests=await installer.guests() if deleting and not other else 0,
            deployment=installer.wish(cr),
            architecture=installer.architecture(),
            options=self.options,
            again_in=0.5 if answers else max(until, 0.5),
            now=now,
        )

    def _look(self) -> None:
        for cr in self.kubevirts.values():
            self.loop.add(key_of(cr))

    def _drifted(self) -> None:
        self.installer.dirty = True
        self._look()

    def _node_changed(self, _key: Key, old: Any, new: Any) -> None:
        if old != new:  # of what we keep of a node, little changes ever
            self._look()

    def _workload_changed(self, _key: Key, old: Obj | None, new: Obj | None) -> None:
        before = old["metadata"]["generation"] if old else 0
        after = new["metadata"]["generation"] if new else 0
        if before != after:
            self.installer.dirty = True
        self._look()


def _deployed(cr: Obj) -> bool:
    status = cr.get("status") or {}
    return status.get("phase") == "Deployed" and status.get("observedDeploymentID") == status.get(
        "targetDeploymentID"
    )


def _read(cr: Obj | None) -> KubeVirt | None:
    """None where it cannot be: one that a newer version wrote must not stop us."""
    try:
        return msgspec.convert(cr, KubeVirt) if cr else None
    except msgspec.ValidationError:
        return None


class _OwnCertificate:
    """virt-operator's own serving certificate: self-signed until it has made a better one."""

    def __init__(self, client: Client, namespace: str, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._write(
            certificates.self_signed(f"kubevirt-operator-webhook.{namespace}.svc", time.time())
        )
        # Whom to believe is told later as well: for now nobody but itself.
        self._put("ca.crt", (folder / "tls.crt").read_bytes())
        self.certificate = Certificate(
            str(folder / "tls.crt"), str(folder / "tls.key"), str(folder / "ca.crt")
        )
        self.secrets: Informer[Obj] = Informer(
            client, SECRETS, namespace=namespace, fields=f"metadata.name={OWN_SECRET}"
        )
        self.secrets.on_change(lambda _key, _old, new: self._changed(new))
        self.bundle: Informer[Obj] = Informer(
            client, CONFIGMAPS, namespace=namespace, fields=f"metadata.name={CA_MAP}"
        )
        self.bundle.on_change(lambda _key, _old, new: self._believes(new))

    def _believes(self, config_map: Obj | None) -> None:
        if bundle := ((config_map or {}).get("data") or {}).get("ca-bundle"):
            self._put("ca.crt", bundle.encode())

    def _changed(self, secret: Obj | None) -> None:
        pair = certificates.pair_of((secret or {}).get("data"))
        if pair is not None:
            self._write(pair)

    def _write(self, pair: certificates.Pair) -> None:
        for name, content in (("tls.key", pair.key), ("tls.crt", pair.certificate)):
            self._put(name, content)

    def _put(self, name: str, content: bytes) -> None:
        fresh = self._folder / f".{name}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
        fresh.replace(self._folder / name)


def _measure(lease: Lease) -> None:
    Gauge("kubevirt_virt_operator_up", "virt-operator runs.").set(1)
    leading = Gauge("kubevirt_virt_operator_leading_status", "Whether this replica leads.")
    leading.set_function(lambda: float(lease.leading))
    Gauge("kubevirt_virt_operator_ready_status", "Whether it can work.").set(1)


if __name__ == "__main__":
    main()
