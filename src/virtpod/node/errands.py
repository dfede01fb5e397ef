"""What virt-handler has a launcher do, as `controllers.node_vmi.decide` asks for it.

Each is an errand: begun by the loop, which goes on; run in a task of its own, once at a time for
each guest; its end, good or bad, is written into `Guest`, which has the loop decide anew.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers import claims
from virtpod.controllers.node_hotplug import Dump, Replug
from virtpod.controllers.node_nics import Rewire, ready
from virtpod.controllers.node_plug import GiveBack, Plug
from virtpod.controllers.node_seen import Failure
from virtpod.controllers.node_vmi import Grow, Prepare, Tell
from virtpod.domain.facts import Host
from virtpod.node import hotplug, lending, network
from virtpod.node.attended import Attended, about
from virtpod.node.launcher import ConnectionLost, Launcher, RequestFailed
from virtpod.node.steps import loans
from virtpod.wire.messages import DumpMemory, Plugged, Release, Request, Shutdown, Sync

if TYPE_CHECKING:
    from virtpod.node.sync import NodeSync

log = logging.getLogger(__name__)

START_WITHIN = 180.0
"""Seconds for a launcher to start its guest, on a node where many start at once."""
CHANGE_WITHIN = 60.0
"""Seconds for a launcher to change a running guest; guests let go of disks in their own time."""
DUMP_WITHIN = 3600.0
"""Seconds for a guest's memory to be written down."""
TELL_WITHIN = 10.0

EXPECTED = (OSError, ValueError, hotplug.NotThere, lending.NotThere, network.NetlinkError)

Changes = dict[str, Any]
"""Fields of `Guest`."""


@dataclass(frozen=True)
class Errand:
    """`busy`: the field of `Guest` that says that it is under way; `failed`: the one with why it
    failed the last time, if it has one. `warns`: a failure is an event of the VMI; other failures
    become conditions or events where `decide` sees them."""

    does: str
    reason: str
    busy: str
    failed: str
    warns: bool = False


START = Errand("prepare the pod's network", "NetworkFailed", "preparing", "failure")
REPLUG = Errand("bring or take a volume", "HotplugFailed", "replugging", "unplugged")
PLUG = Errand("bring or take a device", "HotplugFailed", "plugging", "unlent")
WIRE = Errand("prepare the network", "NicHotplug", "rewiring", "unwired", warns=True)
GROW = Errand("tell new sizes", "ExpansionFailed", "growing", "ungrown", warns=True)
DUMP = Errand("write the memory down", "MemoryDumpFailed", "dumping", "")

Work = Callable[[Attended, Launcher, Any], Awaitable[Changes]]
"""What it does, and what is known afterwards."""


class Errands:
    """`perform`: by action, what the loop's acts are to call."""

    def __init__(self, sync: NodeSync) -> None:
        self._sync = sync
        self.perform: Mapping[type[Any], Callable[[Any], Awaitable[None]]] = {
            Prepare: functools.partial(self._begin, START, self._start),
            Replug: functools.partial(self._begin, REPLUG, self._replug),
            Plug: functools.partial(self._begin, PLUG, self._plug),
            Rewire: functools.partial(self._begin, WIRE, self._wire),
            Grow: functools.partial(self._begin, GROW, self._grow),
            Dump: functools.partial(self._begin, DUMP, self._dump),
            GiveBack: self._give_back,
            Tell: self._tell,
        }
        self.tasks: asyncio.TaskGroup | None = None

    async def _begin(self, errand: Errand, work: Work, action: Any) -> None:
        attended = self._sync.of_pod(action.pod_uid)
        if attended is None or attended.launcher is None or self.tasks is None:
            return
        under_way: Changes = {errand.busy: True}
        attended.guest = replace(attended.guest, **under_way)
        self.tasks.create_task(self._run(errand, work, attended, attended.launcher, action))

    async def _run(
        self, errand: Errand, work: Work, attended: Attended, launcher: Launcher, action: Any
    ) -> None:
        changes: Changes = {}
        failure: Failure | None = None
        try:
            changes = await work(attended, launcher, action)
        except ConnectionLost:
            return  # the next conversation begins anew
        except RequestFailed as error:
            failure = Failure(error.reason, error.message, final=error.final)
        except TimeoutError:
            failure = Failure(errand.reason, f"it took longer than {CHANGE_WITHIN:.0f} s")
        except EXPECTED as error:
            failure = Failure(errand.reason, f"cannot {errand.does}: {error}")
        except Exception as error:  # a bug: the user is to see that it is one
            log.exception("a bug in an errand", extra=about(attended.pod))
            failure = Failure("InternalError", f"virt-handler cannot {errand.does}: {error!r}")
        if failure is not None:
            failure = self._counted(errand, attended, replace(failure, of=action))
        if attended.launcher is launcher:
            ends = {errand.failed: failure} if errand.failed else {}
            self._sync.change(attended, **{errand.busy: False}, **ends, **changes)

    def _counted(self, errand: Errand, attended: Attended, failure: Failure) -> Failure:
        """With its time, and how many times it has failed in a row; said where that is new."""
        said = {"doing": errand.does, "error": failure.message}
        log.warning("an errand failed", extra={**about(attended.pod), **said})
        before = getattr(attended.guest, errand.failed) if errand.failed else None
        if errand.warns and (before is None or before.message != failure.message):
            remedy = "It is tried again by itself; mend what it names."
            self._sync.warn(attended.pod, failure.reason, f"{failure.message}. {remedy}")
        times = before.times + 1 if before and before.of == failure.of else 1
        return replace(failure, at=time.time(), times=times)

    async def _start(self, attended: Attended, launcher: Launcher, _action: Prepare) -> Changes:
        raw = self._sync.vmi_of(attended)
        vmi = msgspec.json.decode(raw, type=VirtualMachineInstance)
        began = time.monotonic()
        links = await self._sync.ways.prepare(self._known(attended), launcher.peer, vmi)
        made = time.monotonic()
        allotted = await self._sync.ways.allotted(vmi, attended.pod)

        def sync(number: int) -> Request:
            return Sync(
                id=number,
                vmi=msgspec.Raw(raw),
                links=links,
                allotted=allotted,
                emulation=not attended.pod.kvm,
            )

        try:
            await launcher.request(sync, START_WITHIN)
        except TimeoutError as error:
            late = f"the guest did not start within {START_WITHIN:.0f} s"
            raise RequestFailed("StartTimeout", late) from error
        took = {
            "network_ms": round((made - began) * 1000, 1),
            "sync_ms": round((time.monotonic() - made) * 1000, 1),
        }
        log.info("prepared", extra={**about(attended.pod), **took})
        return {"prepared": True, "sizes": _sizes(raw)}

    async def _replug(self, attended: Attended, launcher: Launcher, action: Replug) -> Changes:
        raw = self._sync.vmi_of(attended)
        process = launcher.peer
        await hotplug.take_away(action.take, process)
        for volume, pod_uid in action.bring:
            await hotplug.bring(volume, pod_uid, process, self._sync.place.owner)
        self._sync.change(attended)  # so that the VMI is told what is mounted
        there = sorted(hotplug.there(process) & set(action.keep))
        await launcher.request(
            lambda number: Sync(id=number, vmi=msgspec.Raw(raw), hotplugged=there), CHANGE_WITHIN
        )
        return {}

    async def _plug(self, attended: Attended, launcher: Launcher, action: Plug) -> Changes:
        raw = self._sync.vmi_of(attended)
        process = launcher.peer
        for device in action.take:
            await loans.take_back(device, process)
        plugged = []
        for loan in action.bring:
            namespace = attended.pod.namespace
            lent = await self._sync.ways.lent(namespace, loan.pod, loan.resource)
            await loans.lend(loan.device, lent.nodes, process, self._sync.place.owner)
            plugged += [
                Plugged(name=loan.device, kind=kind, address=address)
                for kind, address in lent.addresses
            ]
        unplugged = list(action.unplug)
        if plugged or unplugged:

            def sync(number: int) -> Request:
                return Sync(id=number, vmi=msgspec.Raw(raw), plugged=plugged, unplugged=unplugged)

            await launcher.request(sync, CHANGE_WITHIN)
        return {}

    async def _give_back(self, action: GiveBack) -> None:
        for pod_uid in action.pods:
            await lending.give_back(pod_uid)
        if attended := self._sync.of_pod(action.pod_uid):
            returned = attended.guest.returned.union(action.pods)
            self._sync.change(attended, returned=returned)

    async def _wire(self, attended: Attended, launcher: Launcher, _action: Rewire) -> Changes:
        raw = self._sync.vmi_of(attended)
        vmi = msgspec.json.decode(raw, type=VirtualMachineInstance)
        at_hand = ready(vmi, [each.interface for each in attended.pod.networks])
        links = await self._sync.ways.prepare(self._known(attended), launcher.peer, at_hand)
        await launcher.request(
            lambda number: Sync(id=number, vmi=msgspec.Raw(raw), links=links, cards=True),
            CHANGE_WITHIN,
        )
        await self._sync.ways.discard(launcher.peer, vmi)
        return {}

    async def _grow(self, attended: Attended, launcher: Launcher, _action: Grow) -> Changes:
        raw = self._sync.vmi_of(attended)
        await launcher.request(lambda n: Sync(id=n, vmi=msgspec.Raw(raw)), CHANGE_WITHIN)
        return {"sizes": _sizes(raw)}

    async def _dump(self, attended: Attended, launcher: Launcher, action: Dump) -> Changes:
        """A launcher that is asked again for the same file tells how it went."""
        problem = ""
        try:
            await launcher.request(
                lambda number: DumpMemory(id=number, volume=action.volume, file=action.file),
                DUMP_WITHIN,
            )
        except RequestFailed as error:
            problem = error.message
        except TimeoutError:
            problem = f"it took longer than {DUMP_WITHIN:.0f} s"
        return {"dumped": {**attended.guest.dumped, action.file: problem}}

    async def _tell(self, action: Tell) -> None:
        attended = self._sync.of_pod(action.pod_uid)
        if attended is None or attended.launcher is None or self.tasks is None:
            return
        given = action.grace if action.what == "shutdown" else attended.guest.grace
        told = attended.guest.told | {action.what}
        attended.guest = replace(attended.guest, told=told, grace=given)
        self.tasks.create_task(self._say(attended, attended.launcher, action))

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
            said = {"what": action.what, "error": str(error) or repr(error)}
            log.info("a launcher refused", extra={**about(attended.pod), **said})

    def _known(self, attended: Attended) -> Host:
        """Of its network, what does not lie in its pod's namespace."""
        devices = {each.interface: each.pci for each in attended.pod.networks if each.pci}
        return Host(node=self._sync.place.node, bindings=self._sync.bindings, devices=devices)


def _sizes(raw: bytes) -> Mapping[str, str]:
    return claims.sizes(msgspec.json.decode(raw))
