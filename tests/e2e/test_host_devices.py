"""Devices of a node, as a real kubelet counts and gives them: a sysfs of the test's own stands
where the node's is, so everything is real but the devices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import layout
from tests.e2e.support import (
    SYSTEM,
    Namespace,
    Object,
    Refused,
    available,
    conditions,
    eventually,
    kubectl,
    kubevirt,
    on_node,
    vmi,
)
from tests.node.hardware import Hardware, write

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NODE = layout.ALL_NODES[0]
PLACE = "var/lib/hardware"
CY, DC = "qat.intel.com/cy", "qat.intel.com/dc"
GROUPS = range(9100, 9106)


@pytest.fixture(scope="module")
def hardware(cluster: None) -> Iterator[Hardware]:
    """Two QAT devices with two virtual functions each: one does crypto, the other compresses."""
    folder = Path(NODE.folder, PLACE)
    made = Hardware(folder / "sys", folder / "dev")
    made.qat("0000:3d:00.0", "8086:4940", "sym;asym", group=GROUPS[0])
    made.qat("0000:3f:00.0", "8086:4940", "dc", group=GROUPS[3])
    nodes = " ".join(f"/dev/vfio/{group}" for group in GROUPS)
    on_node(
        NODE.name,
        f"mount --bind /{PLACE}/sys/bus/pci/devices /sys/bus/pci/devices; mkdir -p /dev/vfio;"
        f"for node in /dev/vfio/vfio {nodes}; do [ -e $node ] || mknod $node c 1 3; done",
    )
    before = configure(
        {"permittedHostDevices": {}, "developerConfiguration": with_gates("HostDevices", "QAT")}
    )
    yield made
    configure({"permittedHostDevices": None, **before})
    on_node(
        NODE.name,
        f"umount /sys/bus/pci/devices; rm -f {nodes} /dev/vfio/vfio; rmdir /dev/vfio;"
        f"rm -r /{PLACE}",
    )


def with_gates(*names: str) -> Object:
    given = kubevirt()["spec"]["configuration"]["developerConfiguration"]
    return {**given, "featureGates": [*(given.get("featureGates") or ()), *names]}


def configure(changes: Object) -> Object:
    """The developer configuration as it was."""
    before = kubevirt()["spec"]["configuration"].get("developerConfiguration") or {}
    body = json.dumps({"spec": {"configuration": changes}})
    kubectl("-n", SYSTEM, "patch", "kubevirt", "kubevirt", "--type", "merge", "-p", body)
    available()
    return {"developerConfiguration": {"featureGates": None, **before}}


def counted() -> dict[str, str]:
    node = json.loads(kubectl("get", "node", NODE.name, "-o", "json"))
    return {name: node["status"]["allocatable"].get(name, "0") for name in (CY, DC)}


def wait_for(cy: int, dc: int) -> None:
    wanted = {CY: str(cy), DC: str(dc)}
    eventually(lambda: counted() == wanted, lambda: f"{wanted}, but {counted()}", 90)


def asks(name: str, **resources: int) -> Object:
    made = vmi(name)
    domain = made["spec"]["domain"]
    domain["devices"]["hostDevices"] = [
        {"name": f"{kind}{number}", "deviceName": f"qat.intel.com/{kind}"}
        for kind, count in resources.items()
        for number in range(count)
    ]
    return made


def environment(namespace: Namespace, name: str) -> dict[str, str]:
    """Of a launcher's container, once it runs."""
    namespace.wait(
        "vmi", name, lambda found: found["status"].get("phase") == "Scheduled", "with a pod"
    )
    pod = namespace.launcher(namespace.get("vmi", name))["metadata"]["name"]
    said = namespace.compute(pod, "env").splitlines()
    return dict(line.split("=", 1) for line in said if "=" in line)


@pytest.mark.shows("domain.devices.hostDevices.name", "domain.devices.hostDevices.deviceName")
def test_the_kubelet_counts_and_gives_devices_by_service(
    namespace: Namespace, hardware: Hardware
) -> None:
    wait_for(cy=2, dc=2)
    namespace.apply(asks("both", cy=2, dc=1))
    said = environment(namespace, "both")
    assert sorted(said["PCI_RESOURCE_QAT_INTEL_COM_CY"].split(",")) == [
        "0000:3d:01.0",
        "0000:3d:01.1",
    ]
    assert said["PCI_RESOURCE_QAT_INTEL_COM_DC"].startswith("0000:3f:01.")
    # QEMU wants what no test can forge: the guest does not start, and its user hears why.
    waits = namespace.wait(
        "vmi", "both", lambda found: "Synchronized" in conditions(found), "says why"
    )
    assert "passthrough of host PCI devices" in conditions(waits)["Synchronized"]["message"]

    namespace.apply(asks("more", cy=1))
    waits = namespace.wait(
        "vmi", "more", lambda found: "PodScheduled" in conditions(found), "finds no device left"
    )
    assert f"Insufficient {CY}" in conditions(waits)["PodScheduled"]["message"]
    with pytest.raises(Refused, match=f"All devices {CY} that nodes have are taken"):
        namespace.virtctl("why", "vmi", "more")
    namespace.delete("vmi", "both")
    environment(namespace, "more")
    namespace.delete("vmi", "more")


def test_health_and_faults_are_told_on_the_node(hardware: Hardware) -> None:
    state = hardware.root / "bus/pci/devices/0000:3d:00.0/qat/state"
    write(state, "down")
    wait_for(cy=0, dc=2)

    def complaint() -> str:
        node = json.loads(kubectl("get", "node", NODE.name, "-o", "json"))
        found: str = conditions(node).get("HostDevicesOffered", {}).get("message", "")
        return found

    eventually(lambda: "QAT device 0000:3d:00.0 is down" in complaint(), complaint)
    write(state, "up")
    wait_for(cy=2, dc=2)
    eventually(lambda: not complaint(), complaint)


def test_a_new_agent_and_a_new_configuration_are_followed(hardware: Hardware) -> None:
    kubectl("-n", SYSTEM, "rollout", "restart", "daemonset/virt-handler")
    kubectl("-n", SYSTEM, "rollout", "status", "daemonset/virt-handler", "--timeout=120s")
    wait_for(cy=2, dc=2)
    configure({"developerConfiguration": {"featureGates": ["HostDevices"]}})
    wait_for(cy=0, dc=0)
