"""Writing files into the launcher's own folders."""

from __future__ import annotations

import os
from pathlib import Path

from virtpod.domain.steps import WriteFile


def write(step: WriteFile) -> None:
    """Replaces the file as a whole."""
    path = Path(step.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_bytes(step.content)
    new.chmod(step.mode)
    os.replace(new, path)
