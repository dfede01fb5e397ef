"""From a VMI to a running guest: collect the facts, make what it needs, start it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec

from virtpod.api.traits import starts_paused
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain import paths
from virtpod.domain.facts import DeviceMissing, DiskImage, Guest, GuestLink
from virtpod.features.devices import downward_metrics, serial_log
from virtpod.features.disks import access, claim, host_disk, hotplugged, shown
from virtpod.features.disks.cloud_init import described, tells_places
from virtpod.features.machine import numa
from virtpod.launcher import allotted, blocks, claims, growth, hotplug, images
from virtpod.launcher.given import given
from virtpod.launcher.hooks import HookFailed, Hooks
from virtpod.launcher.hypervisor import Hypervisor, Refused, StartFailed
from virtpod.launcher.log import log
from virtpod.launcher.processes import ToolFailed
from virtpod.launcher.steps import Steps
from virtpod.render.boot import boot
from virtpod.render.domain import domain
from virtpod.wire.messages import Sync

SECRET_LIMIT = 1024 * 1024
"""Bytes of one key of a secret: Kubernetes lets none be larger."""

LOCKED = re.compile(r'Failed to get "[a-z ]+" lock.*?\[(/[^]]*)\]', re.DOTALL)
"""QEMU's words where another process has the image open. Its messages are not translated."""
SOCKETS = "Can't open enough sockets"
"""passt's words where it may not have a file open for each port that it is to forward."""


class Boot:
    """Starts the guest, once."""

    def __init__(self, hypervisor: Hypervisor, steps: Steps, side_cars: int = 0) -> None:
        self._hypervisor = hypervisor
        self._steps = steps
        self._hooks = Hooks(side_cars) if side_cars else None
        self._opened: dict[str, DiskImage] = {}
        self._resolved: dict[str, str] = {}
        self._lock = asyncio.Lock()

    async def sync(self, request: Sync) -> None:
        """Makes the guest run, unless it has. Raises StartFailed."""
        async with self._lock:
            vmi = msgspec.json.decode(request.vmi, type=VirtualMachineInstance)
            if self._hypervisor.last is not None:
                if request.cards:
                    from virtpod.launcher import nics  # few guests' change

                    await nics.sync(vmi, self._links(request), self._hypervisor, self._steps)
                if request.plugged or request.unplugged:
                    from virtpod.launcher import plug  # few guests' change

                    await plug.sync(vmi, request, self._hypervisor)
                if request.hotplugged is not None:
                    await hotplug.sync(vmi, request.hotplugged, self._hypervisor, self._steps)
                await growth.sync(vmi, self._hypervisor)
                return
            try:
                facts = await self._probe(vmi, request)
                if tells_places(vmi) and not await self._hypervisor.exists():
                    places = await self._hypervisor.places(domain(vmi, facts))
                    facts = replace(facts, places=places)
                if self._hooks:
                    await self._hooks.collect()
                    facts = await _read_by_side_cars(vmi, facts, request, self._hooks)
                steps = boot(vmi, facts)
                await self._steps.perform(steps)
                log("guest prepared", steps=len(steps))
                if vmi.spec.access_credentials:
                    self._entrust(vmi)
                if not await self._hypervisor.exists():
                    Path(paths.PRIVATE, vmi.metadata.uid or "").mkdir(exist_ok=True)
                    xml = domain(vmi, facts)
                    if self._hooks:
                        xml = await self._hooks.define_domain(xml, bytes(request.vmi))
                    if "<hostdev" in xml:
                        from virtpod.launcher import movable  # few guests have any

                        own = await asyncio.to_thread(movable.devices, xml)
                        self._hypervisor.owns(own)
                        log("devices of the node", devices=[msgspec.to_builtins(d) for d in own])
                    await self._hypervisor.create(xml, paused=starts_paused(vmi))
                self._tell(vmi)
            except images.ImageInvalid as error:
                raise StartFailed(error.reason, str(error), final=True) from None
            except Refused as error:
                if locked := LOCKED.search(str(error)):
                    raise StartFailed("VolumeInUse", _in_use(vmi, locked[1]), final=False) from None
                if SOCKETS in str(error):
                    raise StartFailed("DomainRefused", _too_many_ports(), final=False) from None
                raise StartFailed("DomainRefused", str(error), final=False) from None
            except HookFailed as error:
                raise StartFailed("HookFailed", str(error), final=False) from None
            except DeviceMissing as error:
                raise StartFailed("HostDeviceMissing", str(error), final=False) from None
            except (OSError, ToolFailed) as error:
                raise StartFailed("PreparationFailed", str(error), final=False) from None

    async def farewell(self) -> None:
        """The guest is gone, and the launcher is about to go."""
        if self._hooks:
            await self._hooks.shutdown()

    def _tell(self, vmi: VirtualMachineInstance) -> None:
        """Starts what goes on beside the guest: its log is kept short, its metrics are told."""
        if serial_log.asked(vmi):
            from virtpod.launcher.trim import trim

            self._steps.keep("serial log", partial(trim, paths.serial_log(vmi.metadata.uid or "")))
        if not downward_metrics.asked(vmi):
            return
        from virtpod.launcher.downward import Downward

        disk = paths.METRICS_DISK if downward_metrics.volumes(vmi) else ""
        channel = downward_metrics.channel(vmi)
        socket = paths.metrics_socket(vmi.metadata.uid or "") if channel else ""
        node = os.environ.get(paths.NODE_ENV, "")
        self._steps.keep("metrics", Downward(self._hypervisor, node, disk, socket).run)

    async def _probe(self, vmi: VirtualMachineInstance, request: Sync) -> Guest:
        """What the renderers must know and only this container can tell."""
        found = await self._images(vmi)
        return replace(
            self._links(request),
            images=found,
            blocks=blocks.of(vmi, _places(vmi, found)),
            secrets=_mounted(Path(paths.SECRETS)),
            files=_mounted(Path(paths.CONFIGS)),
            direct_io=_direct_io(Path(paths.EPHEMERAL)),
            tolerance=claims.tolerance(),
            mounts=_mounts(vmi),
            given=given(_resources(vmi), os.environ),
            claimed=allotted.devices(vmi, request.allotted),
            resolved=self._kernel(vmi),
            cpus=tuple(sorted(os.sched_getaffinity(0))),
            nodes=numa_nodes() if numa.asked(vmi) else {},
            smbios=json.loads(os.environ.get(paths.SMBIOS_ENV) or "{}"),
            balloon_period=_number(paths.BALLOON_ENV, Guest.balloon_period),
            free_page_reporting=paths.KEEPS_PAGES_ENV not in os.environ,
        )

    def _links(self, request: Sync) -> Guest:
        """What is known of its network, and of nothing else."""
        servers, searches = resolver(Path("/etc/resolv.conf").read_text())
        return Guest(
            emulation=request.emulation,
            links={
                link.name: GuestLink(
                    link.tap,
                    link.bridge,
                    link.mtu,
                    link.mac,
                    link.addresses,
                    link.routes,
                    link.pci,
                    link.device,
                )
                for link in request.links
            },
            nameservers=servers,
            searches=searches,
        )

    def _entrust(self, vmi: VirtualMachineInstance) -> None:
        from virtpod.launcher.credentials import entrusted

        self._hypervisor.entrust(entrusted(vmi))

    def _kernel(self, vmi: VirtualMachineInstance) -> dict[str, str]:
        """Kernel and initrd of a kernelBoot; found once: what is open keeps its name."""
        firmware = vmi.spec.domain.firmware
        container = firmware and firmware.kernel_boot and firmware.kernel_boot.container
        if container and not self._resolved:
            for what, path in (
                ("kernel", container.kernel_path),
                ("initrd", container.initrd_path),
            ):
                if path:
                    self._resolved[what] = images.kernel(path, what)
        return self._resolved

    async def _images(self, vmi: VirtualMachineInstance) -> dict[str, DiskImage]:
        found = {}
        for index, volume in enumerate(vmi.spec.volumes or ()):
            if volume.container_disk:
                # Once: what was made over it in an earlier try names this descriptor.
                if volume.name not in self._opened:
                    self._opened[volume.name] = await images.container_disk(
                        index, volume.name, volume.container_disk.path
                    )
                found[volume.name] = self._opened[volume.name]
            elif disk := volume.host_disk:
                found[volume.name] = claims.look_at_host(
                    volume.name,
                    os.path.basename(disk.path),
                    made=disk.type == host_disk.MADE,
                    read_only=access(vmi, volume) == "reads",
                )
            elif hotplugged(volume) or volume.name in shown(vmi):
                continue  # plugged in when the guest runs; or no disk at all
            elif claim(volume):
                read_only = access(vmi, volume) == "reads"
                found[volume.name] = claims.look(volume.name, read_only=read_only)
        return found


async def _read_by_side_cars(
    vmi: VirtualMachineInstance, facts: Guest, request: Sync, hooks: Hooks
) -> Guest:
    """What cloud-init is to read, by volume, as the hook side-cars want it."""
    told = {
        volume: await hooks.cloud_init(told, bytes(request.vmi))
        for volume, told in described(vmi, facts)
    }
    return replace(facts, cloud_init=told)


def _places(vmi: VirtualMachineInstance, found: Mapping[str, DiskImage]) -> dict[str, str]:
    """What is below each disk: its own image, or the folder that all that goes with the pod is
    in."""
    places = {}
    for volume in vmi.spec.volumes or ():
        places[volume.name] = paths.EMPTY_DISKS if volume.empty_disk else paths.EPHEMERAL
        if volume.name in found and not (volume.container_disk or volume.ephemeral):
            places[volume.name] = found[volume.name].path
    return places


def _resources(vmi: VirtualMachineInstance) -> list[str]:
    """The resources of the node's devices that the guest is to have."""
    devices = [*(vmi.spec.domain.devices.gpus or ()), *(vmi.spec.domain.devices.host_devices or ())]
    return [device.device_name for device in devices if device.device_name]


def numa_nodes(folder: Path = Path("/sys/devices/system/node")) -> dict[int, tuple[int, ...]]:
    """The machine's NUMA nodes and their CPUs, as the kernel lists them; empty where it has none.

    https://docs.kernel.org/admin-guide/mm/numaperf.html
    """
    return {
        int(node.name.removeprefix("node")): cpu_list((node / "cpulist").read_text())
        for node in folder.glob("node[0-9]*")
    }


def cpu_list(text: str) -> tuple[int, ...]:
    """The CPUs of "0-3,8"."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def resolver(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name servers and search domains of a resolv.conf."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["nameserver"]:
            servers += words[1:2]
        elif words[:1] == ["search"]:
            searches = tuple(words[1:])
    return tuple(servers), searches


def _too_many_ports() -> str:
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"passt cannot listen on all ports that it is to forward: it may have {limit} files open, "
        "and needs one for each port and protocol; list the ports that are wanted in the "
        "interface's ports or portRanges, or raise the limit of the node's container runtime"
    )


def _number(variable: str, usual: int) -> int:
    told = os.environ.get(variable, "")
    return int(told) if told.isdecimal() else usual


def _in_use(vmi: VirtualMachineInstance, path: str) -> str:
    """Which volume a locked image is of."""
    for volume in vmi.spec.volumes or ():
        if volume.host_disk and os.path.dirname(path) == paths.claim_folder(volume.name):
            return f"another process has {volume.host_disk.path} of volume {volume.name} open"
        if path in (paths.claim_disk(volume.name), paths.claim_device(volume.name)):
            return (
                f"PVC {vmi.metadata.namespace}/{claim(volume)} is in use: "
                f"another process has the disk of volume {volume.name} open"
            )
    return f"another process has {path} open"


def _mounts(vmi: VirtualMachineInstance) -> tuple[str, ...]:
    if not any(volume.container_path for volume in vmi.spec.volumes or ()):
        return ()
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return tuple(line.split(" ")[4] for line in lines)


def _mounted(folder: Path) -> dict[str, dict[str, bytes]]:
    """The files of each volume that the kubelet has mounted in the folder. It keeps them in a
    folder of their own, `..data`, which it exchanges as a whole."""
    if not folder.is_dir():
        return {}
    found: dict[str, dict[str, bytes]] = {}
    for volume in folder.iterdir():
        content = volume / "..data" if (volume / "..data").is_dir() else volume
        found[volume.name] = {
            str(file.relative_to(content)): _read(file)
            for file in content.rglob("*")
            if file.is_file()
        }
    return found


def _read(file: Path) -> bytes:
    """Raises StartFailed where it is more than Kubernetes lets be: nothing is cut off."""
    with file.open("rb") as opened:
        content = opened.read(SECRET_LIMIT + 1)
    if len(content) > SECRET_LIMIT:
        raise StartFailed("PreparationFailed", f"{file} is larger than 1 MiB", final=False)
    return content


def _direct_io(folder: Path) -> bool:
    """Whether files there can be opened past the page cache."""
    probe = folder / ".direct"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_DIRECT, 0o600))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True
