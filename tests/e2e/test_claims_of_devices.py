"""Devices by resource claims: the real scheduler allots them, the real kubelet and containerd give
them, and a launcher finds out which they are. A sysfs of the test's own stands where the node's is,
so everything is real but the devices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from localcluster import layout
from tests.e2e.claims_driver import Driver
from tests.e2e.support import (
    Namespace,
    Object,
    conditions,
    configured,
    eventually,
    on_node,
    vmi,
)
from tests.node.hardware import Hardware

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NODE = layout.ALL_NODES[0]
PLACE = "var/lib/claimed"
GROUPS = range(9200, 9206)
TELLS, SILENT = "tells.virtpod.test", "silent.virtpod.test"
"""Drivers: the second is as Intel's for QAT, and publishes services only."""


@pytest.fixture(scope="module")
def drivers(cluster: None) -> Iterator[dict[str, Driver]]:
    folder = Path(NODE.folder, PLACE)
    made = Hardware(folder / "sys", folder / "dev")
    pairs = {
        TELLS: made.qat("0000:3d:00.0", "8086:4940", group=GROUPS[0]),
        SILENT: made.qat("0000:3f:00.0", "8086:4940", "dc", group=GROUPS[3]),
    }
    groups = {TELLS: GROUPS[1], SILENT: GROUPS[4]}
    nodes = " ".join(f"/dev/vfio/{group}" for group in GROUPS)
    covered = ("bus/pci/devices", "kernel/iommu_groups")
    with ExitStack() as stack:
        on_node(
            NODE.name,
            "".join(f"mount --bind /{PLACE}/sys/{each} /sys/{each};" for each in covered)
            + "mkdir -p /dev/vfio;"
            f"for node in /dev/vfio/vfio {nodes}; do [ -e $node ] || mknod $node c 1 3; done",
        )
        stack.callback(
            on_node,
            NODE.name,
            "".join(f"umount /sys/{each};" for each in covered)
            + f"rm -f {nodes} /dev/vfio/vfio; rmdir /dev/vfio; rm -r /{PLACE} /var/lib/claims",
        )
        yield {
            name: stack.enter_context(
                Driver(
                    name,
                    NODE,
                    {address: groups[name] + n for n, address in enumerate(functions)},
                    tells=name == TELLS,
                ).running()
            )
            for name, functions in pairs.items()
        }


def request(name: str, driver: str, count: int = 1) -> Object:
    return {"requests": [{"name": name, "exactly": {"deviceClassName": driver, "count": count}}]}


def known(namespace: Namespace, vmi: Object) -> list[Object]:
    """The devices that its launcher has found."""
    pod = namespace.launcher(vmi)["metadata"]["name"]
    said = namespace.kubectl("logs", pod, "-c", "compute").splitlines()
    told = [json.loads(line) for line in said if '"devices of the node"' in line]
    found: list[Object] = told[-1]["devices"]
    return found


def allotted(namespace: Namespace, vmi: Object, claim: str, driver: Driver) -> str:
    """The address of the one device of a claim of the VMI's pod."""
    statuses = namespace.launcher(vmi)["status"]["resourceClaimStatuses"]
    [name] = [each["resourceClaimName"] for each in statuses if each["name"] == claim]
    devices = namespace.get("resourceclaim", name)["status"]["allocation"]["devices"]
    [result] = devices["results"]
    [address] = [each for each in driver.functions if driver.named(each) == result["device"]]
    return address


def asks(name: str, **claims: str) -> Object:
    """`claims`: the template of each; one that begins with "the-" is a claim."""
    made = vmi(name)
    made["spec"]["resourceClaims"] = [
        {
            "name": claim,
            f"resourceClaim{'' if given.startswith('the-') else 'Template'}Name": given,
        }
        for claim, given in claims.items()
    ]
    made["spec"]["domain"]["devices"]["hostDevices"] = [
        {"name": f"device-{claim}", "claimName": claim, "requestName": "it"} for claim in claims
    ]
    return made


@pytest.fixture
def gate() -> Iterator[None]:
    with configured("NetworkDevicesWithDRA"):
        yield


@pytest.mark.shows("networks.resourceClaim.*")
def test_a_network_s_card_is_a_claim_s_device(
    drivers: dict[str, Driver], namespace: Namespace, gate: None
) -> None:
    """Of a driver that publishes the addresses, and of one that does not; QEMU opens neither."""
    for driver in drivers.values():
        driver.wait()
    template = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate"}
    guest = vmi("wired")
    spec = guest["spec"]
    spec["resourceClaims"] = []
    for name, driver in (("fast", TELLS), ("slow", SILENT)):
        devices = {"devices": request("vf", driver)}
        namespace.apply(template | {"metadata": {"name": name}, "spec": {"spec": devices}})
        spec["resourceClaims"].append({"name": name, "resourceClaimTemplateName": name})
        spec["networks"].append(
            {"name": name, "resourceClaim": {"claimName": name, "requestName": "vf"}}
        )
        spec["domain"]["devices"]["interfaces"].append({"name": name, "sriov": {}})
    namespace.apply(guest)
    waits = namespace.wait(
        "vmi", "wired", lambda found: "Synchronized" in conditions(found), "says why", 120
    )
    assert "passthrough of host PCI devices" in conditions(waits)["Synchronized"]["message"]
    told = {each["name"]: each["address"] for each in known(namespace, waits)}
    assert told == {
        name: allotted(namespace, waits, name, drivers[driver])
        for name, driver in (("fast", TELLS), ("slow", SILENT))
    }
    namespace.delete("vmi", "wired")


@pytest.mark.shows(
    "resourceClaims.*",
    "domain.devices.hostDevices.claimName",
    "domain.devices.hostDevices.requestName",
)
def test_claims_are_allotted_and_found_again(
    drivers: dict[str, Driver], namespace: Namespace
) -> None:
    for driver in drivers.values():
        driver.wait()
    api = {"apiVersion": "resource.k8s.io/v1"}
    template = api | {"kind": "ResourceClaimTemplate", "metadata": {"name": "engines"}}
    claim = api | {"kind": "ResourceClaim", "metadata": {"name": "the-packer"}}
    namespace.apply(
        template | {"spec": {"spec": {"devices": request("it", TELLS, count=2)}}},
        claim | {"spec": {"devices": request("it", SILENT)}},
        asks("both", crypto="engines", zip="the-packer"),
    )
    # QEMU wants what no test can forge: the guest does not start, and its user hears why.
    waits = namespace.wait(
        "vmi", "both", lambda found: "Synchronized" in conditions(found), "says why", 120
    )
    assert "passthrough of host PCI devices" in conditions(waits)["Synchronized"]["message"]
    pod = namespace.launcher(waits)
    # The launcher knows both of the driver that tells, and of the silent one what was allotted.
    claimed = namespace.get("resourceclaim", "the-packer")["status"]["allocation"]["devices"]
    packer = next(
        address
        for address in drivers[SILENT].functions
        if drivers[SILENT].named(address) == claimed["results"][0]["device"]
    )
    told = known(namespace, waits)
    first, second = sorted(each["address"] for each in told[:2])
    assert [first, second] == sorted(drivers[TELLS].functions)
    assert [each["name"] for each in told] == ["device-crypto", "device-crypto-1", "device-zip"]
    assert told[2]["address"] == packer
    nodes = namespace.compute(pod["metadata"]["name"], "ls", "/dev/vfio").split()
    groups = [drivers[SILENT].functions[packer], *drivers[TELLS].functions.values()]
    assert sorted(nodes) == sorted(["vfio", *map(str, groups)])

    namespace.apply(asks("more", crypto="engines"))
    waits = namespace.wait(
        "vmi", "more", lambda found: "PodScheduled" in conditions(found), "finds no device left"
    )
    assert "cannot allocate all claims" in conditions(waits)["PodScheduled"]["message"]
    namespace.delete("vmi", "both")
    namespace.wait(
        "vmi", "more", lambda found: "Synchronized" in conditions(found), "has them now", 120
    )
    namespace.delete("vmi", "more")
    eventually(
        lambda: not drivers[TELLS].left(),
        lambda: f"what was prepared is not undone: {drivers[TELLS].left()}",
    )
