"""The devices of this node that guests may have to themselves: looked for, offered, and watched.

sysfs tells nobody when it changes, so it is looked at every few seconds, and only where the
KubeVirt object permits a device at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from prometheus_client import Gauge

from virtpod.api.kubevirt import KubeVirt, PermittedHostDevices
from virtpod.features.gates import resolve
from virtpod.kube import errors
from virtpod.node import qat, sysfs
from virtpod.node.inotify import Inotify
from virtpod.node.offers import Inventory, Offer, Offers, Wanted, offers
from virtpod.node.plugin import Plugin

log = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two looks."""
GATE = "QAT"

UNITS = Gauge(
    "virtpod_host_devices",
    "Devices that this node offers to guests: what VFIO can give away alone.",
    ("resource", "health"),
)


class HostDevices:
    """`run()` it in a task. `tell` is given the complaints when they change, and until it took
    them; an empty tuple says that all is well."""

    def __init__(
        self,
        root: Path,
        dev: Path,
        folder: Path,
        inotify: Inotify,
        tell: Callable[[tuple[str, ...]], Awaitable[None]],
    ) -> None:
        self._sysfs = root
        self._dev = dev
        self._folder = folder
        self._inotify = inotify
        self._tell = tell
        self._wanted = Wanted()
        self._changed = asyncio.Event()
        self._plugins: dict[str, tuple[Plugin, asyncio.Task[None]]] = {}
        self._complaints: tuple[str, ...] = ()
        self._told: tuple[str, ...] = ()

    def configured(self, kubevirt: KubeVirt | None) -> None:
        """Its deletion changes nothing: the operator removes us then."""
        configuration = kubevirt and kubevirt.spec.configuration
        if configuration:
            permitted = configuration.permitted_host_devices or PermittedHostDevices()
            self._wanted = Wanted(permitted, qat=GATE in resolve(configuration))
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    if self._wanted or self._plugins:
                        self._offer(await asyncio.to_thread(self._look), tasks)
                        await self._report()
                    await self._pause()
        finally:
            self._plugins.clear()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(EVERY if self._wanted else None):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    def _look(self) -> Offers:
        """What is there now, and fit to be given away. Blocks."""
        functions = sysfs.functions(self._sysfs)
        inventory = Inventory(
            functions,
            qat.engines(self._sysfs, functions),
            sysfs.mediated(self._sysfs) if self._wanted.permitted.mediated_devices else (),
            sysfs.usb(self._sysfs) if self._wanted.permitted.usb else (),
            others_serve_qat=any(self._folder.glob("qat.intel.com-*.sock")),
        )
        found = offers(inventory, self._wanted)
        return replace(
            found, by_resource={name: self._present(o) for name, o in found.by_resource.items()}
        )

    def _present(self, offer: Offer) -> Offer:
        """What has no device node is not healthy."""
        pieces = {
            key: piece
            if all((self._dev / node.removeprefix("/dev/")).exists() for node in piece.nodes)
            else replace(piece, unit=replace(piece.unit, healthy=False))
            for key, piece in offer.pieces.items()
        }
        return replace(offer, pieces=pieces)

    def _offer(self, found: Offers, tasks: asyncio.TaskGroup) -> None:
        for resource, offer in found.by_resource.items():
            if resource not in self._plugins:
                plugin = Plugin(offer, self._folder, self._inotify)
                self._plugins[resource] = plugin, tasks.create_task(plugin.run())
            else:
                plugin, _ = self._plugins[resource]
                before, plugin.stock = plugin.stock, offer
                if before.units() != offer.units():
                    log.info("devices changed", extra={"resource": resource})
                    plugin.restocked()
            healthy = sum(unit.healthy for unit in offer.units())
            UNITS.labels(resource, "healthy").set(healthy)
            UNITS.labels(resource, "unhealthy").set(len(offer.pieces) - healthy)
        for resource in self._plugins.keys() - found.by_resource.keys():
            # Its socket goes with it, and the kubelet then counts none.
            _, task = self._plugins.pop(resource)
            task.cancel()
            for health in ("healthy", "unhealthy"):
                UNITS.remove(resource, health)
        self._complaints = found.complaints

    async def _report(self) -> None:
        if self._complaints == self._told:
            return
        try:
            await self._tell(self._complaints)
        except errors.ApiError as error:  # told at the next look
            log.warning("cannot tell about host devices", extra={"error": str(error)})
        else:
            self._told = self._complaints
