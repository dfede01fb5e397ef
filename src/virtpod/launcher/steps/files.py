"""Writing files into the launcher's own folders."""

from __future__ import annotations

import os
from pathlib import Path

from virtpod.domain.steps import Blank, WriteFile


def write(step: WriteFile) -> None:
    """Replaces the file as a whole."""
    path = Path(step.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_bytes(step.content)
    new.chmod(step.mode)
    os.replace(new, path)


def blank(step: Blank) -> None:
    """One that is there keeps what it has."""
    path = Path(step.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(handle, step.size)
    finally:
        os.close(handle)
