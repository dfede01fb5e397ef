"""How fast a guest reads and writes each kind of volume, beside a plain pod on the same node.

Where guests are emulated, this measures the emulator as much as the path of the bytes: the ratios
tell volumes from one another, and one version from the next, on one machine; they say nothing of
what a guest with KVM gets.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bench.scenarios import NAMESPACE, SYSTEM, Bench, Deadlines, settled
from bench.shell import Shell, shell
from bench.sightings import Failed
from virtpod.kube import apply
from virtpod.kube.resources import KUBEVIRTS, PODS, PVCS, VMIS, Key, Obj

MIB = 16
"""Read and written of each, once to warm up and then ROUNDS times; the demo guest's own disk is not
much larger."""
ROUNDS, PASSES = 3, 4
CLAIM = "96Mi"
WITHIN = 120.0
TRIES = 60
"""Seconds for a disk to be plugged in."""
GUEST = "disks"
GATES = ("HostDisk", "EnableVirtioFsStorageVolumes")
PLUGGED = ("plugged-file", "plugged-block")
SHARED = "shared-file"
PLAIN = {"file system": "/file", "block device": "/dev/plain", "empty": "/empty"}
"""What the plain pod has, and where."""
SCRIPT = f"""
import mmap, os, sys, time
piece = mmap.mmap(-1, 1 << 20)
piece.write(bytes(range(256)) * 4096)
def pass_over(path, flags, act):
    handle = os.open(path, flags | os.O_DIRECT, 0o600)
    began = time.perf_counter()
    for _ in range({MIB}):
        act(handle)
    if flags & os.O_WRONLY:
        os.fsync(handle)
    took = time.perf_counter() - began
    os.close(handle)
    return {MIB} * 1.048576 / took
for name in sys.argv[1:]:
    path = name if name.startswith("/dev/") else name + "/bench"
    for turn in range({ROUNDS} + 1):
        writes = pass_over(path, os.O_WRONLY | os.O_CREAT, lambda h: os.write(h, piece))
        reads = pass_over(path, os.O_RDONLY, lambda h: os.readv(h, [piece]))
        if turn:
            print("measured", name, writes, reads, flush=True)
"""
"""In the plain pod: MB/s past the page cache."""
UPTIME = re.compile(r"^([0-9]+\.[0-9]+) [0-9.]+\s*$", re.MULTILINE)

# Volume in the guest, and the place of the plain pod that it stands beside.
BESIDE = {
    "containerDisk": "empty",
    "emptyDisk": "empty",
    "claim, file system": "file system",
    "claim, block device": "block device",
    "plugged in, file system": "file system",
    "plugged in, block device": "block device",
    "hostDisk": "file system",
    "virtiofs": "file system",
}
Rates = dict[str, tuple[float, float]]
"""By volume: MB/s written, and read."""


def claim(name: str, mode: str) -> Obj:
    return {
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "volumeMode": mode,
            "resources": {"requests": {"storage": CLAIM}},
        },
    }


async def measured(bench: Bench, guest: Obj, image: str) -> tuple[Rates, Rates]:
    """The guest's rates and the plain pod's."""
    names = {"file": "Filesystem", "block": "Block"}
    for claimed in ("plain-file", "plain-block", "kept-file", "kept-block", *PLUGGED, SHARED):
        mode = names[claimed.partition("-")[2]]
        await bench.client.create(PVCS, claim(claimed, mode))
    plain, node = await _plain(bench, image)
    async with _gates(bench):
        await bench.client.create(VMIS, _machine(guest, node))
        try:
            await bench.seen.until(GUEST, "Running", Deadlines.boot)
            found = await _in_guest(bench)
        finally:
            key = Key(NAMESPACE, GUEST)
            await bench.client.delete(VMIS, key)
            await apply.wait_for(
                bench.client, VMIS, key, lambda each: each is None, Deadlines.removal
            )
    return found, plain


@asynccontextmanager
async def _gates(bench: Bench) -> AsyncIterator[None]:
    """With the feature gates of all volumes on, beside those that are."""
    key = Key(SYSTEM, "kubevirt")
    found = await bench.client.get(KUBEVIRTS, key)
    developer = (found["spec"].get("configuration") or {}).get("developerConfiguration") or {}
    before = developer.get("featureGates")

    async def set_to(names: list[str] | None) -> None:
        changes = {"configuration": {"developerConfiguration": {"featureGates": names}}}
        await bench.client.patch(KUBEVIRTS, key, {"spec": changes})
        await apply.wait_for(bench.client, KUBEVIRTS, key, settled, WITHIN)

    await set_to([*(before or ()), *GATES])
    try:
        yield
    finally:
        await set_to(before)


def _volumes() -> dict[str, Obj]:
    """The guest's disks beside its own, by what they are called here."""

    def kept(name: str, **more: Any) -> Obj:
        return {"persistentVolumeClaim": {"claimName": name, **more}}

    path = {"path": "/tmp/virtpod-bench/disk.img", "type": "DiskOrCreate"}
    return {
        "emptyDisk": {"emptyDisk": {"capacity": CLAIM}},
        "claim, file system": kept("kept-file"),
        "claim, block device": kept("kept-block"),
        "plugged in, file system": kept(PLUGGED[0], hotpluggable=True),
        "plugged in, block device": kept(PLUGGED[1], hotpluggable=True),
        "hostDisk": {"hostDisk": {**path, "capacity": CLAIM}},
    }


def _machine(guest: Obj, node: str) -> Obj:
    spec: Obj = {**guest, "nodeSelector": {"kubernetes.io/hostname": node}}
    devices = guest["domain"]["devices"]
    sources = {f"d{index}": source for index, source in enumerate(_volumes().values(), 1)}
    disks = [
        {"name": name, "serial": name, "disk": {"bus": _bus(source)}}
        for name, source in sources.items()
    ]
    spec["domain"] = {
        **guest["domain"],
        "devices": {
            **devices,
            "disks": [*devices["disks"], *disks],
            "filesystems": [{"name": SHARED, "virtiofs": {}}],
        },
    }
    sources[SHARED] = {"persistentVolumeClaim": {"claimName": SHARED}}
    spec["volumes"] = [
        *guest["volumes"],
        *({"name": name, **source} for name, source in sources.items()),
    ]
    return {"metadata": {"name": GUEST, "namespace": NAMESPACE}, "spec": spec}


def _bus(source: Obj) -> str:
    """virtio, but for what is plugged in: a guest has few free ports for that, and scsi is what
    people take."""
    return "scsi" if (source.get("persistentVolumeClaim") or {}).get("hotpluggable") else "virtio"


async def _plain(bench: Bench, image: str) -> tuple[Rates, str]:
    """And the node that it ran on."""
    name = "plain-disks"
    container = {
        "name": "compute",
        "image": image,
        "command": ["/usr/bin/python3", "-I", "-c", SCRIPT, *PLAIN.values()],
        "volumeMounts": [
            {"name": "file", "mountPath": PLAIN["file system"]},
            {"name": "empty", "mountPath": PLAIN["empty"]},
        ],
        "volumeDevices": [{"name": "block", "devicePath": PLAIN["block device"]}],
    }
    spec = {
        "containers": [container],
        "securityContext": {"runAsUser": 0},
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "volumes": [
            {"name": "file", "persistentVolumeClaim": {"claimName": "plain-file"}},
            {"name": "block", "persistentVolumeClaim": {"claimName": "plain-block"}},
            {"name": "empty", "emptyDir": {}},
        ],
    }
    key = Key(NAMESPACE, name)
    await bench.client.create(
        PODS, {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
    )

    def over(pod: Obj | None) -> bool:
        return ((pod or {}).get("status") or {}).get("phase") in ("Succeeded", "Failed")

    pod = await apply.wait_for(bench.client, PODS, key, over, WITHIN)
    said = await bench.client.request("GET", PODS.path(NAMESPACE, name, "log"))
    found: dict[str, list[tuple[float, float]]] = {}
    for line in said.body.decode(errors="replace").splitlines():
        words = line.split()
        if words[:1] == ["measured"]:
            found.setdefault(words[1], []).append((float(words[2]), float(words[3])))
    await bench.client.delete(PODS, key)
    if set(found) != set(PLAIN.values()) or pod is None:
        raise Failed(f"{name}: {said.body[-500:]!r}")
    return {what: best(found[place]) for what, place in PLAIN.items()}, pod["spec"]["nodeName"]


def best(rates: list[tuple[float, float]]) -> tuple[float, float]:
    """Of several: whatever else the machine does only makes one slower."""
    return max(w for w, _ in rates), max(r for _, r in rates)


async def _in_guest(bench: Bench) -> Rates:
    async with asyncio.timeout(Deadlines.batch), shell(bench, GUEST) as root:
        places = {"containerDisk": "/dev/vda"}
        for index, volume in enumerate(_volumes(), 1):
            # By its serial: where a disk sits on its bus is libvirt's choice.
            places[volume] = f"/dev/{await _named(root, f'd{index}')}"
        await root.run(f"mount -t virtiofs {SHARED} /mnt")
        places["virtiofs"] = "/mnt/bench"
        found: Rates = {}
        for volume, place in places.items():
            measured = [await _rates(root, place) for _ in range(ROUNDS + 1)]
            found[volume] = best(measured[1:])
    return found


async def _named(root: Shell, serial: str) -> str:
    look = f"grep -l {serial} /sys/block/*/serial /sys/block/*/device/vpd_pg80 2>/dev/null"
    said = await root.run(f"for i in $(seq {TRIES}); do {look} && break; sleep 1; done")
    if "/sys/block/" not in said:
        raise Failed(f"{GUEST}: the guest has no disk {serial}")
    return said.split("/sys/block/", 1)[1].split("/", 1)[0]


async def _rates(root: Shell, path: str) -> tuple[float, float]:
    """Of a device or a file."""
    size = f"bs=1M count={MIB}"
    both = []
    for command in (
        f"dd if=/dev/zero of={path} {size} oflag=direct conv=fsync 2>&1",
        f"dd if={path} of=/dev/null {size} iflag=direct 2>&1",
    ):
        # The demo guest's `dd` tells no time, and its clock counts hundredths of a second.
        passes = f"for i in $(seq {PASSES}); do {command}; done"
        said = await root.run(f"cat /proc/uptime; {passes}; cat /proc/uptime")
        times = [float(each) for each in UPTIME.findall(said.replace("\r", ""))]
        whole = said.count(f"{MIB}+0 records out") == PASSES
        if len(times) != 2 or not whole or times[0] == times[1]:
            raise Failed(f"{GUEST}: {command}: {said[-200:]}")
        both.append(PASSES * MIB * 1.048576 / (times[1] - times[0]))
    return both[0], both[1]


def table(found: Rates, plain: Rates) -> list[tuple[str, ...]]:
    """Lines: volume, MB/s written and read, and each as a share of the plain pod's."""
    lines: list[tuple[str, ...]] = [
        ("disks: MB/s, and x plain pod", "written", "x", "read", "x"),
        *((f"plain pod, {name}", f"{w:.0f}", "", f"{r:.0f}", "") for name, (w, r) in plain.items()),
    ]
    for volume, (writes, reads) in found.items():
        beside = plain[BESIDE[volume]]
        first, second = (
            ours / theirs for ours, theirs in zip((writes, reads), beside, strict=True)
        )
        shares = (f"{writes:.0f}", f"{first:.2f}", f"{reads:.0f}", f"{second:.2f}")
        lines.append((f"guest, {volume}", *shares))
    return lines
