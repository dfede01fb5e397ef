"""Guests that keep a diary on a disk that outlives them, and who reads it on the node.

On each boot the guest goes on where the last record is: five times a second a sector with a number
that grows by one, the boot's id, the VM's name and a checksum, flushed to the disk; only then does
it say the number on its web page. So a record that was said must be on the disk, whatever became
of the guest, and records of two boots that alternate mean that two guests ran at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from localcluster import layout
from localcluster.provisioner import VOLUMES
from tests.e2e.support import GUEST, Namespace, Object, Refused, eventually, on_node, vm, vmi_spec

SECTOR = 512
DISK = "diary"
SCRIPT = """#!/bin/sh
for disk in /sys/block/vd*; do
    [ "$(cat "$disk/serial")" = diary ] && device=/dev/${disk##*/}
done
[ "$device" ] || exit 1
boot=$(cat /proc/sys/kernel/random/boot_id)
write() {
    number=$(tr -d '\\000' <"$device" | tail -n 1 | cut -d' ' -f1)
    while number=$((number + 1)); do
        text="$number $boot $(hostname)"
        echo "$text $(echo "$text" | md5sum | cut -c1-8)" |
            dd of="$device" bs=512 seek="$number" conv=notrunc,sync,fsync 2>/run/dd || break
        echo "$number $boot" >/www/diary.new && mv /www/diary.new /www/diary
        sleep 0.2
    done
}
write &
"""


@dataclass(frozen=True)
class Record:
    number: int
    boot: str
    name: str


@dataclass(frozen=True)
class Diary:
    records: list[Record]

    @property
    def last(self) -> int:
        return self.records[-1].number if self.records else 0

    @property
    def boots(self) -> list[str]:
        """The boots' ids in the order in which they wrote; twice the same: they alternated."""
        return [boot for boot, _ in groupby(self.records, lambda record: record.boot)]

    def check(self, acknowledged: int = 0) -> None:
        """No record is missing, none was written over, and no two guests wrote by turns."""
        numbers = [record.number for record in self.records]
        assert numbers == list(range(1, len(numbers) + 1)), gaps(numbers)
        assert len(self.boots) == len(set(self.boots)), f"guests wrote by turns: {self.boots}"
        assert self.last >= acknowledged, f"{acknowledged} was said, the disk ends at {self.last}"


def gaps(numbers: list[int]) -> str:
    wrong = [(at, number) for at, number in enumerate(numbers, 1) if at != number]
    return f"{len(numbers)} records; from number {wrong[0][0]} on there is {wrong[0][1]}"


def claim(name: str, size: str = "8Mi", mode: str = "Filesystem", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "volumeMode": mode,
            "resources": {"requests": {"storage": size}},
            **spec,
        },
    }


def writer(name: str, of: str = "", strategy: str = "Always", **spec: Any) -> Object:
    """A VM that keeps its diary in the claim `of`, which must be made too; usually of its name."""
    return vm(name, strategy, **writes(of or name, **spec))


def writes(of: str, image: str = GUEST, **spec: Any) -> Object:
    """The fields of a VMI's spec of such a guest."""
    whole = vmi_spec(image)
    whole["domain"]["devices"]["disks"] += [
        {"name": DISK, "serial": DISK, "disk": {"bus": "virtio"}},
        {"name": "script", "disk": {"bus": "virtio"}},
    ]
    whole["volumes"] += [
        {"name": DISK, "persistentVolumeClaim": {"claimName": of}},
        {"name": "script", "cloudInitNoCloud": {"userData": SCRIPT}},
    ]
    return {**whole, **spec}


def image(namespace: Namespace, name: str) -> Path:
    """The file that holds the claim's disk, as this machine sees it."""
    volume = namespace.get("pvc", name)["spec"]["volumeName"]
    places: list[Path] = [node.folder / VOLUMES / volume for node in layout.ALL_NODES]
    [found] = [place for place in places if place.exists()]
    return found / "disk.img" if found.is_dir() else found


def read(namespace: Namespace, name: str) -> Diary:
    """What is in the diary, be the guest there or not. AssertionError where a record is damaged."""
    return parse(image(namespace, name).read_bytes())


def parse(content: bytes) -> Diary:
    records = []
    for at in range(SECTOR, len(content), SECTOR):
        sector = content[at : at + SECTOR].rstrip(b"\0")
        if not sector:
            break
        text, _, checksum = sector.decode(errors="replace").strip().rpartition(" ")
        wanted = hashlib.md5(f"{text}\n".encode(), usedforsecurity=False).hexdigest()[:8]
        assert checksum == wanted, f"sector {at // SECTOR} is damaged: {sector!r}"
        number, boot, who = text.split()
        records.append(Record(int(number), boot, who))
    return Diary(records)


def said(vmi: Object) -> tuple[int, str]:
    """The last number that the guest has said to be on its disk, and its boot's id; (0, "") while
    it says nothing."""
    status = vmi["status"]
    address = status["interfaces"][0]["ipAddress"]
    try:
        words = on_node(status["nodeName"], f"wget -q -T 2 -O - http://{address}/diary").split()
    except Refused:
        return 0, ""
    return (int(words[0]), words[1]) if len(words) == 2 else (0, "")


def goes_on(vmi: Object, after: int = 0, seconds: float = 120) -> int:
    """A number that was said after `after`: the guest is up and writes."""

    def look() -> int:
        number, _ = said(vmi)
        return number if number > after else 0

    return eventually(look, f"the guest writes on after {after}", seconds)
