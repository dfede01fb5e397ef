"""The display: a video card, and VNC on a unix socket that `virtctl vnc` ends at.

https://libvirt.org/formatdomain.html#graphical-framebuffers
https://libvirt.org/formatdomain.html#video-devices
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.traits import efi
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, PodPart, always

MODELS = {
    "amd64": ("vga", "cirrus", "virtio", "ramfb", "bochs"),
    "arm64": ("virtio", "ramfb"),
    "s390x": ("virtio",),
}

HANDS = {"arm64": (("tablet", "usb"), ("keyboard", "usb")), "s390x": (("keyboard", "virtio"),)}
"""What a display needs beside it where the machine has no PS/2."""


def attached(vmi: VMI) -> bool:
    """A display is there unless it was asked away."""
    return vmi.spec.domain.devices.autoattach_graphics_device is not False


def validate(part: VMI, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    video = vmi.spec.domain.devices.video
    if video is None:
        return
    if not attached(vmi):
        yield Cause(
            "spec.domain.devices.video",
            "spec.domain.devices.video needs a graphics device: "
            "autoattachGraphicsDevice must not be false",
        )
    models = MODELS.get(vmi.spec.architecture or "", ())
    if video.type and video.type not in models:
        yield Cause(
            "spec.domain.devices.video.type",
            f"spec.domain.devices.video.type {video.type!r} does not work on "
            f"{vmi.spec.architecture}; one of {', '.join(models)}",
            UNSUPPORTED,
        )


def pod(part: VMI, vmi: VMI, cluster: Cluster) -> PodPart:
    return PodPart(overhead=32 * 2**20 if attached(vmi) else 0)


def devices(part: VMI, vmi: VMI, facts: Guest) -> Iterable[Element]:
    if not attached(vmi):
        return
    socket = paths.vnc_socket(vmi.metadata.uid or "")
    listen = E("listen", type="socket", socket=socket)
    # Who may look together is decided where they come in, not by what their viewers ask for.
    yield E("graphics", listen, type="vnc", sharePolicy="ignore")
    given = vmi.spec.domain.devices.video
    architecture = vmi.spec.architecture or ""
    model = (given and given.type) or _usual(vmi)
    yield E("video", E("model", type=model, heads=1, vram=16384 if model == "vga" else None))
    yield from (E("input", type=kind, bus=bus) for kind, bus in HANDS.get(architecture, ()))


def _usual(vmi: VMI) -> str:
    if vmi.spec.architecture in ("arm64", "s390x"):
        return "virtio"
    return "bochs" if efi(vmi) else "vga"


FEATURE = Feature(
    name="graphics",
    owns=("domain.devices.autoattachGraphicsDevice", "domain.devices.video"),
    asked=always,
    validate=validate,
    pod=pod,
    devices=devices,
)
