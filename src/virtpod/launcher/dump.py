"""What is in the guest's memory, written into a claim as an ELF file.

The claim is a tenant's, and others may write to it: the file is made beneath an open handle of the
claim's folder, where there was none, and libvirt writes to what was made.

https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainCoreDumpWithFormat
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os

from virtpod.domain import paths
from virtpod.launcher.hypervisor import Hypervisor, Refused
from virtpod.launcher.images import open_beneath
from virtpod.launcher.log import log
from virtpod.wire.messages import DumpMemory

MODE = 0o660


class Dumps:
    """Each file once, however often it is asked for."""

    def __init__(self, hypervisor: Hypervisor, helpers: asyncio.TaskGroup) -> None:
        self._hypervisor = hypervisor
        self._helpers = helpers
        self._begun: dict[tuple[str, str], asyncio.Task[str]] = {}

    async def take(self, request: DumpMemory) -> None:
        """Goes on when nobody waits for it any more. Raises Refused."""
        asked = (request.volume, request.file)
        if asked not in self._begun:
            self._begun[asked] = self._helpers.create_task(self._take(*asked))
        if problem := await asyncio.shield(self._begun[asked]):
            raise Refused(problem)

    async def _take(self, volume: str, file: str) -> str:
        """What went wrong, "" where nothing did."""
        folder = made = -1
        try:
            folder = os.open(
                paths.hotplug(volume), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
            )
            made = open_beneath(folder, file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, MODE)
            log("memory is dumped", volume=volume, file=file)
            await self._hypervisor.dump(f"/proc/{os.getpid()}/fd/{made}")
            await asyncio.to_thread(os.fsync, made)
            log("memory was dumped", volume=volume, file=file, size=os.fstat(made).st_size)
        except (OSError, Refused) as error:
            if made >= 0:  # else what is there is somebody else's
                with contextlib.suppress(OSError):
                    os.unlink(file, dir_fd=folder)
            return _spoken(error)
        finally:
            for each in (made, folder):
                if each >= 0:
                    os.close(each)
        return ""


def _spoken(error: OSError | Refused) -> str:
    if isinstance(error, Refused):
        return str(error)
    if error.errno == errno.ENOTDIR:
        return "the claim is a block device; a dump wants volumeMode Filesystem"
    return f"{error.filename or 'the claim'}: {error.strerror}"
