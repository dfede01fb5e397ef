"""The heart of virt-handler: VMIs of this node and their domains, kept in step both ways.

Two informers (launcher pods of this node, VMIs of this node) and the launchers' own events wake the
loop; `controllers.node_vmi.decide` says what is to be done, and here it is done. Per launcher pod
there is one task that waits for its socket, speaks with it, and goes on doing so.

Which pod belongs to a VMI is told by the owner reference's uid, never by labels; which VMI a
launcher speaks for is told by the socket, never by the message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from virtpod.api.kubevirt import KubeVirt
from virtpod.controllers import hotplug as volumes
from virtpod.controllers import node_plug
from virtpod.controllers.node_devices import Ailing
from virtpod.controllers.node_seen import Json, Pod
from virtpod.controllers.node_vmi import Seen, decide
from virtpod.domain import paths
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.events import Recorder
from virtpod.kube.loop import Acts, Loop
from virtpod.kube.plan import Reference
from virtpod.kube.resources import PODS, VMIS, Key
from virtpod.kube.store import Informer
from virtpod.node import hotplug, lending, pods
from virtpod.node.attended import Attended, Place, Ways, about
from virtpod.node.counts import Counts
from virtpod.node.errands import Errands
from virtpod.node.hosted import HostedGuest
from virtpod.node.inotify import Inotify
from virtpod.node.launcher import BROKEN, Launcher
from virtpod.node.peer import Peer
from virtpod.node.safepath import Unsafe, connected, open_beneath
from virtpod.node.server import NoGuest
from virtpod.render import attachment
from virtpod.wire.messages import (
    DomainChanged,
    Hello,
    Stopping,
)

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.01
LONGEST_PAUSE = 5.0
"""Seconds before a launcher is dialled again, doubled each time."""
VOLUMES = "volumes/kubernetes.io~empty-dir"


@dataclass(frozen=True)
class Held:
    """A VMI in the store: its bytes, which are decoded when they are looked at."""

    uid: str
    raw: bytes


class _Head(msgspec.Struct):
    metadata: _Uid


class _Uid(msgspec.Struct):
    uid: str = ""


_head = msgspec.json.Decoder(_Head)
_json = msgspec.json.Decoder()


class NodeSync:
    """`run()` it in a task; `synced` when both informers have been."""

    def __init__(
        self,
        client: Client,
        recorder: Recorder,
        place: Place,
        inotify: Inotify,
        ways: Ways | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.client = client
        self.recorder = recorder
        self.place = place
        self.inotify = inotify
        self.ways = ways or Ways()
        self.bindings: dict[str, str] = {}
        self.pods: Informer[Pod] = Informer(
            client,
            PODS,
            labels="kubevirt.io=virt-launcher",
            fields=f"spec.nodeName={place.node}",
            project=pods.project,
        )
        self.holders: Informer[node_plug.Holder] = Informer(
            client,
            PODS,
            labels=(f"kubevirt.io={attachment.DEVICE_LABEL},{attachment.NODE_LABEL}={place.node}"),
            project=pods.project_holder,
            indices={"launcher": lambda _key, holder: [holder.launcher]},
        )
        self.vmis: Informer[Held] = Informer(
            client,
            VMIS,
            labels=f"kubevirt.io/nodeName={place.node}",
            project=lambda raw: Held(_head.decode(raw).metadata.uid, raw),
            indices={"uid": lambda _key, held: [held.uid]},
        )
        self._errands = Errands(self)
        acts = Acts(client, recorder, perform=self._errands.perform)
        self.counts = counts or Counts(CollectorRegistry())
        self.loop: Loop[str, Seen] = Loop(
            "virt-handler-vmi", self._seen, decide, acts, stores=[self.vmis], workers=4
        )
        self._attended: dict[str, Attended] = {}  # by the pod's uid
        # Launchers that outlive their pods' objects, by the VMI's key: see `_leave`.
        self._predecessors: dict[Key, set[str]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._directory = -1
        self.ailing: Callable[[str, str], tuple[Ailing, ...] | None] = lambda *_pod: None
        """What a pod, by namespace and name, has of the node that is not well; None: not known."""

    def configured(self, kubevirt: KubeVirt | None) -> None:
        """Takes in how network binding plugins have guests joined."""
        config = kubevirt and kubevirt.spec.configuration
        plugins = (config and config.network and config.network.binding) or {}
        self.bindings = {name: p.domain_attachment_type or "" for name, p in plugins.items()}

    @property
    def synced(self) -> bool:
        return self.pods.synced and self.holders.synced and self.vmis.synced

    async def run(self) -> None:
        """Until cancelled; then conversations end and guests stay as they are."""
        self._directory = os.open(self.place.pods, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = self._errands.tasks = tasks
                self.vmis.on_change(self._vmi_changed)
                tasks.create_task(self.vmis.run())
                tasks.create_task(self.pods.run())
                # Pods are attended from the first list on: their VMIs are read by name if need be.
                self.pods.on_change(self._pod_changed)
                self.holders.on_change(self._holder_changed)
                tasks.create_task(self.holders.run())
                await self.vmis.wait_synced()
                await self.holders.wait_synced()
                tasks.create_task(self.loop.run())
        finally:
            self._tasks = self._errands.tasks = None
            os.close(self._directory)

    def attended(self, namespace: str, name: str) -> Attended | None:
        """The launcher that stands for the VMI now, for consoles and power requests."""
        found = [
            each
            for each in self._attended.values()
            if each.pod.namespace == namespace and each.pod.vmi_name == name
        ]
        return max(
            found,
            key=lambda each: (each.pod.ended is None, each.launcher is not None),
            default=None,
        )

    def devices_changed(self, namespace: str, pod: str) -> None:
        """What a pod has of the node fares otherwise than before."""
        if attended := self._launcher(namespace, pod):
            self.loop.add(attended.pod.vmi_uid)

    def vmi_of_pod(self, namespace: str, pod: str) -> str:
        """Its name; empty where the pod is neither a launcher of this node, nor one's that holds a
        device for its guest."""
        attended = self._launcher(namespace, pod)
        return attended.pod.vmi_name if attended else ""

    def _launcher(self, namespace: str, pod: str) -> Attended | None:
        """The launcher that a pod is, or is there for."""
        if holder := self.holders.get(Key(namespace, pod)):
            return self._attended.get(holder.launcher)
        for each in self._attended.values():
            if (each.pod.namespace, each.pod.name) == (namespace, pod):
                return each
        return None

    def has_devices(self) -> bool:
        """Whether a guest here has devices of the node."""
        domains = [each.guest.domain for each in self._attended.values()]
        return any(domain.host_devices or domain.devices for domain in domains if domain)

    def guests(self) -> list[HostedGuest]:
        """Those that run here now."""
        return [
            HostedGuest(self, each)
            for each in self._attended.values()
            if each.launcher is not None and each.guest.domain and each.guest.domain.started
        ]

    def guest(self, namespace: str, name: str) -> HostedGuest:
        """For virt-api's server. Raises NoGuest."""
        attended = self.attended(namespace, name)
        if attended is None:
            raise NoGuest(f"{namespace}/{name} is not running on node {self.place.node}")
        return HostedGuest(self, attended)

    @contextlib.contextmanager
    def volume(self, pod: Pod, volume: str) -> Iterator[int]:
        """A handle of one of the pod's emptyDir volumes."""
        handle = open_beneath(
            self._directory, f"{pod.uid}/{VOLUMES}/{volume}", os.O_PATH | os.O_DIRECTORY
        )
        try:
            yield handle
        finally:
            os.close(handle)

    # What is seen

    def _seen(self, vmi_uid: str) -> Seen | None:
        chosen = self._of(vmi_uid)
        held = self._held(vmi_uid)
        if chosen is None and held is None:
            return None
        vmi: Json | None = None
        if held:
            vmi = _json.decode(held.raw)
            self.counts.synced(vmi)
        elif chosen:
            vmi = chosen.fetched
        if chosen is None:
            return Seen(self.place.node, time.time(), vmi, no_trace=self._no_trace(vmi or {}))
        pod = chosen.pod
        guest = chosen.guest
        if chosen.process is not None and vmi and volumes.concerned(vmi, ()):
            guest = replace(guest, there=hotplug.there(chosen.process))
        holders = tuple(self.holders.by("launcher", pod.uid))
        has = guest.domain.host_devices if guest.domain else ()
        if chosen.process is not None and vmi and node_plug.concerned(vmi, holders, has):
            guest = replace(guest, lent=lending.there(chosen.process))
        return Seen(
            self.place.node,
            time.time(),
            vmi,
            pod,
            guest,
            vmi_gone=chosen.vmi_gone,
            predecessor=Key(pod.namespace, pod.vmi_name) in self._predecessors,
            ailing=self._ailing(pod, holders),
            holders=holders,
        )

    def _ailing(self, pod: Pod, holders: tuple[node_plug.Holder, ...]) -> tuple[Ailing, ...] | None:
        """Of the guest's devices, whichever of its pods was given them."""
        names = (pod.name, *(each.name for each in holders))
        found = [self.ailing(pod.namespace, name) for name in names]
        if any(each is None for each in found):
            return None
        return tuple(ailing for each in found for ailing in each or ())

    def _no_trace(self, vmi: Json) -> bool:
        """Whether the kubelet keeps no folder of the pods that the VMI has had on this node."""
        active = (vmi.get("status") or {}).get("activePods") or {}
        here = [uid for uid, node in active.items() if node == self.place.node]
        if not here or not self.pods.synced:
            return False
        return not any("/" in uid or _is_there(self._directory, uid) for uid in here)

    def _of(self, vmi_uid: str) -> Attended | None:
        found = [each for each in self._attended.values() if each.pod.vmi_uid == vmi_uid]
        return max(
            found, key=lambda each: (each.pod.ended is None, each.guest.connected), default=None
        )

    def _held(self, vmi_uid: str) -> Held | None:
        return next(iter(self.vmis.by("uid", vmi_uid)), None)

    def of_pod(self, uid: str) -> Attended | None:
        return self._attended.get(uid)

    def vmi_of(self, attended: Attended) -> bytes:
        """As JSON; empty where it has not been read yet."""
        held = self._held(attended.pod.vmi_uid)
        return held.raw if held else attended.raw

    def _vmi_changed(self, key: Key, old: Held | None, new: Held | None) -> None:
        for held in (old, new):
            if held is not None:
                self.loop.add(held.uid)
        if new is None:
            self.counts.forget(key)
        if new is None and old is not None and (chosen := self._of(old.uid)):
            # It is gone, or has lost our label: what was read of it once is no more.
            chosen.fetched = None
            if self._tasks is not None:
                self._tasks.create_task(self._fetch(chosen))

    def _pod_changed(self, _key: Key, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.uid != old.uid):
            self._leave(old.uid)
        if new is None or not new.vmi_uid:
            return
        known = self._attended.get(new.uid)
        if known is None:
            known = self._attended[new.uid] = Attended(new)
            if new.ended is None and self._tasks is not None:
                known.task = self._tasks.create_task(self._attend(known))
            elif self._tasks is not None:
                known.task = self._tasks.create_task(self._fetch(known))
        known.pod = new
        self.loop.add(new.vmi_uid)

    def _holder_changed(
        self, _key: Key, old: node_plug.Holder | None, new: node_plug.Holder | None
    ) -> None:
        holder = new or old
        if holder and (attended := self._attended.get(holder.launcher)):
            self.loop.add(attended.pod.vmi_uid)

    def _leave(self, pod_uid: str) -> None:
        """The pod's object is gone. Where somebody took it away by force its processes may still
        live, and no other guest of the VMI's name is to start beside them."""
        gone = self._attended.pop(pod_uid, None)
        if gone is None:
            return
        if gone.process is not None and not gone.process_ended.is_set():
            self._await_end(gone, gone.process)
        if gone.task is not None:
            gone.task.cancel()
        self.loop.add(gone.pod.vmi_uid)

    def _await_end(self, gone: Attended, process: Peer) -> None:
        key = Key(gone.pod.namespace, gone.pod.vmi_name)
        self._predecessors.setdefault(key, set()).add(gone.pod.uid)
        log.warning("a launcher outlives its pod", extra=about(gone.pod))

        def ended() -> None:
            process.close()
            left = self._predecessors.get(key, set())
            left.discard(gone.pod.uid)
            if not left:
                self._predecessors.pop(key, None)
            for each in self._attended.values():
                if (each.pod.namespace, each.pod.vmi_name) == key:
                    self.loop.add(each.pod.vmi_uid)

        gone.process = None  # the conversation's end shall not close it
        process.when_gone(ended)

    def change(self, attended: Attended, **changes: Any) -> None:
        """Fields of its `Guest`; then there is something to decide."""
        attended.guest = replace(attended.guest, **changes)
        self.loop.add(attended.pod.vmi_uid)

    def warn(self, pod: Pod, reason: str, message: str) -> None:
        """An event of the pod's VMI."""
        vmi = Reference(VMIS.api_version, VMIS.kind, pod.namespace, pod.vmi_name, pod.vmi_uid)
        self.recorder.event(vmi, "Warning", reason, message)

    # One launcher

    async def _attend(self, attended: Attended) -> None:
        """Speaks with the launcher until its process has ended."""
        fetching = asyncio.create_task(self._fetch(attended))
        clock = asyncio.get_running_loop().time
        pause = FIRST_PAUSE
        try:
            while attended.pod.ended is None and not attended.guest.lost:
                began = clock()
                try:
                    await self._converse(attended)
                except Unsafe as error:
                    self._log(attended, "a launcher's socket is not what it should be", error)
                    pause = LONGEST_PAUSE
                except (OSError, *BROKEN) as error:
                    self._log(attended, "a launcher's connection ended", error)
                except Exception:  # one pod's trouble must not become all the others'
                    log.exception("a bug in a conversation", extra=about(attended.pod))
                    pause = LONGEST_PAUSE
                if "release" in attended.guest.told:
                    pause = LONGEST_PAUSE  # it is about to end: nothing is left to be said
                elif clock() - began > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
                await self._pause(attended, pause * random.uniform(0.5, 1.5))
                pause = min(pause * 2, LONGEST_PAUSE)
            await fetching
        finally:
            fetching.cancel()
            if attended.process is not None:
                attended.process.close()
                attended.process = None

    async def _pause(self, attended: Attended, seconds: float) -> None:
        """Until the process has ended, or so long; a process that listens may be dialled again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await attended.process_ended.wait()
        if attended.process_ended.is_set() and not attended.guest.lost:
            self.change(attended, lost=True, lost_at=time.time())

    async def _fetch(self, attended: Attended) -> None:
        """Reads the VMI that owns the pod, before it has this node's label."""
        pod = attended.pod
        while attended.fetched is None and self._held(pod.vmi_uid) is None:
            try:
                raw = await self.client.get(
                    VMIS, Key(pod.namespace, pod.vmi_name), decode=msgspec.Raw
                )
            except errors.NotFound:
                attended.vmi_gone = True
            except errors.ApiError as error:
                self._log(attended, "cannot read a VMI", error)
                await asyncio.sleep(random.uniform(1, 2))
                continue
            else:
                if _head.decode(raw).metadata.uid == pod.vmi_uid:
                    attended.fetched, attended.raw = _json.decode(raw), bytes(raw)
                else:
                    attended.vmi_gone = True
            self.loop.add(pod.vmi_uid)
            return

    async def _converse(self, attended: Attended) -> None:
        """One connection, from the socket's appearance to its end."""
        pod = attended.pod
        await self._appears(f"{pod.uid}/{VOLUMES}/sockets", paths.LAUNCHER_SOCKET)
        with self.volume(pod, "sockets") as directory:
            connection = connected(directory, paths.LAUNCHER_SOCKET, self.place.owner)
        try:
            process = self.ways.identify(connection, pod.uid, self.place.owner)
        except BaseException:
            connection.close()
            raise
        if attended.process is not None:
            attended.process.close()
        attended.process = process
        launcher = await Launcher.over(
            connection, process, lambda event: self._event(attended, event)
        )
        process.when_gone(lambda: self._process_ended(attended, launcher))
        try:
            # Before Hello: libvirt starts at Hello, and looks whether it may use /dev/kvm.
            self.ways.hand_over(process, self.place.owner, pod.locks)
            capabilities = self.place.probe.capabilities(emulation=not pod.kvm)
            await launcher.hello(Hello(node=self.place.node, capabilities=capabilities))
            attended.launcher = launcher
            self.change(
                attended,
                connected=True,
                preparing=False,
                prepared=False,
                told=frozenset(),
                grace=None,
                replugging=False,
                rewiring=False,
                sizes=None,
                growing=False,
                plugging=False,
                dumping=False,
            )
            await launcher.run()
        finally:
            launcher.close()
            attended.launcher = None
            # Only when all it said has been read may the end of its process be judged.
            lost = attended.guest.lost or attended.process_ended.is_set()
            at = (attended.guest.lost_at or time.time()) if lost else 0.0
            self.change(attended, connected=False, preparing=False, lost=lost, lost_at=at)

    async def _appears(self, folder: str, name: str) -> None:
        """Until `name` is in `folder` (below the kubelet's pods), however much of the path is
        still to be made."""
        steps = [*folder.split("/"), name]
        for depth, step in enumerate(steps):
            above = "/".join(steps[:depth]) or "."
            handle = open_beneath(self._directory, above, os.O_PATH | os.O_DIRECTORY)
            try:
                if _is_there(handle, step):
                    continue
                async with self.inotify.watch(handle) as watch:
                    while not _is_there(handle, step):
                        await watch.changed()
            finally:
                os.close(handle)

    def _process_ended(self, attended: Attended, launcher: Launcher) -> None:
        log.info("a launcher's process has ended", extra=about(attended.pod))
        attended.process_ended.set()
        launcher.last_words()

    def _event(self, attended: Attended, event: DomainChanged | Stopping) -> None:
        if isinstance(event, Stopping):
            log.info("a launcher is told to end", extra=about(attended.pod))
            self.change(attended, stopping=True)
            return
        before = attended.guest.domain
        if before is None or (before.state, before.reason) != (event.state, event.reason):
            seen = {"state": event.state, "reason": event.reason}
            log.info("domain", extra={**about(attended.pod), **seen})
            if event.reason == "Panicked":
                self.counts.panicked(Key(attended.pod.namespace, attended.pod.vmi_name))
        self.change(attended, domain=event)

    def _log(self, attended: Attended, message: str, error: BaseException) -> None:
        log.info(message, extra={**about(attended.pod), "error": str(error) or repr(error)})


def _is_there(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
