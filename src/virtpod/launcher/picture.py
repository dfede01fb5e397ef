"""A picture of the guest's screen, for those who want to see it without a viewer.

https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainScreenshot
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import libvirt
import libvirt_qemu
import msgspec

from virtpod.launcher.hypervisor import Refused

LARGEST = 5 * 2**20
"""Bytes: what a message to virt-handler has room for."""


def taken(connection: Any, domain: Any, *, wake: bool) -> bytes:
    """The first display as PNG. Blocks. Raises Refused, libvirtError."""
    if wake:
        _move_pointer(domain)
    picture = bytearray()

    def take(_stream: Any, data: bytes, _: object) -> int:
        picture.extend(data)
        return -1 if len(picture) > LARGEST else 0

    stream = connection.newStream()
    kind = domain.screenshot(stream, 0)
    stream.recvAll(take, None)
    stream.finish()
    if kind != "image/png":
        raise Refused(f"QEMU tells its screen as {kind}, not as image/png")
    return bytes(picture)


def _move_pointer(domain: Any) -> None:
    """By next to nothing. The machine may have a tablet, a mouse, or neither."""
    for kind in ("abs", "rel"):
        moves = [{"type": kind, "data": {"axis": axis, "value": 1}} for axis in "xy"]
        command = {"execute": "input-send-event", "arguments": {"events": moves}}
        with suppress(libvirt.libvirtError):
            libvirt_qemu.qemuMonitorCommand(domain, msgspec.json.encode(command).decode(), 0)
