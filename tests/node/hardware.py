"""A node's sysfs in a folder of the test's own: PCI functions, QAT devices, mediated and USB
devices, as the kernel shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Hardware:
    """`root`: what is /sys on a node; `dev`: its /dev."""

    root: Path
    dev: Path

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
        folder = self.root / "bus/pci/devices" / address
        write(folder / "vendor", f"0x{vendor}")
        write(folder / "device", f"0x{product}")
        write(folder / "class", "0x060400" if bridge else "0x0b4000")
        write(folder / "numa_node", str(numa))
        if driver:
            link(folder / "driver", f"../../../bus/pci/drivers/{driver}")
        if driver.endswith("vfio_pci"):
            (folder / "vfio-dev/vfio0").mkdir(parents=True)
        if group:
            link(folder / "iommu_group", f"../../../kernel/iommu_groups/{group}")
            members = self.root / f"kernel/iommu_groups/{group}/devices"
            link(members / address, f"../../../../bus/pci/devices/{address}")
            write(self.dev / "vfio" / group, "")
            write(self.dev / "vfio/vfio", "")
        return folder

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
        host = "qat_4xxx"
        folder = self.function(address, physical, host, str(group), numa)
        write(folder / "qat/state", state)
        write(folder / "qat/cfg_services", services)
        write(self.root / f"kernel/debug/qat_4xxx_{address}/heartbeat/status", "0")
        vendor, product = physical.split(":")
        virtual = f"{vendor}:{int(product, 16) + 1:04x}"
        made = []
        for number in range(functions):
            name = f"{address.rsplit(':', 1)[0]}:{number // 8 + 1:02x}.{number % 8}"
            child = self.function(name, virtual, driver, str(group + number + 1), numa)
            link(child / "physfn", f"../{address}")
            link(folder / f"virtfn{number}", f"../{name}")
            made.append(name)
        return made


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
