"""Intel QuickAssist (QAT): which functions are QAT, and what service each virtual one gives.

A virtual function does what its physical one is set up for, so it is offered under that service's
name: the same names as Intel's own device plugin has, so that manifests fit both.

https://docs.kernel.org/admin-guide/abi-testing.html (sysfs-driver-qat, debugfs-driver-qat),
https://github.com/intel/intel-device-plugins-for-kubernetes/tree/main/cmd/qat_plugin
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from virtpod.node.sysfs import Function, text

PREFIX = "qat.intel.com/"
GENERIC = "generic"
"""The service of functions that are not set up by service: those before generation 4."""


@dataclass(frozen=True)
class Model:
    name: str
    physical: str
    """vendor:product of its physical functions, `virtual` of its virtual ones."""
    virtual: str
    generation: int
    migratable: bool = False
    """By the kernel's driver qat_vfio_pci."""

    @property
    def denied(self) -> bool:
        """vfio-pci does not take it unless told `disable_denylist=1` (Linux 5.9 and later)."""
        return self.generation < 4


MODELS = (
    Model("DH895xCC", "8086:0435", "8086:0443", 2),
    Model("C3xxx", "8086:19e2", "8086:19e3", 2),
    Model("C62x", "8086:37c8", "8086:37c9", 2),
    Model("D15xx", "8086:6f54", "8086:6f55", 2),
    Model("C4xxx", "8086:18a0", "8086:18a1", 3),
    Model("4xxx", "8086:4940", "8086:4941", 4, migratable=True),
    Model("401xx", "8086:4942", "8086:4943", 4, migratable=True),
    Model("402xx", "8086:4944", "8086:4945", 4, migratable=True),
    Model("420xx", "8086:4946", "8086:4947", 4),
    Model("6xxx", "8086:4948", "8086:4949", 6, migratable=True),
)
PHYSICAL = {model.physical: model for model in MODELS}
VIRTUAL = {model.virtual: model for model in MODELS} | {"8086:0442": MODELS[0]}
"""By vendor:product."""


@dataclass(frozen=True)
class Engine:
    """A physical function."""

    function: Function
    model: Model
    up: bool
    services: tuple[str, ...]
    """As it is set up: sym, asym, dc, dcc, decomp."""
    beats: bool
    """Its firmware does not say that its heart has stopped."""

    @property
    def resource(self) -> str:
        return PREFIX + (service(self.services) if self.model.generation >= 4 else GENERIC)


def service(services: tuple[str, ...]) -> str:
    """Intel's word for a set of services."""
    if set(services) == {"sym", "asym"}:
        return "cy"
    order = {name: index for index, name in enumerate(("sym", "asym", "dc", "dcc", "decomp"))}
    return "-".join(sorted(services, key=lambda name: order.get(name, len(order)))) or GENERIC


def engines(sysfs: Path, functions: Mapping[str, Function]) -> dict[str, Engine]:
    """The physical QAT functions of this node, by address."""
    found = {}
    for address, function in functions.items():
        model = PHYSICAL.get(function.id)
        if model is None or function.parent:
            continue
        folder = sysfs / "bus/pci/devices" / address / "qat"
        state = text(folder / "state")
        said = text(folder / "cfg_services").split(";")
        services = tuple(name for name in said if name.isalpha() and len(name) < 16)
        found[address] = Engine(
            function, model, state in ("", "up"), services, _beats(sysfs, function)
        )
    return found


def _beats(sysfs: Path, function: Function) -> bool:
    """Kernels name the folder by the driver's word for the model, and the address."""
    folder = sysfs / "kernel/debug"
    for name in (function.driver, function.driver.removeprefix("qat_")):
        if (
            text(folder / f"qat_{name.removeprefix('qat_')}_{function.address}/heartbeat/status")
            == "-1"
        ):
            return False
    return True
