"""Describes a node's QEMU once, so that no launcher need ask it again.

libvirt asks QEMU for its capabilities by starting it, which costs a second of CPU in every new
pod. It keeps the answers in a file per binary that stays valid while the binary, libvirt, the
kernel and the usability of KVM stay the same; so one file serves all launchers of a node. The
probe is made twice, with KVM and without.

Result, in the given folder: {kvm,tcg}/{domcapabilities.xml,capabilities.xml,cache/*}, qemu.json.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import libvirt

from virtpod.domain import paths
from virtpod.launcher.libvirt import CAPABILITIES, URI, Libvirt
from virtpod.launcher.log import log
from virtpod.launcher.processes import Processes

KVM = Path("/dev/kvm")
QEMU = Path("/usr/bin/qemu-system-x86_64")
DAEMON = Path("/usr/sbin/libvirtd")
ARCHITECTURE = "x86_64"
MACHINE = "q35"
TYPES = {"kvm": "kvm", "tcg": "qemu"}
TIMEOUT = 60
"""Seconds for one variant."""


def write(folder: str) -> int:
    """Returns the exit code. Does nothing where the folder describes this very build."""
    target = Path(folder)
    known, build = target / "qemu.json", _build()
    if _described(known) == build:
        log("this build is known already", build=build)
        return 0
    known.unlink(missing_ok=True)  # from here on, until it is done, nothing is known
    variants = [
        variant
        for variant in (("tcg", "kvm") if KVM.exists() else ("tcg",))
        if _as_launcher(target / variant, variant)
    ]
    if "tcg" not in variants:
        log("QEMU could not be described")
        return 1
    if "kvm" not in variants:
        shutil.rmtree(target / "kvm", ignore_errors=True)  # half a description misleads
    new = target / "qemu.json.new"
    new.write_text(json.dumps({"build": build, "variants": variants}))
    os.replace(new, known)
    log("node described", variants=variants)
    return 0


def _described(known: Path) -> str:
    """The build that the folder describes; "" for none, or one that was not finished."""
    try:
        return str(json.loads(known.read_text())["build"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _build() -> str:
    """What makes libvirt's cache stale: other binaries, another kernel, KVM gone or come."""
    times = [path.stat().st_ctime_ns for path in (QEMU, DAEMON)]
    return f"{times[0]}-{times[1]}-{os.uname().release}-{KVM.exists()}"


def _as_launcher(folder: Path, variant: str) -> bool:
    """Makes one variant as the launchers' user: libvirt's answers depend on who asks."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(CAPABILITIES, ignore_errors=True)
    if KVM.exists():
        KVM.chmod(0o666 if variant == "kvm" else 0o600)  # this container's own device node
    for place in (paths.PRIVATE, paths.LIBVIRT_RUNTIME, folder, folder / "cache"):
        os.makedirs(place, exist_ok=True)
        os.chown(place, paths.QEMU_UID, paths.QEMU_UID)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(paths.QEMU_UID)
        os.setuid(paths.QEMU_UID)
        try:
            asyncio.run(_describe(folder, TYPES[variant]))
        except Exception as error:  # whatever it was, the parent must hear of it
            log("probe failed", variant=variant, error=repr(error))
            os._exit(1)
        os._exit(0)
    while True:
        # The first process of a container also reaps the QEMUs that libvirt detaches.
        ended, status = os.wait()
        if ended == child:
            return status == 0


async def _describe(folder: Path, kind: str) -> None:
    """Starts libvirt, which looks at QEMU, and keeps what it found."""
    processes = Processes()
    processes.watch()
    hypervisor = Libvirt("probe", processes, lambda _: None)
    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
        serving = group.create_task(hypervisor.serve({}))
        await hypervisor.connected()
        domain, host = await asyncio.to_thread(_ask, kind)
        (folder / "domcapabilities.xml").write_text(domain)
        (folder / "capabilities.xml").write_text(host)
        for file in os.scandir(CAPABILITIES):
            shutil.copy(file.path, folder / "cache" / file.name)
        serving.cancel()
        await hypervisor.gone()


def _ask(kind: str) -> tuple[str, str]:
    """Domain capabilities and host capabilities, as libvirt's XML."""
    connection = libvirt.open(URI)
    domain: str = connection.getDomainCapabilities(None, ARCHITECTURE, MACHINE, kind)
    return domain, connection.getCapabilities()
