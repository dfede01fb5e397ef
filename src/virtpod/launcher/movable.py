"""Whether the devices that a guest is about to have can move with it: asked of each before QEMU
opens it, for nobody else can then.

The kernel says it of a VFIO device (VFIO_DEVICE_FEATURE_MIGRATION). One that cannot be opened is
known by its driver.
https://docs.kernel.org/driver-api/vfio.html, include/uapi/linux/vfio.h
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from virtpod.domain import moving
from virtpod.launcher.given import physical
from virtpod.wire.messages import OwnDevice

VFIO_TYPE1 = 1
SET_IOMMU, SET_CONTAINER, UNSET_CONTAINER = 0x3B66, 0x3B68, 0x3B69
GET_DEVICE, FEATURE = 0x3B6A, 0x3B75
"""Requests: _IO(';', 100 + n)."""
GET = 1 << 16
MIGRATION = 1
STOP_COPY = 1 << 0
"""The least of what a device that moves can do."""
PREFIXES = ("ua-hostdevice-", "ua-gpu-", "ua-sriov-")
LARGEST = 256
"""Bytes of an attribute that are read."""

Ioctl = Callable[[int, int, int | bytes | bytearray], Any]


def _ioctl(file: int, request: int, argument: int | bytes | bytearray) -> Any:
    return fcntl.ioctl(file, request, argument)


def devices(
    domain: str,
    sysfs: Path = Path("/sys"),
    dev: Path = Path("/dev"),
    ioctl: Ioctl = _ioctl,
) -> tuple[OwnDevice, ...]:
    """Those of a domain's XML, in its order."""
    return tuple(_seen(ElementTree.fromstring(domain), sysfs, dev, ioctl))


def _seen(domain: ElementTree.Element, sysfs: Path, dev: Path, ioctl: Ioctl) -> Iterator[OwnDevice]:
    for each in domain.iterfind("devices/hostdev"):
        alias, address = each.find("alias"), each.find("source/address")
        name = alias.get("name", "") if alias is not None else ""
        for prefix in PREFIXES:
            name = name.removeprefix(prefix)
        kind = each.get("type", "")
        if address is None:
            continue
        if kind == "mdev":
            uuid = address.get("uuid", "")
            folder = sysfs / "bus/mdev/devices" / uuid
            moves = bool(_asked(folder, uuid, dev, ioctl))
            yield OwnDevice(name=name, kind=kind, address=uuid, moves=moves)
        elif kind == "pci":
            yield _function(name, _address(address), sysfs, dev, ioctl)
        else:
            yield OwnDevice(name=name, kind=kind)


def _function(name: str, address: str, sysfs: Path, dev: Path, ioctl: Ioctl) -> OwnDevice:
    folder = sysfs / "bus/pci/devices" / address
    driver = _target(folder / "driver")
    said = _asked(folder, address, dev, ioctl)
    identity = [_text(folder / each).removeprefix("0x") for each in ("vendor", "device")]
    services = sysfs / "bus/pci/devices" / (physical(address, sysfs) or address)
    return OwnDevice(
        name=name,
        kind="pci",
        address=address,
        id=":".join(identity) if all(identity) else "",
        driver=driver,
        services=_text(services / "qat/cfg_services"),
        moves=moving.saves(driver) if said is None else said,
    )


def _asked(folder: Path, name: str, dev: Path, ioctl: Ioctl) -> bool | None:
    """What the kernel says; None where the device cannot be opened."""
    group = _target(folder / "iommu_group")
    if not group:
        return None
    with ExitStack() as stack:
        try:
            container = os.open(dev / "vfio/vfio", os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, container)
            opened = os.open(dev / "vfio" / group, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, opened)
            ioctl(opened, SET_CONTAINER, struct.pack("i", container))
            stack.callback(_quietly, ioctl, opened)
            ioctl(container, SET_IOMMU, VFIO_TYPE1)
            # Of a buffer that may be changed, and of no other, Python hands back the answer.
            device = ioctl(opened, GET_DEVICE, bytearray(name.encode() + b"\0"))
            stack.callback(os.close, device)
            return _moves(device, ioctl)
        except OSError:
            return None


def _moves(device: int, ioctl: Ioctl) -> bool:
    size = struct.calcsize("IIQ")
    asked = bytearray(struct.pack("IIQ", size, GET | MIGRATION, 0))
    try:
        ioctl(device, FEATURE, asked)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            return False  # a driver, or a kernel, that knows of no migration
        raise
    return bool(struct.unpack("IIQ", asked)[2] & STOP_COPY)


def _quietly(ioctl: Ioctl, group: int) -> None:
    with suppress(OSError):
        ioctl(group, UNSET_CONTAINER, 0)


def _address(element: ElementTree.Element) -> str:
    names = ("domain", "bus", "slot", "function")
    parts = [element.get(each, "0x0").removeprefix("0x") for each in names]
    return f"{parts[0]:0>4}:{parts[1]:0>2}:{parts[2]:0>2}.{parts[3]}"


def _target(link: Path) -> str:
    try:
        return link.readlink().name
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST).decode("ascii", "replace").strip()
    except OSError:
        return ""
