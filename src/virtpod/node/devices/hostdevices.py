"""Devices of this node that guests may have to themselves: looked for, set up, offered, watched.

sysfs tells nobody when it changes, so it is looked at every few seconds, and only where the
KubeVirt object permits a device at all, or a guest has one, whoever gave it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from virtpod.api.kubevirt import KubeVirt, KubeVirtConfiguration, PermittedHostDevices
from virtpod.api.qat import QATNodePolicy
from virtpod.features.gates import resolve
from virtpod.node.devices import health, holders, qat, sysfs
from virtpod.node.devices.health import Fault
from virtpod.node.devices.holders import Held
from virtpod.node.devices.look import Look, present
from virtpod.node.devices.offers import Inventory, Offers, Wanted, offers
from virtpod.node.devices.outfit import Outcome, Outfitter
from virtpod.node.devices.plugin import Plugin
from virtpod.node.inotify import Inotify

log = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two looks."""
SOON = 1.0
"""The same while a device waits to be set up."""
GATE = "QAT"
CAP_SYS_RESOURCE = 24
INTEL = "qat.intel.com"


@dataclass(frozen=True)
class Folders:
    """Of the node, as this process sees them."""

    sysfs: Path
    dev: Path
    device_plugins: Path
    """The kubelet's sockets of device plugins."""
    pod_resources: Path
    """The socket by which it tells who has which device."""
    plugins: Path
    """Those of drivers of resource claims."""
    proc: Path = Path("/proc")


class Listener(Protocol):
    """Who is told."""

    def node(self) -> Mapping[str, str] | None:
        """The node's labels; None: not known yet."""

    def policies(self) -> Iterable[QATNodePolicy] | None:
        """None: not known yet."""

    async def looked(self, look: Look) -> bool:
        """After each look. False: not all could be told, and it must be looked again."""


class HostDevices:
    """`run()` it in a task; `look` is what was seen last. `guests`: whether one here has devices
    of the node; `leaving`: the uuids of mediated devices that are about to be removed; `owner`: the
    VMI of a pod, by namespace and name, empty where it is no guest's."""

    def __init__(
        self,
        folders: Folders,
        inotify: Inotify,
        listener: Listener,
        guests: Callable[[], bool] = lambda: False,
        leaving: Callable[[], frozenset[str]] = frozenset,
        owner: Callable[[str, str], str] = lambda _namespace, pod: pod,
    ) -> None:
        self._folders = folders
        self._inotify = inotify
        self._listener = listener
        self._guests = guests
        self._leaving = leaving
        self._owner = owner
        self._wanted = Wanted()
        self._settled: bool | None = None
        """All is told of what the KubeVirt object says now; None: what it says is not known."""
        self._changed = asyncio.Event()
        self._plugins: dict[str, tuple[Plugin, asyncio.Task[None]]] = {}
        self._outfitter = Outfitter(folders.sysfs, folders.proc)
        self._errors = health.Watch()
        self._touched: frozenset[str] = frozenset()
        self._held: tuple[Held, ...] = ()
        """As the kubelet told last."""
        self.look = Look()

    def configured(self, kubevirt: KubeVirt | None) -> None:
        """Its deletion changes nothing: the operator removes us then."""
        if kubevirt is None:
            return
        configuration = kubevirt.spec.configuration or KubeVirtConfiguration()
        permitted = configuration.permitted_host_devices or PermittedHostDevices()
        self._wanted = Wanted(permitted, qat=GATE in resolve(configuration))
        self._settled = False
        self._changed.set()

    def wake(self) -> None:
        """Looks again at once."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    concerned = bool(self._wanted) or self._guests()
                    if self._settled is not None and (concerned or not self._settled):
                        self._settled = True
                        if concerned:
                            self.look = await self._seen()
                        else:
                            self.look, self._touched = Look(), frozenset()
                        self._offer(self.look.offers, tasks)
                        if not await self._listener.looked(self.look):
                            self._settled = False
                    await self._pause()
        finally:
            self._plugins.clear()

    async def _pause(self) -> None:
        every = SOON if self._touched else EVERY
        try:
            async with asyncio.timeout(every):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def _seen(self) -> Look:
        held = await holders.of_pods(self._folders.pod_resources)
        if held is not None:
            self._held = held
        found = await asyncio.to_thread(self._look, held)
        pods = {(each.namespace, each.pod) for each in held or ()}
        return replace(found, strangers=frozenset(pod for pod in pods if not self._owner(*pod)))

    def _look(self, held: tuple[Held, ...] | None) -> Look:
        """What is there now, and fit to be given away. Blocks."""
        root, now = self._folders.sysfs, time.monotonic()
        others = _others(self._folders, held)
        if self._wanted.qat and not others:
            outcome = self._set_up(held, now)
        else:
            functions = sysfs.functions(root)
            outcome = Outcome(functions, qat.engines(root, functions))
        self._touched = outcome.touched
        permitted = self._wanted.permitted
        inventory = Inventory(
            outcome.functions,
            outcome.engines,
            sysfs.mediated(root) if permitted.mediated_devices else (),
            sysfs.usb(root) if permitted.usb else (),
            others_serve_qat=others,
            faults=self._faults(outcome, now),
            touched=outcome.touched | self._leaving().difference(each.id for each in held or ()),
            allocation=outcome.allocation,
            locks=_may_raise_limits(self._folders.proc),
            held={each.address or each.id: each.resource for each in self._held},
        )
        found = offers(inventory, self._wanted)
        return Look(
            inventory,
            present(found, self._there(found)),
            held,
            outcome.policies,
            outcome.rounds,
            (*self._refusals(), *(_unknown(held) if outcome.rounds else ())),
        )

    def _refusals(self) -> tuple[str, ...]:
        """Why the kubelet does not take what was offered at the look before."""
        plugins = (plugin for _, (plugin, _) in sorted(self._plugins.items()))
        return tuple(plugin.refusal for plugin in plugins if plugin.refusal)

    def _set_up(self, held: tuple[Held, ...] | None, now: float) -> Outcome:
        labels, policies = self._listener.node(), self._listener.policies()
        known = labels is not None and policies is not None
        seen = Look(self.look.inventory, self.look.offers, held).holders
        by_address = {address: f"pod {'/'.join(pod)}" for address, pod in seen.items()}
        return self._outfitter.advance(
            policies or () if known else (),
            labels or {},
            None if held is None else by_address,
            self.look.offered,
            now,
        )

    def _faults(self, outcome: Outcome, now: float) -> dict[str, Fault]:
        """Of AER, of QAT devices and of functions that may be given away."""
        watched = {address: engine.errors for address, engine in outcome.engines.items()}
        for address, function in outcome.functions.items():
            if function.vfio:
                watched[address] = sysfs.errors(self._folders.sysfs, address)
        found = {address: self._errors.seen(address, e, now) for address, e in watched.items()}
        return {address: fault for address, fault in found.items() if fault}

    def _there(self, found: Offers) -> frozenset[str]:
        """The device nodes that are there."""
        nodes = {
            node
            for offer in found.by_resource.values()
            for piece in offer.pieces.values()
            for node in piece.nodes
        }
        dev = self._folders.dev
        return frozenset(node for node in nodes if (dev / node.removeprefix("/dev/")).exists())

    def _offer(self, found: Offers, tasks: asyncio.TaskGroup) -> None:
        for resource, offer in found.by_resource.items():
            if resource not in self._plugins:
                plugin = Plugin(offer, self._folders.device_plugins, self._inotify)
                self._plugins[resource] = plugin, tasks.create_task(plugin.run())
            else:
                plugin, _ = self._plugins[resource]
                before, plugin.stock = plugin.stock, offer
                if before.units() != offer.units():
                    log.info("devices changed", extra={"resource": resource})
                    plugin.restocked()
        for resource in self._plugins.keys() - found.by_resource.keys():
            # Its socket goes with it, and the kubelet then counts none.
            _, task = self._plugins.pop(resource)
            task.cancel()


def _others(folders: Folders, held: Iterable[Held] | None) -> str:
    """Who else serves QAT on this node."""
    if sockets := sorted(folders.device_plugins.glob(f"{INTEL}-*.sock")):
        why = "Intel's names its sockets so"
        if all(map(_left_over, sockets)):
            why = f"nobody answers at {sockets[0]}: delete it if the plugin is gone"
        return f"Another device plugin ({why})"
    claimed = any(each.claimed and each.resource == INTEL for each in held or ())
    if claimed or any(folders.plugins.glob(f"{INTEL}*.sock")):
        return f"A driver of resource claims ({INTEL})"
    return ""


def _left_over(path: Path) -> bool:
    """Whether nobody listens at the socket: a plugin that is killed leaves it behind."""
    with socket.socket(socket.AF_UNIX) as tried:
        tried.settimeout(1)
        try:
            tried.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _unknown(held: Iterable[Held] | None) -> tuple[str, ...]:
    if held is not None:
        return ()
    return (
        "The kubelet does not tell who has which device (its pod-resources socket does not "
        "answer): no device is set up anew",
    )


def _may_raise_limits(proc: Path) -> bool:
    """Whether this process may let others lock memory without bound."""
    for line in sysfs.text(proc / "self/status").splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> CAP_SYS_RESOURCE & 1)
    return True
