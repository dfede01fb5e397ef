"""Intel QuickAssist (QAT) devices of this node, as sysfs and debugfs show them.

A virtual function does what its physical one is set up for, so it is offered under that service's
name: the same names as Intel's own device plugin has, so that manifests fit both.

https://docs.kernel.org/admin-guide/abi-testing.html (sysfs-driver-qat, debugfs-driver-qat,
debugfs-driver-qat_telemetry)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from virtpod.domain.qat import GENERIC, PHYSICAL, PREFIX, RING_PAIRS, Model, service
from virtpod.node.devices.sysfs import DEVICES, Errors, Function, errors, number, text


@dataclass(frozen=True)
class Limit:
    """A rate limit (SLA) as the kernel has it; rates in permille of the device's."""

    id: int
    service: str
    rings: int
    """The device's ring pairs that it is for, as bits."""
    committed: int
    peak: int


_COUNTER = re.compile(r"([a-z][a-z0-9_]{0,31})\s+([0-9]{1,20})(\s.*)?")
MOST_COUNTERS = 128
"""Of a device's telemetry; the largest device has fewer than a hundred."""


@dataclass(frozen=True)
class Engine:
    """A physical function."""

    function: Function
    model: Model
    state: str
    """up or down; empty: its driver does not say."""
    services: tuple[str, ...]
    """As it is set up: sym, asym, dc, dcc, decomp."""
    beats: bool = True
    """Its firmware does not say that its heart has stopped."""
    choosable: bool = False
    """Its services can be chosen by sysfs."""
    auto_reset: bool | None = None
    """Whether its driver resets it when its heart stops; None: the driver cannot."""
    total: int | None = None
    """Virtual functions that it can have; None: the kernel does not say."""
    ring_pairs: int | None = None
    """How many it has; None: its driver does not say."""
    limitable: bool = False
    """Its driver and firmware have rate limits; while it is down none has."""
    rings: tuple[str, ...] = ()
    """What each ring pair of a virtual function does; empty: not asked, or not told."""
    limits: tuple[Limit, ...] | None = None
    """Its rate limits; None: not asked, or not told."""
    spare: Mapping[str, int] = field(default_factory=dict)
    """Permille that limits may yet assure functions of, by service, where that was asked."""
    errors: Errors = field(default_factory=Errors)
    failed: int | None = None
    """How often its firmware did not answer a heartbeat query; None: debugfs does not say."""
    telemetry: Mapping[str, int] = field(default_factory=dict)
    """What its driver counts, where somebody has turned that on; names are the kernel's."""

    @property
    def address(self) -> str:
        return self.function.address

    @property
    def up(self) -> bool:
        return self.state in ("", "up")

    def limits_of(self, function: int) -> list[Limit]:
        """Those of its n-th virtual function."""
        rings = (1 << RING_PAIRS) - 1 << RING_PAIRS * function
        return [each for each in self.limits or () if each.rings & rings]

    @property
    def resource(self) -> str:
        return PREFIX + (service(self.services) if self.model.by_service else GENERIC)


def engines(sysfs: Path, functions: Mapping[str, Function]) -> dict[str, Engine]:
    """The physical QAT functions of this node, by address."""
    found = {}
    for address, function in functions.items():
        model = PHYSICAL.get(function.id)
        if model is None or function.parent:
            continue
        folder = sysfs / DEVICES / address
        debug = _debugfs(sysfs, function)
        said = text(folder / "qat/cfg_services").split(";")
        reset = text(folder / "qat/auto_reset")
        state = text(folder / "qat/state")
        found[address] = Engine(
            function,
            model,
            state if state in ("up", "down") else "",
            tuple(name for name in said if name.isascii() and name.isalpha() and len(name) < 16),
            beats=debug is None or text(debug / "heartbeat/status") != "-1",
            choosable=(folder / "qat/cfg_services").exists(),
            auto_reset={"on": True, "off": False}.get(reset),
            total=number(text(folder / "sriov_totalvfs")),
            ring_pairs=number(text(folder / "qat/num_rps")),
            limitable=(folder / "qat_rl/sla_op").exists(),
            errors=errors(sysfs, address),
            failed=number(text(debug / "heartbeat/queries_failed")) if debug else None,
            telemetry=_telemetry(debug / "telemetry") if debug else {},
        )
    return found


def _debugfs(sysfs: Path, function: Function) -> Path | None:
    """Kernels name the folder by the driver's word for the model, and the address."""
    model = function.driver.removeprefix("qat_")
    folder = sysfs / f"kernel/debug/qat_{model}_{function.address}"
    return folder if model and folder.is_dir() else None


def _telemetry(folder: Path) -> dict[str, int]:
    """The current values; after them some kernels' lines have least, most and average."""
    if text(folder / "control") in ("", "0"):
        return {}
    found = {}
    for line in text(folder / "device_data").splitlines()[:MOST_COUNTERS]:
        if match := _COUNTER.fullmatch(line.strip()):
            found[match[1]] = int(match[2])
    return found
