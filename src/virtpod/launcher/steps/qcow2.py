"""qcow2 images by qemu-img.

https://www.qemu.org/docs/master/tools/qemu-img.html
"""

from __future__ import annotations

from pathlib import Path

from virtpod.domain.steps import MakeOverlay, MakeQcow2
from virtpod.launcher.processes import Processes


async def overlay(step: MakeOverlay, processes: Processes) -> None:
    """An image over `backing`; one that is there is the guest's and stays."""
    if _is_there(step.path):
        return
    await processes.run(
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        step.backing,
        "-F",
        step.backing_format,
        step.path,
    )


async def empty(step: MakeQcow2, processes: Processes) -> None:
    """An image of zeros; one that is there is the guest's and stays."""
    if not _is_there(step.path):
        await processes.run("qemu-img", "create", "-q", "-f", "qcow2", step.path, str(step.size))


def _is_there(path: str) -> bool:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return Path(path).exists()
