"""The devices that every guest needs: /dev/kvm, /dev/net/tun and /dev/vhost-net.

Any number of pods may use such a device, so each is offered many times over. It is offered always
and healthy only while the node has it: a node that loses its device takes no more guests, and one
that gains it needs nobody to restart anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from virtpod.api.kubevirt import KubeVirt
from virtpod.domain import paths
from virtpod.node.devices.plugin import PREFIX, Grant, Plugin, Unit
from virtpod.node.inotify import Inotify

log = logging.getLogger(__name__)

COUNT = 1000


@dataclass(frozen=True)
class Device:
    """A device that pods ask for as devices.kubevirt.io/<name>."""

    name: str
    path: str
    """Below /dev, or below the folder."""
    folder: str = ""
    """Of a socket instead: containers get the folder that it is in."""

    @property
    def resource(self) -> str:
        return f"{PREFIX}{self.name}"

    @property
    def node(self) -> str:
        return f"/dev/{self.path}"


DEVICES = (Device("kvm", "kvm"), Device("tun", "net/tun"), Device("vhost-net", "vhost-net"))
VSOCK = Device("vhost-vsock", "vhost-vsock")
RESERVATIONS = Device("pr-helper", Path(paths.PR_HELPER_SOCKET).name, paths.PR_HELPER)
"""qemu-pr-helper, which makes SCSI reservations for guests; it is beside us where it is wanted."""


class Shared:
    """The stock of a device that many use at once, and its plugin. `run()` it in a task."""

    def __init__(
        self,
        device: Device,
        folder: Path,
        dev: Path,
        inotify: Inotify,
        changed: Callable[[], None] = lambda: None,
        count: int = COUNT,
    ) -> None:
        self.device = device
        self._dev = dev
        self._inotify = inotify
        self._count = count
        self._healthy = self._exists()
        self._plugin = Plugin(self, folder, inotify, changed)

    @property
    def registered(self) -> bool:
        """Whether the kubelet has its plugin."""
        return self._plugin.registered

    def configured(self, kubevirt: KubeVirt | None) -> None:
        """Takes in how many guests a node may have; a CR that is gone changes nothing."""
        if kubevirt is None:
            return
        config = kubevirt.spec.configuration
        count = (config and config.virtual_machine_instances_per_node) or COUNT
        if count != self._count:
            self._count = count
            self._plugin.restocked()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._plugin.run())

    # As a stock

    particular = False

    @property
    def resource(self) -> str:
        return self.device.resource

    def units(self) -> Sequence[Unit]:
        return [Unit(f"{self.device.name}{number}", self._healthy) for number in range(self._count)]

    def grant(self, ids: Sequence[str]) -> Grant:
        if folder := self.device.folder:
            return Grant(folders=(folder,))
        return Grant((self.device.node,))

    def prefer(self, available: Sequence[str], needed: Sequence[str], count: int) -> list[str]:
        return []

    # The device

    def _exists(self) -> bool:
        return (self._dev / self.device.path).exists()

    async def _follow(self) -> None:
        while True:
            async with contextlib.AsyncExitStack() as stack:
                # The parent may come and go as well, so everything down to it is watched.
                folder, changes = self._dev, []
                for part in self.device.path.split("/"):
                    try:
                        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                    except (FileNotFoundError, NotADirectoryError):
                        break
                    stack.callback(os.close, opened)
                    watch = await stack.enter_async_context(self._inotify.watch(opened))
                    changes.append(asyncio.ensure_future(watch.changed()))
                    stack.callback(changes[-1].cancel)
                    folder = folder / part
                self._set_health(self._exists())
                if not changes:
                    return  # no /dev of the node is to be seen
                await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)

    def _set_health(self, healthy: bool) -> None:
        if healthy == self._healthy:
            return
        self._healthy = healthy
        log.info("device changed", extra={"device": self.device.node, "there": healthy})
        self._plugin.restocked()
