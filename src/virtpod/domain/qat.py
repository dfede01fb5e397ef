"""Intel QuickAssist (QAT): the models that there are, and Intel's words for what they do.

https://docs.kernel.org/admin-guide/abi-testing.html (sysfs-driver-qat),
https://github.com/intel/intel-device-plugins-for-kubernetes/tree/main/cmd/qat_plugin
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

PREFIX = "qat.intel.com/"
GENERIC = "generic"
"""The service of functions that are not set up by service: those before generation 4."""
DENIED = {
    "8086:0435": "QAT DH895xCC",
    "8086:0443": "QAT DH895xCC",
    "8086:19e2": "QAT C3xxx",
    "8086:19e3": "QAT C3xxx",
    "8086:37c8": "QAT C62x",
    "8086:37c9": "QAT C62x",
    "8086:0b25": "DSA",
    "8086:0cfe": "IAA",
}
"""What vfio-pci refuses unless loaded with `disable_denylist=1`, other accelerators of Intel's
included: of Linux 5.9 and later, drivers/vfio/pci/vfio_pci.c."""
VFIO, VARIANT = "vfio-pci", "qat_vfio_pci"
"""Drivers that give a virtual function to a guest; the second can also move it to another node."""
SERVICES = ("sym", "asym", "dc", "dcc", "decomp")
"""In the order of resources' names."""
MOST_VFS = 64
"""Virtual functions that a physical one can have; the kernel knows how many one really has."""

RING_PAIRS = 4
"""Of a virtual function, from generation 4 on: function n has those from 4n on."""
LIMITED = ("sym", "asym", "dc", "decomp")
"""Services that ring pairs have, and with them rate limits."""


@dataclass(frozen=True)
class Model:
    name: str
    physical: str
    """vendor:product of its physical functions, `virtual` of its virtual ones."""
    virtual: str
    generation: int
    module: str = ""
    """Of Linux, that drives physical functions; empty: it has none, and Intel's is to be built."""
    migratable: bool = False
    """By the kernel's driver qat_vfio_pci."""

    @property
    def denied(self) -> bool:
        """vfio-pci does not take it unless told so."""
        return self.virtual in DENIED

    @property
    def by_service(self) -> bool:
        """Its services can be chosen, and its resource is named after them."""
        return self.generation >= 4

    @property
    def most_services(self) -> int:
        """That one device can have at a time."""
        return 3 if self.generation >= 6 else 2

    @property
    def services(self) -> tuple[str, ...]:
        """That it can be set up for."""
        if not self.by_service:
            return ()
        return SERVICES if self.generation >= 6 else SERVICES[:4]


MODELS = (
    Model("DH895xCC", "8086:0435", "8086:0443", 2, "qat_dh895xcc"),
    Model("C3xxx", "8086:19e2", "8086:19e3", 2, "qat_c3xxx"),
    Model("C62x", "8086:37c8", "8086:37c9", 2, "qat_c62x"),
    Model("D15xx", "8086:6f54", "8086:6f55", 2),
    Model("C4xxx", "8086:18a0", "8086:18a1", 3),
    Model("4xxx", "8086:4940", "8086:4941", 4, "qat_4xxx", migratable=True),
    Model("401xx", "8086:4942", "8086:4943", 4, "qat_4xxx", migratable=True),
    Model("402xx", "8086:4944", "8086:4945", 4, "qat_4xxx", migratable=True),
    Model("420xx", "8086:4946", "8086:4947", 4, "qat_420xx"),
    Model("6xxx", "8086:4948", "8086:4949", 6, "qat_6xxx", migratable=True),
)
PHYSICAL = {model.physical: model for model in MODELS}
VIRTUAL = {model.virtual: model for model in MODELS} | {"8086:0442": MODELS[0]}
"""By vendor:product."""


def service(services: Iterable[str]) -> str:
    """Intel's word for a set of services."""
    chosen = set(services)
    if chosen == {"sym", "asym"}:
        return "cy"
    order = {name: index for index, name in enumerate(SERVICES)}
    return "-".join(sorted(chosen, key=lambda name: (order.get(name, len(order)), name))) or GENERIC


def setting(services: Iterable[str]) -> str:
    """What `qat/cfg_services` is to hold."""
    order = {name: index for index, name in enumerate(SERVICES)}
    return ";".join(sorted(set(services), key=lambda name: order.get(name, len(order))))


def unfit(services: Iterable[str], model: Model | None = None) -> str:
    """Why no device, or none of that model, can be set up for these services; empty: it can."""
    chosen = list(services)
    if strange := [name for name in chosen if name not in SERVICES]:
        return f"service {strange[0]!r} is not known; one of {', '.join(SERVICES)}"
    if len(set(chosen)) < len(chosen):
        return "each service can be named once"
    if model is not None and not model.by_service:
        return f"{model.name} has no services to choose; leave services out"
    if model is not None and (lacks := [each for each in chosen if each not in model.services]):
        return f"{model.name} does not know {lacks[0]}; one of {', '.join(model.services)}"
    most = model.most_services if model else MODELS[-1].most_services
    if len(chosen) > most:
        whose = model.name if model else "a device"
        return f"{whose} can have {most} services at a time, not {len(chosen)}"
    if "dcc" in chosen and len(chosen) > 1:
        return "dcc stands alone: it is compression and hashing in one"
    return ""
