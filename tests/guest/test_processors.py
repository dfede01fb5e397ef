"""An emulated machine of several processors outlives what they do at the same time.

QEMU 10.0 does not: where one processor changes what is mapped while another one uses a register of
any device, QEMU aborts, or the access goes astray and the machine hangs. docs/adrs/0015 has more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.guest.conftest import VMI, admitted
from tests.guest.pod import QEMU, Container, connected, container
from virtpod.wire.messages import Done

SECTOR = bytes.fromhex(
    # Each processor begins here and enters protected mode.
    "ea057c0000 fa 31c0 8ed8 0f01168e7c b001 0f22c0 ea197c0800"
    # Those whose interrupt controller is not the first read two controllers' registers for ever.
    "b010 8ed8 bb0000e0fe 8b4320 85c0 740a 8b4320 a10000c0fe ebf6"
    # The first one has the others started at 0x8000, from where they jump to the beginning,
    "c60500800000ea c70501800000007c0000 c6050580000000 66c783f0000000ff01"
    "c7830003000000450c00 e823000000 c7830003000008460c00 e814000000"
    # and switches the memory of PCI device 0:1.0 on and off for ever: the display's.
    "b804080080 66baf80c ef b2fc 80f102 88c8 ee ebf8"
    # A pause, and the segments.
    "b980969800 e2fe c3 1700947c0000"
    "0000000000000000 ffff0000009acf00 ffff00000092cf00"
)

LONG = 10
"""Seconds. QEMU 10.0.13 fell within one."""
IDLE = 0.05
"""Seconds: more than a processor has that nobody starts."""


@pytest.fixture
def box(folders: tuple[Path, ...], tmp_path: Path) -> Iterator[Container]:
    """A container with a disk that holds nothing but the boot sector."""
    image = tmp_path / "image"
    (image / "disk").mkdir(parents=True)
    content = SECTOR.ljust(510, b"\0") + b"\x55\xaa" + bytes((1 << 20) - 512)
    (image / "disk/disk.img").write_bytes(content)
    with container(folders) as made:
        made.volume(0, image)
        yield made


async def test_one_processor_maps_while_another_reads(
    box: Container, cache: dict[str, bytes]
) -> None:
    raw = yaml.safe_load(VMI)
    raw["spec"]["domain"]["cpu"] = {"sockets": 2}
    box.launch()
    async with connected(box, cache) as handler:
        assert isinstance(answer := await handler.sync(admitted(raw)), Done), answer
        (qemu,) = box.processes(QEMU)
        with pytest.raises(TimeoutError):
            await box.gone(qemu, within=LONG)
        assert min(busy(qemu)) > IDLE, "both were at work"


def busy(qemu: int) -> list[float]:
    """Seconds that each processor has run."""
    tick = os.sysconf("SC_CLK_TCK")
    stats = [path.read_text() for path in Path(f"/proc/{qemu}/task").glob("*/stat")]
    fields = [stat.rpartition(")")[2].split() for stat in stats if "(CPU " in stat]
    assert len(fields) == 2
    return [(int(each[11]) + int(each[12])) / tick for each in fields]
