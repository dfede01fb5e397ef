"""The demo guest with Debian's general kernel: the one for clouds has no driver of the igb card."""

from collections.abc import Sequence

from images import catalogue, layers, oci
from images import layout as images_layout
from images.guest import build as guest
from images.layers import Layer, Store
from localcluster.progress import Failed, step

PACKAGES: Sequence[str] = tuple(
    name.replace("linux-image-cloud-", "linux-image-") for name in guest.PACKAGES
)
DRIVERS = ("igbvf", "nvme")
WORK = images_layout.CACHE / "hostdev-guest"
FOLDER = images_layout.CACHE / "hostdev-guest-disk"


def image(store: Store) -> oci.Built:
    return oci.image("virtpod-hostdev-guest", (_layer(store),), oci.Settings())


def _layer(store: Store) -> Layer:
    what, key = "hostdev-guest", layers.hash_of(guest.key(), *PACKAGES, *DRIVERS)
    known = store.known(what, key)
    if known:
        return known
    with step("guest with drivers of network cards and NVMe disks"):
        try:
            guest.build(FOLDER / "disk", WORK, PACKAGES, DRIVERS)
        except guest.BuildFailed as error:
            raise Failed(str(error)) from error
        return store.add(
            what, key, lambda stream: layers.write(FOLDER, stream, owner=catalogue.QEMU)
        )
