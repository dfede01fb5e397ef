"""A node's sysfs in a folder of the test's own: PCI functions, QAT devices, mediated and USB
devices, as the kernel shows them; and a kernel that does what is written to it."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from virtpod.domain.qat import PHYSICAL
from virtpod.domain.steps import WriteAttribute

TOTAL = 16
"""Virtual functions that a QAT device can have here."""


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
    ) -> list[str]:
        """A QAT device, `physical` its id; the addresses of its virtual functions."""
        model = PHYSICAL[physical]
        host = "6xxx" if model.generation == 6 else "4xxx" if model.by_service else "c6xx"
        folder = self.function(address, physical, host, str(group), numa)
        write(folder / "qat/state", state)
        if model.by_service:
            write(folder / "qat/cfg_services", services)
        write(folder / "qat/auto_reset", "off")
        write(folder / "sriov_totalvfs", str(TOTAL))
        write(folder / "sriov_numvfs", str(functions))
        self.errors(address, 0)
        self.debug(address, "heartbeat/status", "0")
        self.debug(address, "heartbeat/queries_failed", "0")
        return [self.virtual(address, number, driver, group, numa) for number in range(functions)]

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
class Kernel:
    """Does what is written to `hardware`, with the kernel's own objections; `written` is all that
    was. Its `write` stands where `node.steps.attributes.write` is."""

    hardware: Hardware
    group: int = 9000
    """Of new virtual functions, with the bus and number of the device in it."""
    written: list[str] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    """Names of attributes that it refuses, as hardware may."""

    def write(self, sysfs: Path, steps: Iterable[WriteAttribute]) -> None:
        assert sysfs == self.hardware.root
        for step in steps:
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
        match path.name:
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
        write(file, value)
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
