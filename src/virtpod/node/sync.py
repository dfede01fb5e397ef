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
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from virtpod.api.kubevirt import KubeVirt
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers import claims
from virtpod.controllers import hotplug as volumes
from virtpod.controllers.node_hotplug import Dump, Replug
from virtpod.controllers.node_nics import Rewire, ready
from virtpod.controllers.node_vmi import (
    Failure,
    Grow,
    Guest,
    Json,
    Pod,
    Prepare,
    Seen,
    Tell,
    decide,
)
from virtpod.domain import paths
from virtpod.domain.facts import Host
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.events import Recorder
from virtpod.kube.loop import Acts, Loop
from virtpod.kube.plan import Reference
from virtpod.kube.resources import PODS, VMIS, Key
from virtpod.kube.store import Informer
from virtpod.node import hotplug, measures, network, pods
from virtpod.node.counts import Counts
from virtpod.node.inotify import Inotify
from virtpod.node.launcher import BROKEN, ConnectionLost, Launcher, RequestFailed
from virtpod.node.peer import Peer, peer
from virtpod.node.probe import Probe
from virtpod.node.safepath import Unsafe, connected, open_beneath
from virtpod.node.server import Declined, NoGuest
from virtpod.node.steps.devices import hand_over
from virtpod.wire.messages import (
    AgentTold,
    Answer,
    AskAgent,
    DomainChanged,
    DumpMemory,
    Hello,
    Link,
    Measure,
    Measured,
    Release,
    Request,
    Shutdown,
    Stopping,
    Sync,
)

log = logging.getLogger(__name__)

SYNC_WITHIN = 180.0
"""Seconds for a launcher to start its guest, on a node where many start at once."""
REPLUG_WITHIN = 60.0
"""Seconds for a launcher to plug disks in and out; guests let go of them in their own time."""
DUMP_WITHIN = 3600.0
"""Seconds for a guest's memory to be written down."""
TELL_WITHIN = 10.0
FIRST_PAUSE = 0.01
LONGEST_PAUSE = 5.0
"""Seconds before a launcher is dialled again, doubled each time."""
VOLUMES = "volumes/kubernetes.io~empty-dir"


@dataclass(frozen=True)
class Place:
    """This node, as far as conversations with launchers need it."""

    node: str
    pods: Path
    probe: Probe
    owner: int = paths.QEMU_UID
    """The user that launchers run as."""


@dataclass(frozen=True)
class Ways:
    """How a listener is identified, given its devices, and its network made; tests have others."""

    identify: Callable[[socket.socket, str, int], Peer] = peer
    hand_over: Callable[[Peer, int, bool], None] = hand_over
    prepare: Callable[[Host, Peer, VirtualMachineInstance], Awaitable[list[Link]]] = network.prepare
    discard: Callable[[Peer, VirtualMachineInstance], Awaitable[None]] = network.discard


@dataclass
class Attended:
    """A launcher pod of this node and everything known of its guest. Only tasks here change it."""

    pod: Pod
    guest: Guest = field(default_factory=Guest)
    fetched: Json | None = None
    raw: bytes = b""
    vmi_gone: bool = False
    launcher: Launcher | None = None
    process: Peer | None = None
    process_ended: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


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
        self.vmis: Informer[Held] = Informer(
            client,
            VMIS,
            labels=f"kubevirt.io/nodeName={place.node}",
            project=lambda raw: Held(_head.decode(raw).metadata.uid, raw),
            indices={"uid": lambda _key, held: [held.uid]},
        )
        perform: Mapping[type[Any], Any] = {
            Prepare: self._prepare,
            Tell: self._tell,
            Replug: self._replug,
            Rewire: self._rewire,
            Grow: self._grow,
            Dump: self._dump,
        }
        acts = Acts(client, recorder, perform=perform)
        self.counts = counts or Counts(CollectorRegistry())
        self.loop: Loop[str, Seen] = Loop(
            "virt-handler-vmi", self._seen, decide, acts, stores=[self.vmis], workers=4
        )
        self._attended: dict[str, Attended] = {}  # by the pod's uid
        # Launchers that outlive their pods' objects, by the VMI's key: see `_leave`.
        self._predecessors: dict[Key, set[str]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._directory = -1

    def configured(self, kubevirt: KubeVirt | None) -> None:
        """Takes in how network binding plugins have guests joined."""
        config = kubevirt and kubevirt.spec.configuration
        plugins = (config and config.network and config.network.binding) or {}
        self.bindings = {name: p.domain_attachment_type or "" for name, p in plugins.items()}

    @property
    def synced(self) -> bool:
        return self.pods.synced and self.vmis.synced

    async def run(self) -> None:
        """Until cancelled; then conversations end and guests stay as they are."""
        self._directory = os.open(self.place.pods, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self.vmis.on_change(self._vmi_changed)
                tasks.create_task(self.vmis.run())
                tasks.create_task(self.pods.run())
                # Pods are attended from the first list on: their VMIs are read by name if need be.
                self.pods.on_change(self._pod_changed)
                await self.vmis.wait_synced()
                tasks.create_task(self.loop.run())
        finally:
            self._tasks = None
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
        return Seen(
            self.place.node,
            time.time(),
            vmi,
            pod,
            guest,
            vmi_gone=chosen.vmi_gone,
            predecessor=Key(pod.namespace, pod.vmi_name) in self._predecessors,
        )

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
        log.warning("a launcher outlives its pod", extra=_about(gone.pod))

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

    def _change(self, attended: Attended, **changes: Any) -> None:
        attended.guest = replace(attended.guest, **changes)
        self.loop.add(attended.pod.vmi_uid)

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
                    log.exception("a bug in a conversation", extra=_about(attended.pod))
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
            self._change(attended, lost=True, lost_at=time.time())

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
            self._change(
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
            )
            await launcher.run()
        finally:
            launcher.close()
            attended.launcher = None
            # Only when all it said has been read may the end of its process be judged.
            lost = attended.guest.lost or attended.process_ended.is_set()
            at = (attended.guest.lost_at or time.time()) if lost else 0.0
            self._change(attended, connected=False, preparing=False, lost=lost, lost_at=at)

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
        log.info("a launcher's process has ended", extra=_about(attended.pod))
        attended.process_ended.set()
        launcher.last_words()

    def _event(self, attended: Attended, event: DomainChanged | Stopping) -> None:
        if isinstance(event, Stopping):
            log.info("a launcher is told to end", extra=_about(attended.pod))
            self._change(attended, stopping=True)
            return
        before = attended.guest.domain
        if before is None or (before.state, before.reason) != (event.state, event.reason):
            seen = {"state": event.state, "reason": event.reason}
            log.info("domain", extra={**_about(attended.pod), **seen})
            if event.reason == "Panicked":
                self.counts.panicked(Key(attended.pod.namespace, attended.pod.vmi_name))
        self._change(attended, domain=event)

    # What is done

    async def _prepare(self, action: Prepare) -> None:
        """Begins it; the loop goes on and is told when it is done."""
        attended = self._attended.get(action.pod_uid)
        if attended is None or attended.launcher is None or self._tasks is None:
            return
        attended.guest = replace(attended.guest, preparing=True)
        self._tasks.create_task(self._start(attended, attended.launcher))

    def _known(self, attended: Attended) -> Host:
        """Of its network, what does not lie in its pod's namespace."""
        devices = {each.interface: each.pci for each in attended.pod.networks if each.pci}
        return Host(node=self.place.node, bindings=self.bindings, devices=devices)

    async def _start(self, attended: Attended, launcher: Launcher) -> None:
        held = self._held(attended.pod.vmi_uid)
        raw = held.raw if held else attended.raw
        began = time.monotonic()
        try:
            vmi = msgspec.json.decode(raw, type=VirtualMachineInstance)
            links = await self.ways.prepare(self._known(attended), launcher.peer, vmi)
            made = time.monotonic()
            await launcher.request(
                lambda number: Sync(
                    id=number, vmi=msgspec.Raw(raw), links=links, emulation=not attended.pod.kvm
                ),
                SYNC_WITHIN,
            )
        except ConnectionLost:
            return  # the next conversation begins anew
        except RequestFailed as error:
            failure = Failure(error.reason, error.message, final=error.final)
        except TimeoutError:
            failure = Failure("StartTimeout", f"the guest did not start within {SYNC_WITHIN:.0f} s")
        except (OSError, ValueError, network.NetlinkError) as error:
            failure = Failure("NetworkFailed", f"cannot prepare the pod's network: {error}")
        except Exception as error:  # a bug: the user is to see that it is one
            log.exception("a bug in a start", extra=_about(attended.pod))
            failure = Failure("InternalError", f"virt-handler cannot start the guest: {error!r}")
        else:
            log.info(
                "prepared",
                extra={
                    **_about(attended.pod),
                    "network_ms": round((made - began) * 1000, 1),
                    "sync_ms": round((time.monotonic() - made) * 1000, 1),
                },
            )
            if attended.launcher is launcher:
                told = claims.sizes(_json.decode(raw))
                self._change(attended, preparing=False, prepared=True, failure=None, sizes=told)
            return
        log.warning("cannot start", extra={**_about(attended.pod), "error": failure.message})
        if attended.launcher is launcher:
            times = attended.guest.failure.times + 1 if attended.guest.failure else 1
            failure = replace(failure, at=time.time(), times=times)
            self._change(attended, preparing=False, failure=failure)

    async def _replug(self, action: Replug) -> None:
        """Begins it, as `_prepare` does."""
        attended = self._attended.get(action.pod_uid)
        if attended is None or attended.launcher is None or self._tasks is None:
            return
        attended.guest = replace(attended.guest, replugging=True)
        self._tasks.create_task(self._plug(attended, attended.launcher, action))

    async def _plug(self, attended: Attended, launcher: Launcher, action: Replug) -> None:
        held = self._held(attended.pod.vmi_uid)
        raw = held.raw if held else attended.raw
        process = launcher.peer
        problem: Failure | None = None
        try:
            await hotplug.take_away(action.take, process)
            for volume, pod_uid in action.bring:
                await hotplug.bring(volume, pod_uid, process, self.place.owner)
            self.loop.add(attended.pod.vmi_uid)  # so that it is told what is mounted
            there = sorted(hotplug.there(process) & set(action.keep))
            await launcher.request(
                lambda number: Sync(id=number, vmi=msgspec.Raw(raw), hotplugged=there),
                REPLUG_WITHIN,
            )
        except ConnectionLost:
            pass  # the next conversation looks anew
        except RequestFailed as error:
            problem = Failure(error.reason, error.message)
        except TimeoutError:
            problem = Failure("HotplugFailed", f"it took longer than {REPLUG_WITHIN:.0f} s")
        except (OSError, hotplug.NotThere) as error:
            problem = Failure("HotplugFailed", f"cannot bring or take a volume: {error}")
        except Exception as error:  # a bug: the user is to see that it is one
            log.exception("a bug in a hotplug", extra=_about(attended.pod))
            problem = Failure("InternalError", f"virt-handler cannot plug volumes: {error!r}")
        if problem is not None:
            log.warning("cannot plug", extra={**_about(attended.pod), "error": problem.message})
            times = attended.guest.unplugged.times + 1 if attended.guest.unplugged else 1
            problem = replace(problem, at=time.time(), times=times)
        if attended.launcher is launcher:
            self._change(attended, replugging=False, unplugged=problem)

    async def _rewire(self, action: Rewire) -> None:
        """Begins it, as `_prepare` does."""
        attended = self._attended.get(action.pod_uid)
        if attended is None or attended.launcher is None or self._tasks is None:
            return
        attended.guest = replace(attended.guest, rewiring=True)
        self._tasks.create_task(self._wire(attended, attended.launcher))

    async def _wire(self, attended: Attended, launcher: Launcher) -> None:
        held = self._held(attended.pod.vmi_uid)
        raw = held.raw if held else attended.raw
        problem: Failure | None = None
        try:
            vmi = msgspec.json.decode(raw, type=VirtualMachineInstance)
            at_hand = ready(vmi, [each.interface for each in attended.pod.networks])
            links = await self.ways.prepare(self._known(attended), launcher.peer, at_hand)
            await launcher.request(
                lambda number: Sync(id=number, vmi=msgspec.Raw(raw), links=links, cards=True),
                REPLUG_WITHIN,
            )
            await self.ways.discard(launcher.peer, vmi)
        except ConnectionLost:
            pass  # the next conversation looks anew
        except RequestFailed as error:
            problem = Failure(error.reason, error.message)
        except TimeoutError:
            problem = Failure("NicHotplug", f"it took longer than {REPLUG_WITHIN:.0f} s")
        except (OSError, ValueError, network.NetlinkError) as error:
            problem = Failure("NicHotplug", f"cannot prepare the network: {error}")
        except Exception as error:  # a bug: the user is to see that it is one
            log.exception("a bug in a network hotplug", extra=_about(attended.pod))
            problem = Failure("InternalError", f"virt-handler cannot plug cards: {error!r}")
        if problem is not None:
            log.warning("cannot rewire", extra={**_about(attended.pod), "error": problem.message})
            before = attended.guest.unwired
            if before is None or before.message != problem.message:
                self.warn(attended.pod, problem.reason, problem.message)
            problem = replace(problem, at=time.time(), times=before.times + 1 if before else 1)
        if attended.launcher is launcher:
            self._change(attended, rewiring=False, unwired=problem)

    def warn(self, pod: Pod, reason: str, message: str) -> None:
        """An event of the pod's VMI."""
        about = Reference(VMIS.api_version, VMIS.kind, pod.namespace, pod.vmi_name, pod.vmi_uid)
        self.recorder.event(about, "Warning", reason, message)

    async def _grow(self, action: Grow) -> None:
        """Begins it, as `_prepare` does."""
        attended = self._attended.get(action.pod_uid)
        if attended is None or attended.launcher is None or self._tasks is None:
            return
        attended.guest = replace(attended.guest, growing=True)
        self._tasks.create_task(self._enlarge(attended, attended.launcher))

    async def _enlarge(self, attended: Attended, launcher: Launcher) -> None:
        held = self._held(attended.pod.vmi_uid)
        raw = held.raw if held else attended.raw
        sizes, problem = attended.guest.sizes, None
        try:
            await launcher.request(
                lambda number: Sync(id=number, vmi=msgspec.Raw(raw)), REPLUG_WITHIN
            )
            sizes = claims.sizes(_json.decode(raw))
        except ConnectionLost:
            pass
        except RequestFailed as error:
            problem = Failure(error.reason, error.message)
        except TimeoutError:
            problem = Failure("ExpansionFailed", f"it took longer than {REPLUG_WITHIN:.0f} s")
        if problem is not None:
            times = attended.guest.ungrown.times + 1 if attended.guest.ungrown else 1
            problem = replace(problem, at=time.time(), times=times)
            remedy = "It is tried again by itself; mend what it names."
            self.warn(attended.pod, problem.reason, f"{problem.message}. {remedy}")
        if attended.launcher is launcher:
            self._change(attended, growing=False, ungrown=problem, sizes=sizes)

    async def _dump(self, action: Dump) -> None:
        """Begins it, as `_prepare` does."""
        attended = self._attended.get(action.pod_uid)
        if attended is None or attended.launcher is None or self._tasks is None:
            return
        attended.guest = replace(attended.guest, dumping=True)
        self._tasks.create_task(self._write_down(attended, attended.launcher, action))

    async def _write_down(self, attended: Attended, launcher: Launcher, action: Dump) -> None:
        """A launcher that is asked again for the same file tells how it went."""
        known = attended.guest.dumped
        try:
            await launcher.request(
                lambda number: DumpMemory(id=number, volume=action.volume, file=action.file),
                DUMP_WITHIN,
            )
        except ConnectionLost:
            pass  # the next conversation asks again
        except RequestFailed as error:
            known = {**known, action.file: error.message}
        except TimeoutError:
            known = {**known, action.file: f"it took longer than {DUMP_WITHIN:.0f} s"}
        else:
            known = {**known, action.file: ""}
        if attended.launcher is launcher:
            self._change(attended, dumping=False, dumped=known)

    async def _tell(self, action: Tell) -> None:
        attended = self._attended.get(action.pod_uid)
        if attended is None or attended.launcher is None or self._tasks is None:
            return
        given = action.grace if action.what == "shutdown" else attended.guest.grace
        told = attended.guest.told | {action.what}
        attended.guest = replace(attended.guest, told=told, grace=given)
        self._tasks.create_task(self._say(attended, attended.launcher, action))

    async def _say(self, attended: Attended, launcher: Launcher, action: Tell) -> None:
        def request(number: int) -> Request:
            if action.what == "shutdown":
                return Shutdown(id=number, grace=action.grace)
            return Release(id=number)

        try:
            await launcher.request(request, TELL_WITHIN)
        except ConnectionLost:
            return  # going is an answer too; who stays is asked again in the next conversation
        except (RequestFailed, TimeoutError) as error:
            self._log(attended, f"a launcher refused {action.what}", error)

    def _log(self, attended: Attended, message: str, error: BaseException) -> None:
        log.info(message, extra={**_about(attended.pod), "error": str(error) or repr(error)})


@dataclass(frozen=True)
class HostedGuest:
    """A guest of this node, as the server for virt-api needs it (`server.Guest`)."""

    sync: NodeSync
    attended: Attended

    @property
    def uid(self) -> str:
        return self.attended.pod.vmi_uid

    @property
    def cid(self) -> int:
        """As virt-controller has it in the VMI's status, which no guest can write; 0: none."""
        held = self.sync._held(self.attended.pod.vmi_uid)
        vmi = _json.decode(held.raw) if held else self.attended.fetched
        return int(((vmi or {}).get("status") or {}).get("VSOCKCID") or 0)

    def screen(self, file: str) -> socket.socket:
        """A connection to QEMU's socket of that name, if a process of the pod listens there.

        Raises OSError, Unsafe.
        """
        pod, place = self.attended.pod, self.sync.place
        with self.sync.volume(pod, "private") as directory:
            connection = connected(directory, f"{pod.vmi_uid}/{file}", place.owner)
        try:
            self.sync.ways.identify(connection, pod.uid, place.owner).close()
        except BaseException:
            connection.close()
            raise
        return connection

    async def ask(self, make: Callable[[int], Request], within: float = TELL_WITHIN) -> Answer:
        """What the launcher answers. Raises NoGuest, Declined."""
        launcher = self.attended.launcher
        if launcher is None:
            raise NoGuest("virt-launcher is out of reach")
        try:
            return await launcher.request(make, within)
        except ConnectionLost as error:
            raise NoGuest("virt-launcher went away") from error
        except RequestFailed as error:
            raise Declined(error.message) from error
        except TimeoutError as error:
            raise NoGuest(f"virt-launcher did not answer within {within:.0f} s") from error

    async def measured(self) -> measures.Guest | None:
        """Its numbers, as far as its launcher and its agent tell them in time."""
        pod, domain = self.attended.pod, self.attended.guest.domain
        try:
            told = await self.ask(lambda n: Measure(id=n), measures.WITHIN)
        except (NoGuest, Declined):
            return None
        if not isinstance(told, Measured):
            return None
        said: Answer | None = None
        if domain is not None and domain.agent_connected:
            with contextlib.suppress(NoGuest, Declined):
                said = await self.ask(
                    lambda n: AskAgent(id=n, what="filesystems", load=True), measures.WITHIN
                )
        if not isinstance(said, AgentTold):
            return measures.Guest(pod.namespace, pod.vmi_name, told)
        return measures.Guest(pod.namespace, pod.vmi_name, told, tuple(said.filesystems), said.load)

    def warn(self, reason: str, message: str) -> None:
        """An event of the VMI."""
        self.sync.warn(self.attended.pod, reason, message)


def _is_there(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _about(pod: Pod) -> dict[str, str]:
    return {"vmi": f"{pod.namespace}/{pod.vmi_name}", "pod": pod.uid}
