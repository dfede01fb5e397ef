"""A guest whose volumes are the node's own and the cluster's: disks, folders, and a claim that
takes what is in its memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import diary
from tests.e2e.support import Console, Namespace, Object, configured, eventually, on_node, vm

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAME = "folders"
GATES = ("HostDisk", "EnableVirtioFsStorageVolumes")
PLACE = "/var/lib/virtpod-tests/folders"
FOLDERS: dict[str, Object] = {
    "files": {"persistentVolumeClaim": {"claimName": "files"}},
    "settings": {"configMap": {"name": "settings"}},
}
DISK = {"type": "DiskOrCreate", "path": f"{PLACE}/disk.img", "capacity": "8Mi"}


def machine() -> Object:
    made = vm(NAME, terminationGracePeriodSeconds=5)
    spec = made["spec"]["template"]["spec"]
    devices = spec["domain"]["devices"]
    spec["volumes"] += [{"name": name, **source} for name, source in FOLDERS.items()]
    devices["filesystems"] = [{"name": name, "virtiofs": {}} for name in FOLDERS]
    spec["volumes"].append({"name": "host", "hostDisk": DISK})
    devices["disks"].append({"name": "host", "serial": "host", "disk": {"bus": "virtio"}})
    return made


@pytest.fixture(scope="module")
def place(namespace: Namespace) -> Iterator[Namespace]:
    with configured(*GATES):
        settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}
        namespace.apply(
            {**settings, "data": {"colour": "green"}},
            diary.claim("files"),
            diary.claim("dump", size="400Mi"),
            machine(),
        )
        found = namespace.running(NAME)
        yield namespace
        namespace.delete("vm", NAME)
        on_node(found["status"]["nodeName"], f"rm -rf {PLACE}")


def claimed(namespace: Namespace, claim: str) -> Path:
    """Its folder, as this machine sees it."""
    return diary.image(namespace, claim).parent


def test_a_guest_has_disks_of_its_node_and_folders_of_the_cluster(place: Namespace) -> None:
    node = place.get("vmi", NAME)["status"]["nodeName"]
    with Console(place.name, NAME) as console:
        console.login()
        for name in FOLDERS:
            console.run(f"mkdir /mnt/{name} && mount -t virtiofs {name} /mnt/{name}")
        assert console.run("cat /mnt/settings/colour") == "green"
        console.run("echo from-the-guest >/mnt/files/written; sync")
        assert (claimed(place, "files") / "written").read_text() == "from-the-guest\n"
        change = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}
        place.apply({**change, "data": {"colour": "blue"}})
        console.run("echo on-the-node | dd of=/dev/vdb conv=fsync 2>&1")
        assert "on-the-node" in on_node(node, f"head -c 16 {PLACE}/disk.img")
        owner = on_node(node, f"stat -c '%u %a %s' {PLACE}/disk.img").split()
        assert owner == ["107", "660", str(8 << 20)]
        # The kubelet brings it within its period, a minute or so.
        eventually(
            lambda: console.run("cat /mnt/settings/colour") == "blue",
            "the guest sees that its ConfigMap has changed",
            150,
        )


def request(vm: Object) -> Object:
    found: Object = (vm.get("status") or {}).get("memoryDumpRequest") or {}
    return found


@pytest.mark.shows("volumes.memoryDump.claimName", "volumes.memoryDump.hotpluggable")
def test_what_is_in_its_memory_comes_into_a_claim(place: Namespace) -> None:
    uid = place.get("vmi", NAME)["metadata"]["uid"]
    place.virtctl("memory-dump", "get", NAME, "--claim-name=dump")
    over = place.wait(
        "vm",
        NAME,
        lambda vm: request(vm).get("phase") in ("Completed", "Failed"),
        "its memory is dumped",
        150,
    )
    told = request(over)
    assert told["phase"] == "Completed", told
    assert told["endTimestamp"] >= told["startTimestamp"]
    [volume] = [v for v in over["spec"]["template"]["spec"]["volumes"] if v["name"] == "dump"]
    assert volume["memoryDump"] == {"claimName": "dump", "hotpluggable": True}
    assert not [c for c in over["status"]["conditions"] if c["type"] == "RestartRequired"]
    [file] = claimed(place, "dump").glob("*.memory.dump")
    assert file.name == told["fileName"]
    with file.open("rb") as opened:
        head = opened.read(20)
    assert head[:5] == b"\x7fELF\x02"
    assert (head[16], head[18]) == (4, 62)  # a core file of x86-64
    vmi = place.get("vmi", NAME)
    assert vmi["metadata"]["uid"] == uid
    assert "dump" not in [each["name"] for each in vmi["status"]["volumeStatus"]]
    place.told(NAME, "MemoryDumpInProgress", "MemoryDumpCompleted")
    place.virtctl("memory-dump", "remove", NAME)
    gone = place.wait("vm", NAME, lambda vm: not request(vm), "the claim is dissociated")
    names = [each["name"] for each in gone["spec"]["template"]["spec"]["volumes"]]
    assert "dump" not in names
    assert file.exists()
