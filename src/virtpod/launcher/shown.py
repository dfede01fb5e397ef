"""What the XML of a running domain shows: its devices by the VMI's names of them.

https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from virtpod.launcher.hypervisor import PluggedCard, PluggedDevice, PluggedDisk
from virtpod.wire.messages import InterfaceSeen

OWN = "hostdevice-"
"""What the name of a device of the node begins with, where `hostDevices` asks for it."""


def described(xml: str) -> dict[str, Any]:
    """What the running domain tells of itself, in the fields of DomainChanged."""
    root = ElementTree.fromstring(xml)
    targets, empty, interfaces = {}, [], []
    for disk in root.iterfind("devices/disk"):
        name, target = alias(disk), disk.find("target")
        if name and target is not None:
            targets[name] = target.get("dev", "")
            if disk.get("device") == "cdrom" and not _source(disk):
                empty.append(name)
    for nic in root.iterfind("devices/interface"):
        name, mac = alias(nic), nic.find("mac")
        if name:
            address = mac.get("address", "") if mac is not None else ""
            interfaces.append(InterfaceSeen(name=name, mac=address, down=_is_down(nic)))
    machine = root.find("os/type")
    agent = root.find("devices/channel/target[@name='org.qemu.guest_agent.0']")
    return {
        "machine": machine.get("machine", "") if machine is not None else "",
        "target_devices": targets,
        "empty_drives": empty,
        "interfaces": interfaces,
        "host_devices": in_domain(root),
        "agent_connected": agent is not None and agent.get("state") == "connected",
    }


def in_domain(domain: ElementTree.Element) -> dict[str, str]:
    """The addresses of the guest's devices, as device plugins write them, by the names that their
    aliases tell (`features.devices.host_devices`)."""
    found = {}
    for device in domain.iterfind("devices/hostdev"):
        alias, source = device.find("alias"), device.find("source/address")
        name = alias.get("name", "") if alias is not None else ""
        for kind in ("ua-hostdevice-", "ua-gpu-"):
            if name.startswith(kind) and source is not None:
                found[name.removeprefix(kind)] = _written(source.attrib)
    return found


def _written(source: Mapping[str, str]) -> str:
    if "uuid" in source:
        return source["uuid"]
    if "domain" not in source:
        return f"{source.get('bus')}:{source.get('device')}"
    domain, bus, slot, function = (
        int(source.get(part, "0"), 16) for part in ("domain", "bus", "slot", "function")
    )
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def disks(xml: str) -> dict[str, PluggedDisk]:
    """By volume."""
    found = ElementTree.fromstring(xml).iterfind("devices/disk")
    return {name: _plugged(disk) for disk in found if (name := alias(disk))}


def cards(xml: str) -> dict[str, PluggedCard]:
    """By interface."""
    found = ElementTree.fromstring(xml).iterfind("devices/interface")
    return {name: _card(nic) for nic in found if (name := alias(nic))}


def devices(xml: str) -> dict[str, PluggedDevice]:
    """Of the node, by their names; further functions of one have numbers behind its name."""
    return {
        alias(each).removeprefix(OWN): PluggedDevice(ElementTree.tostring(each, encoding="unicode"))
        for each in ElementTree.fromstring(xml).iterfind("devices/hostdev")
        if alias(each).startswith(OWN)
    }


def places(xml: str) -> dict[str, str]:
    """PCI addresses (domain:bus:slot.function) of devices."""
    root, found = ElementTree.fromstring(xml), {}
    for device in root.iterfind("devices/*"):
        place = device.find("address[@type='pci']")
        if place is not None and (name := alias(device).removeprefix("sriov-")):
            at = [place.get(part, "0")[2:] for part in ("domain", "bus", "slot", "function")]
            found[name] = "{}:{}:{}.{}".format(*at)
    return found


def _plugged(disk: ElementTree.Element) -> PluggedDisk:
    target = disk.find("target")
    return PluggedDisk(
        "" if target is None else target.get("dev", ""),
        _source(disk),
        ElementTree.tostring(disk, encoding="unicode"),
        disk.get("device") == "cdrom",
    )


def _card(nic: ElementTree.Element) -> PluggedCard:
    return PluggedCard(_is_down(nic), ElementTree.tostring(nic, encoding="unicode"))


def _is_down(nic: ElementTree.Element) -> bool:
    link = nic.find("link")
    return link is not None and link.get("state") == "down"


def _source(disk: ElementTree.Element) -> str:
    """What QEMU opened, "" where nothing is in the drive."""
    source = disk.find("source")
    opened = {} if source is None else source.attrib
    return opened.get("file") or opened.get("dev") or ""


def alias(element: ElementTree.Element) -> str:
    """The VMI's name of a device; "" where it has none there."""
    found = element.find("alias")
    name = found.get("name", "") if found is not None else ""
    return name.removeprefix("ua-") if name.startswith("ua-") else ""
