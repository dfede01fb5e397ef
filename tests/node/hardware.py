"""A node's sysfs in a folder of the test's own: PCI functions, QAT devices, mediated and USB
devices, as the kernel shows them; and a kernel that does what is written to it."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from virtpod.domain.qat import PHYSICAL
from virtpod.domain.steps import WriteAttribute

TOTAL = 16
"""Virtual functions that a QAT device can have here."""
RING_PAIRS = 64


@dataclass
class Hardware:
    """`root`: what is /sys on a node; `dev`: its /dev."""

    root: Path
    dev: Path

    @property
    def functions(self) -> Path:
        return self.root / "bus/pci/devices"

    def function(
        self,
        address: str,
        identity: str,
        driver: str = "vfio-pci",
        group: str = "",
        numa: int = -1,
        bridge: bool = False,
    ) -> Path:
        """A PCI function; with a group, its VFIO device node is there too."""
        vendor, product = identity.split(":")
        folder = self.functions / address
        write(folder / "vendor", f"0x{vendor}")
        write(folder / "device", f"0x{product}")
        write(folder / "class", "0x060400" if bridge else "0x0b4000")
        write(folder / "numa_node", str(numa))
        write(folder / "driver_override", "(null)")
        if driver:
            self.bind(address, driver)
        if group:
            link(folder / "iommu_group", f"../../../kernel/iommu_groups/{group}")
            members = self.root / f"kernel/iommu_groups/{group}/devices"
            link(members / address, f"../../../../bus/pci/devices/{address}")
            write(self.dev / "vfio" / group, "")
            write(self.dev / "vfio/vfio", "")
        return folder

    def driver(self, name: str) -> Path:
        """A driver that is loaded."""
        folder = self.root / "bus/pci/drivers" / name
        for attribute in ("bind", "unbind"):
            if not (folder / attribute).exists():
                write(folder / attribute, "")
        return folder

    def bind(self, address: str, driver: str) -> None:
        self.driver(driver)
        folder = self.functions / address
        link(folder / "driver", f"../../drivers/{driver}")
        if driver.endswith("vfio_pci"):
            (folder / "vfio-dev/vfio0").mkdir(parents=True, exist_ok=True)

    def unbind(self, address: str) -> None:
        folder = self.functions / address
        (folder / "driver").unlink(missing_ok=True)
        shutil.rmtree(folder / "vfio-dev", ignore_errors=True)

    def remove(self, address: str) -> None:
        """As a device that is taken out, or a virtual function that is no more."""
        parent = self.functions / address / "physfn"
        if parent.is_symlink():
            for child in (self.functions / parent.readlink().name).glob("virtfn*"):
                if child.readlink().name == address:
                    child.unlink()
        shutil.rmtree(self.functions / address)

    def qat(
        self,
        address: str,
        physical: str,
        services: str = "sym;asym",
        functions: int = 2,
        driver: str = "vfio-pci",
        group: int = 100,
        numa: int = 0,
        state: str = "up",
        limits: bool = False,
    ) -> list[str]:
        """A QAT device, `physical` its id; the addresses of its virtual functions. `limits`: its
        driver and firmware know of rate limits."""
        model = PHYSICAL[physical]
        host = "6xxx" if model.generation == 6 else "4xxx" if model.by_service else "c6xx"
        folder = self.function(address, physical, host, str(group), numa)
        write(folder / "qat/state", state)
        if model.by_service:
            write(folder / "qat/cfg_services", services)
            write(folder / "qat/num_rps", str(RING_PAIRS))
            write(folder / "qat/rp2srv", "")
            if limits and state == "up":
                self.limits(address)
        write(folder / "qat/auto_reset", "off")
        write(folder / "sriov_totalvfs", str(TOTAL))
        write(folder / "sriov_numvfs", str(functions))
        self.errors(address, 0)
        self.debug(address, "heartbeat/status", "0")
        self.debug(address, "heartbeat/queries_failed", "0")
        return [self.virtual(address, number, driver, group, numa) for number in range(functions)]

    def limits(self, address: str) -> None:
        """The attributes of rate limits, which a device has while it is up."""
        operands = {"rp": "0", "id": "0", "cir": "0", "pir": "0", "srv": "", "cap_rem": ""}
        for name, text in {**operands, "sla_op": ""}.items():
            write(self.functions / address / "qat_rl" / name, text)

    def virtual(
        self, parent: str, number: int, driver: str = "", group: int = 100, numa: int = 0
    ) -> str:
        """A virtual function of a QAT device: its address."""
        physical = self.functions / parent
        product = int((physical / "device").read_text(), 16) + 1
        name = f"{parent.rsplit(':', 1)[0]}:{number // 8 + 1:02x}.{number % 8}"
        child = self.function(name, f"8086:{product:04x}", driver, str(group + number + 1), numa)
        link(child / "physfn", f"../{parent}")
        link(physical / f"virtfn{number}", f"../{name}")
        return name

    def errors(self, address: str, fatal: int) -> None:
        """What AER counts of it."""
        for kind, total, count in (
            ("correctable", "COR", 3),
            ("nonfatal", "NONFATAL", 0),
            ("fatal", "FATAL", fatal),
        ):
            text = f"Undefined 0\nDLP {count}\nTOTAL_ERR_{total} {count}"
            write(self.functions / address / f"aer_dev_{kind}", text)

    def debug(self, address: str, name: str, text: str) -> None:
        """A file that a QAT device's driver has in debugfs."""
        host = (self.functions / address / "driver").readlink().name
        write(self.root / f"kernel/debug/qat_{host}_{address}" / name, text)


@dataclass
class Sla:
    service: str
    rings: int
    committed: int
    peak: int


@dataclass
class Kernel:
    """Does what is written to `hardware`, with the kernel's own objections; `written` is all that
    was, questions apart. Its `write` stands where `node.steps.attributes.write` is.

    Rate limits are those of Linux: drivers/crypto/intel/qat/qat_common/adf_rl.c, adf_sysfs_rl.c."""

    hardware: Hardware
    group: int = 9000
    """Of new virtual functions, with the bus and number of the device in it."""
    written: list[str] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    """Names of attributes that it refuses, as hardware may."""
    slas: dict[str, dict[int, Sla]] = field(default_factory=dict)
    """Rate limits of each device, by their ids."""
    notices: Counter[str] = field(default_factory=Counter)
    """What it says in its log of ids that are nobody's, of each device."""
    limited: set[str] = field(default_factory=set)
    """Devices that are down and have rate limits when they are up."""

    def write(self, sysfs: Path, steps: Iterable[WriteAttribute]) -> None:
        assert sysfs == self.hardware.root
        steps = list(steps)
        for step in steps:
            if not _asks(steps):
                self.written.append(f"{step.path.removeprefix('bus/pci/')}={step.value}")
            if code := self._take(Path(step.path), step.value):
                raise OSError(code, os.strerror(code), step.path)

    def _take(self, path: Path, value: str) -> int:
        file = self.hardware.root / path
        if not file.exists():
            return errno.ENOENT
        if path.name in self.refuse:
            return errno.EIO
        folder = file.parent
        if folder.name == "qat_rl":
            return self._limit(folder, path.name, value)
        match path.name:
            case "rp2srv":
                return self._ring(folder, value)
            case "sriov_numvfs":
                return self._number(folder, int(value))
            case "cfg_services" if (folder / "state").read_text().strip() == "up":
                return errno.EBUSY
            case "state" if value == "down" and list(folder.parent.glob("virtfn*")):
                return errno.EBUSY
            case "unbind":
                self.hardware.unbind(value)
                return 0
            case "bind":
                wants = (self.hardware.functions / value / "driver_override").read_text().strip()
                if wants != folder.name or (self.hardware.functions / value / "driver").exists():
                    return errno.ENODEV
                self.hardware.bind(value, folder.name)
                return 0
            case "state":
                self._turn(folder.parent, value)
        write(file, value)
        return 0

    def _turn(self, folder: Path, state: str) -> None:
        """Limits go with the device's state."""
        if state == "down" and (folder / "qat_rl").exists():
            shutil.rmtree(folder / "qat_rl")
            self.limited.add(folder.name)
        elif state == "up" and folder.name in self.limited:
            self.limited.remove(folder.name)
            self.hardware.limits(folder.name)
        else:
            return
        self.slas.pop(folder.name, None)

    def _ring(self, folder: Path, value: str) -> int:
        if not value.isdecimal() or int(value) >= RING_PAIRS:
            return errno.EINVAL
        write(folder / "rp2srv", _does(folder.parent)[int(value) % 4])
        return 0

    def _limit(self, folder: Path, name: str, value: str) -> int:
        """An attribute of rate limits."""
        enabled = set(_does(folder.parent))
        slas = self.slas.setdefault(folder.parent.name, {})
        match name:
            case "rp":
                value = f"{int(value, 16):#x}"
            case "srv" if value not in enabled:
                return errno.EINVAL
            case "cap_rem":
                if value not in ("asym", "sym", "dc", "decomp"):
                    return errno.EINVAL
                value = str(_left(slas, value)) if value in enabled else ""
            case "sla_op":
                return self._operate(folder, value, slas)
        write(folder / name, value)
        return 0

    def _operate(self, folder: Path, name: str, slas: dict[int, Sla]) -> int:
        def operand(which: str) -> str:
            return (folder / which).read_text().strip()

        id, committed, peak = (int(operand(each)) for each in ("id", "cir", "pir"))
        own = 2 * len(set(_does(folder.parent)))  # a root and a cluster of each service
        if name in ("get", "update", "rm") and id not in slas:
            self.notices[folder.parent.name] += 1
            return errno.EINVAL
        if name in ("add", "update"):
            write(folder / "pir", str(peak := max(committed, peak)))
        match name:
            case "add":
                sla = Sla(operand("srv"), int(operand("rp"), 16), committed, peak)
                write(folder / "id", "-1")
                if code := _refused(folder.parent, sla, slas):
                    return code
                id = next(each for each in range(own, own + len(slas) + 1) if each not in slas)
                slas[id] = sla
                write(folder / "id", str(id))
            case "update":
                sla = slas[id]
                if committed > _left(slas, sla.service) + sla.committed or peak > 1000:
                    return errno.EINVAL
                sla.committed, sla.peak = committed, peak
            case "rm":
                del slas[id]
            case "rm_all":
                slas.clear()
            case "get":
                sla = slas[id]
                write(folder / "cir", str(sla.committed))
                write(folder / "pir", str(sla.peak))
                write(folder / "srv", sla.service)
                write(folder / "rp", f"{sla.rings:#x}")
            case _:
                return errno.EINVAL
        return 0

    def _number(self, folder: Path, wanted: int) -> int:
        have = [each.readlink().name for each in folder.glob("virtfn*")]
        if have and wanted:
            return errno.EBUSY
        if wanted and (folder / "qat/state").read_text().strip() == "down":
            return errno.EFAULT
        for address in have:
            self.hardware.remove(address)
        first = self.group + 100 * int(folder.name.split(":")[1], 16)
        numa = int((folder / "numa_node").read_text())
        for number in range(wanted):
            self.hardware.virtual(folder.name, number, "", first, numa)
        write(folder / "sriov_numvfs", str(wanted))
        return 0


def _asks(steps: Iterable[WriteAttribute]) -> bool:
    """Whether it writes only in order to read."""
    last = list(steps)[-1]
    return last.path.endswith(("/rp2srv", "/cap_rem")) or last.value == "get"


def _does(folder: Path) -> list[str]:
    """What each ring pair of a virtual function does."""
    said = (folder / "qat/cfg_services").read_text().strip().replace("dcc", "dc")
    services = sorted(said.split(";"))
    return [services[ring % len(services)] for ring in range(4)]


def _left(slas: dict[int, Sla], service: str) -> int:
    return 1000 - sum(each.committed for each in slas.values() if each.service == service)


def _refused(folder: Path, sla: Sla, slas: dict[int, Sla]) -> int:
    does = _does(folder)
    rings = [ring for ring in range(RING_PAIRS) if sla.rings >> ring & 1]
    if sum(each.service == sla.service for each in slas.values()) >= TOTAL:
        return errno.ENOSPC
    unfit = (
        not 0 < len(rings) <= 4
        or sla.service not in does
        or any(each.rings & sla.rings for each in slas.values())
        or any(does[ring % 4] != sla.service for ring in rings)
        or sla.committed > _left(slas, sla.service)
        or sla.peak > 1000
    )
    return errno.EINVAL if unfit else 0


class Player(threading.Thread):
    """The kernel where the agent is another process, and attributes are plain files: it looks at
    them and makes functions and bindings so. What was written in between it does not see."""

    def __init__(self, hardware: Hardware, groups: dict[str, int]) -> None:
        """`groups`: of each physical function, the IOMMU group before that of its first child."""
        super().__init__(daemon=True)
        self._hardware = hardware
        self._groups = groups
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.05):
            for address in self._groups:
                self._play(self._hardware.functions / address)

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _play(self, folder: Path) -> None:
        try:
            wanted = int((folder / "sriov_numvfs").read_text())
        except (OSError, ValueError):  # it is being written
            return
        have = sorted(folder.glob("virtfn*"))
        for child in have[wanted:]:
            self._hardware.remove(child.readlink().name)
        for number in range(len(have), wanted):
            numa = int((folder / "numa_node").read_text())
            self._hardware.virtual(folder.name, number, "", self._groups[folder.name], numa)
        for child in folder.glob("virtfn*"):
            address = child.readlink().name
            try:
                driver = (self._hardware.functions / address / "driver_override").read_text()
            except OSError:
                continue
            if driver.strip() not in ("", "(null)"):
                self._hardware.bind(address, driver.strip())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
