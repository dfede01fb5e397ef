"""What the init container found out about this node and the launcher image's QEMU, on disk.

`virt-launcher --probe DIR` writes DIR/{kvm,tcg}/{domcapabilities.xml,capabilities.xml,cache/*};
the variant that does not work on this node is not there.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

LARGEST = 2 * 1024 * 1024
"""Bytes of one file; ours are some hundred KiB."""
LARGEST_CACHE = 4 * 1024 * 1024
"""Bytes of a whole capability cache: it must fit into one message in base64."""


@dataclass(frozen=True)
class Probe:
    """The probe's folder; read anew each time, it is small and seldom asked."""

    folder: Path

    def capabilities(self, emulation: bool) -> dict[str, bytes]:
        """libvirt's capability cache, file name to content; empty if there is none."""
        found: dict[str, bytes] = {}
        total = 0
        cache = self.folder / _variant(emulation) / "cache"
        with contextlib.suppress(OSError):
            for file in sorted(cache.iterdir()):
                content = _read(file)
                total += len(content)
                if total > LARGEST_CACHE:
                    return {}  # half a cache is none
                found[file.name] = content
        return found

    def text(self, emulation: bool, name: str) -> str:
        """domcapabilities.xml or capabilities.xml; empty if it is not there."""
        try:
            return _read(self.folder / _variant(emulation) / name).decode()
        except (OSError, UnicodeDecodeError):
            return ""


def _variant(emulation: bool) -> str:
    return "tcg" if emulation else "kvm"


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        content = opened.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(f"{file} is larger than {LARGEST} bytes")
    return content
