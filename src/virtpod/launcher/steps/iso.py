"""ISO 9660 images by xorriso.

https://www.gnu.org/software/xorriso/man_1_xorrisofs.html
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from virtpod.domain.steps import MakeIso
from virtpod.launcher.processes import Processes

BLOCK = 4096
"""Bytes: no storage has larger ones."""


async def make(step: MakeIso, processes: Processes) -> None:
    """Makes the image beside its place and moves it there."""
    path = Path(step.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=path.parent))
    try:
        (staged / "content").mkdir()  # it may stay empty
        for name, content in step.files:
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise OSError(f"a file called {name!r} does not belong on a disk")
            file = staged / "content" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        image = staged / "image.iso"
        await processes.run(
            "xorrisofs",
            "-quiet",
            "-output",
            str(image),
            "-volid",
            step.label,
            "-joliet",
            "-rock",
            str(staged / "content"),
        )
        # Past the page cache QEMU writes whole blocks of the storage, and wants the file to be so.
        os.truncate(image, -(-image.stat().st_size // BLOCK) * BLOCK)
        os.replace(image, path)
    finally:
        shutil.rmtree(staged)
