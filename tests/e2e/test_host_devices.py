"""Devices of a node, as a real kubelet counts and gives them: a sysfs of the test's own stands
where the node's is, so everything is real but the devices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from localcluster import layout
from tests.e2e.invariants import kill
from tests.e2e.support import (
    SYSTEM,
    Namespace,
    Object,
    Refused,
    available,
    bare,
    component_pods,
    conditions,
    eventually,
    kubectl,
    kubevirt,
    metrics,
    on_node,
    ready,
    vmi,
    why,
)
from tests.node.hardware import Hardware, Player, write

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NODE = layout.ALL_NODES[0]
PLACE = "var/lib/hardware"
CY, DC = "qat.intel.com/cy", "qat.intel.com/dc"
CRYPTO, ZIP, SPARE = "0000:3d:00.0", "0000:3f:00.0", "0000:41:00.0"
GROUPS = range(9100, 9112)


@pytest.fixture(scope="module")
def hardware(cluster: None) -> Iterator[Hardware]:
    """Two QAT devices with two virtual functions each: one does crypto, the other compresses; and a
    third on another NUMA node, that has none yet."""
    folder = Path(NODE.folder, PLACE)
    made = Hardware(folder / "sys", folder / "dev")
    made.qat(CRYPTO, "8086:4940", "sym;asym", group=GROUPS[0])
    made.qat(ZIP, "8086:4940", "dc", group=GROUPS[3])
    made.qat(SPARE, "8086:4948", "dc", functions=0, group=GROUPS[6], numa=1)
    made.driver("qat_vfio_pci")
    nodes = " ".join(f"/dev/vfio/{group}" for group in GROUPS)
    on_node(
        NODE.name,
        f"mount --bind /{PLACE}/sys/bus/pci /sys/bus/pci; mkdir -p /dev/vfio;"
        f"for node in /dev/vfio/vfio {nodes}; do [ -e $node ] || mknod $node c 1 7; done",
    )
    before = configure(
        {"permittedHostDevices": {}, "developerConfiguration": with_gates("HostDevices", "QAT")}
    )
    yield made
    configure({"permittedHostDevices": None, **before})
    on_node(
        NODE.name,
        f"umount /sys/bus/pci; rm -f {nodes} /dev/vfio/vfio; rmdir /dev/vfio;rm -r /{PLACE}",
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


def the_node() -> Object:
    found: Object = json.loads(kubectl("get", "node", NODE.name, "-o", "json"))
    return found


def counted() -> dict[str, str]:
    allocatable = the_node()["status"]["allocatable"]
    return {name: allocatable.get(name, "0") for name in (CY, DC)}


def complaint() -> str:
    found: str = conditions(the_node()).get("HostDevicesOffered", {}).get("message", "")
    return found


def kinds() -> dict[str, str]:
    """Of functions that the node has, by its labels."""
    beginning = "pci-device.node.kubevirt.io/"
    labels = the_node()["metadata"]["labels"].items()
    return {k.removeprefix(beginning): v for k, v in labels if k.startswith(beginning)}


def device(address: str) -> Object:
    """As the node's state tells of it."""
    said = kubectl("get", "qatnodestate", NODE.name, "-o", "json", "--ignore-not-found")
    devices = json.loads(said or "{}").get("status", {}).get("devices") or ()
    return next((each for each in devices if each["address"] == address), {})


def configured(address: str) -> tuple[str, str]:
    found = conditions({"status": device(address)}).get("Configured", {})
    return found.get("reason", ""), found.get("message", "")


def measured(name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """A metric of the node's virt-handler: values by these labels."""
    [handler] = [
        pod for pod in component_pods("virt-handler") if pod["spec"]["nodeName"] == NODE.name
    ]
    return {
        tuple(sample.labels[each] for each in labels): sample.value
        for family in text_string_to_metric_families(metrics(handler))
        for sample in family.samples
        if sample.name == name
    }


def registered_anew() -> bool:
    """A kubelet that starts empties the folder; then the plugin makes its socket, and registers."""
    script = (
        "cd /var/lib/kubelet/device-plugins && [ kubevirt-qat.intel.com-cy.sock -nt kubelet.sock ] "
        "&& echo yes || true"
    )
    return on_node(NODE.name, script).strip() == "yes"


def policy(name: str, **spec: Any) -> None:
    manifest = {
        "apiVersion": "devices.virtpod.io/v1alpha1",
        "kind": "QATNodePolicy",
        "metadata": {"name": name},
        "spec": spec,
    }
    kubectl("apply", "--filename=-", stdin=json.dumps(manifest))


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
    assert measured("virtpod_qat_info", "device", "model", "services", "numa") == {
        (CRYPTO, "4xxx", "sym;asym", "0"): 1,
        (ZIP, "4xxx", "dc", "0"): 1,
        (SPARE, "6xxx", "dc", "1"): 1,
    }
    assert measured("virtpod_qat_virtual_functions", "device") == {
        (CRYPTO,): 2,
        (ZIP,): 2,
        (SPARE,): 0,
    }
    taken = {"0000:3d:01.0", "0000:3d:01.1", said["PCI_RESOURCE_QAT_INTEL_COM_DC"]}

    def owned() -> set[tuple[str, ...]]:
        labels = ("device", "driver", "numa", "namespace", "name")
        return {each for each in measured("virtpod_host_device_info", *labels) if each[-1]}

    whose = {(device, "vfio-pci", "0", namespace.name, "both") for device in taken}
    eventually(lambda: owned() == whose, lambda: str(owned()))
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
    state = hardware.functions / CRYPTO / "qat/state"
    write(state, "down")
    wait_for(cy=0, dc=2)
    eventually(lambda: f"QAT device {CRYPTO} is down" in complaint(), complaint)
    eventually(lambda: device(CRYPTO).get("state") == "down", lambda: str(device(CRYPTO)))
    healthy = conditions({"status": device(CRYPTO)})["Healthy"]
    assert (healthy["status"], healthy["reason"]) == ("False", "DeviceDown")
    health = measured("virtpod_host_device_healthy", "device", "resource", "reason")
    assert {labels for labels, well in health.items() if not well} == {
        (f"0000:3d:01.{number}", CY, "DeviceDown") for number in range(2)
    }
    assert measured("virtpod_qat_healthy", "device") == {(CRYPTO,): 0, (ZIP,): 1, (SPARE,): 1}
    assert measured("virtpod_host_devices", "resource", "health") == {
        (CY, "healthy"): 0,
        (CY, "unhealthy"): 2,
        (DC, "healthy"): 2,
        (DC, "unhealthy"): 0,
    }
    events = ("get", "events", "-n", "default", "--field-selector=involvedObject.kind=Node")
    eventually(lambda: "HostDeviceUnhealthy" in kubectl(*events), lambda: kubectl(*events))
    write(state, "up")
    wait_for(cy=2, dc=2)
    eventually(lambda: f"QAT device {CRYPTO} is down" not in complaint(), complaint)
    assert measured("virtpod_qat_healthy", "device")[CRYPTO,] == 1


def test_a_guest_says_which_of_its_devices_fails(namespace: Namespace, hardware: Hardware) -> None:
    """Hot removal under a launcher that has the function."""
    namespace.apply(asks("loses", dc=1))
    address = environment(namespace, "loses")["PCI_RESOURCE_QAT_INTEL_COM_DC"]

    def told(status: str) -> Object:
        def so(found: Object) -> bool:
            return conditions(found).get("HostDevicesHealthy", {}).get("status") == status

        return namespace.wait("vmi", "loses", so, f"HostDevicesHealthy {status}")

    told("True")

    def held() -> bool:
        holders = [each.get("holder", "") for each in device(ZIP)["functions"]]
        return any(each.startswith(f"{namespace.name}/virt-launcher-loses") for each in holders)

    eventually(held, lambda: str(device(ZIP)))
    hardware.remove(address)
    condition = conditions(told("False"))["HostDevicesHealthy"]
    assert condition["reason"] == "DeviceRemoved"
    assert f"dc0 ({address}): PCI device {address} is gone" in condition["message"]
    eventually(lambda: "HostDeviceUnhealthy" in dict(namespace.events("loses")), "an event says so")
    namespace.delete("vmi", "loses")
    hardware.virtual(ZIP, int(address[-1]), "vfio-pci", GROUPS[3])
    wait_for(cy=2, dc=2)


def test_a_device_is_lent_to_a_guest_that_runs(namespace: Namespace, hardware: Hardware) -> None:
    """All but the last step, which QEMU refuses for want of a device: its user hears why."""
    machine = bare("borrows")
    here = {"kubernetes.io/hostname": NODE.name}
    machine["spec"]["template"]["spec"]["nodeSelector"] = here
    namespace.apply(machine)
    running = namespace.wait(
        "vmi", "borrows", lambda found: found["status"].get("phase") == "Running", "runs"
    )
    launcher = namespace.launcher(running)["metadata"]["name"]
    lends(namespace, {"name": "crypto", "deviceName": CY})

    def refused(found: Object) -> bool:
        return plugged(found).get("reason") == "HotplugFailed"

    said = plugged(namespace.wait("vmi", "borrows", refused, "says why", 120))["message"]
    assert "passthrough of host PCI devices" in said
    found = why(namespace, "borrows")
    assert (found["code"], said in found["sentence"]) == ("DeviceNotPlugged", True)
    [holder] = namespace.items("pod", "kubevirt.io=hotplug-device")
    name = holder["metadata"]["name"]

    def given() -> list[str]:
        functions = device(CRYPTO)["functions"]
        return [f["address"] for f in functions if f.get("holder", "").endswith(f"/{name}")]

    eventually(given, lambda: str(device(CRYPTO)))
    group = f"/dev/vfio/{GROUPS[0] + 1 + int(given()[0][-1])}"
    assert namespace.compute(launcher, "stat", "-c", "%F %u %a", group) == (
        "character special file 107 600\n"
    )
    namespace.compute(launcher, "head", "-c", "1", group)  # it may be opened

    def healthy(found: Object) -> bool:
        return conditions(found).get("HostDevicesHealthy", {}).get("status") == "True"

    namespace.wait("vmi", "borrows", healthy, "has a healthy device")

    # It is the kubelet's to count: there is one left, and no third.
    namespace.apply(asks("more", cy=2))
    waits = namespace.wait(
        "vmi", "more", lambda found: "PodScheduled" in conditions(found), "finds one device alone"
    )
    assert f"Insufficient {CY}" in conditions(waits)["PodScheduled"]["message"]

    lends(namespace)
    environment(namespace, "more")
    assert not namespace.items("pod", "kubevirt.io=hotplug-device")
    namespace.wait("vmi", "borrows", lambda found: not plugged(found), "has none")
    with pytest.raises(Refused, match="No such file"):
        namespace.compute(launcher, "stat", group)
    assert "RestartRequired" not in conditions(namespace.get("vm", "borrows"))

    # What does not fit says so in the scheduler's words, until it is not wanted any more.
    lends(namespace, {"name": "crypto", "deviceName": CY})

    def waiting(found: Object) -> bool:
        return f"Insufficient {CY}" in plugged(found).get("message", "")

    namespace.wait("vmi", "borrows", waiting, "waits for a device")
    assert why(namespace, "borrows")["code"] == "DeviceNotFree"
    lends(namespace)
    namespace.wait("vmi", "borrows", lambda found: not plugged(found), "waits no more")
    assert not namespace.items("pod", "kubevirt.io=hotplug-device")
    namespace.delete("vm", "borrows")
    namespace.delete("vmi", "more")


def lends(namespace: Namespace, *devices: Object) -> None:
    spec = {"domain": {"devices": {"hostDevices": list(devices)}}}
    namespace.patch("vm", "borrows", {"spec": {"template": {"spec": spec}}})


def plugged(found: Object) -> Object:
    return conditions(found).get("HostDevicesPlugged", {})


def test_a_policy_sets_a_device_up_and_leaves_what_is_held(
    namespace: Namespace, hardware: Hardware
) -> None:
    """The test plays the kernel: functions and bindings come of what the agent writes."""
    player = Player(hardware, {CRYPTO: GROUPS[0], SPARE: GROUPS[6]})
    player.start()
    try:
        wrong = {
            "deviceSelector": {"models": ["6xxx"]},
            "services": ["sym", "asym", "dc", "decomp"],
        }
        with pytest.raises(Refused, match="6xxx can have 3 services at a time, not 4"):
            policy("wrong", **wrong)
        policy(
            "spare",
            nodeSelector={"kubernetes.io/hostname": NODE.name},
            deviceSelector={"models": ["6xxx"]},
            services=["asym", "sym"],
            numVFs=2,
            driver="qat_vfio_pci",
            allocationPolicy="balanced",
        )
        wait_for(cy=4, dc=2)
        eventually(lambda: configured(SPARE)[0] == "AsConfigured", lambda: str(device(SPARE)))
        found = device(SPARE)
        assert [each["driver"] for each in found["functions"]] == ["qat_vfio_pci"] * 2
        assert (found["resource"], found["policy"], found["numaNode"]) == (CY, "spare", 1)
        # Where guests could go is told with the next heartbeat.
        told = {"8086-4941.cy": "stays", "8086-4941.dc": "stays", "8086-4949.cy": "moves"}
        eventually(lambda: kinds() == told, lambda: str(kinds()), 90)

        # Two are given from one NUMA node, and not touched while a launcher has them.
        namespace.apply(asks("holds", cy=2))
        given = environment(namespace, "holds")["PCI_RESOURCE_QAT_INTEL_COM_CY"].split(",")
        assert len({each[:7] for each in given}) == 1
        held, free = (CRYPTO, SPARE) if given[0][:7] == CRYPTO[:7] else (SPARE, CRYPTO)
        kubectl("delete", "qatnodepolicy", "spare")
        # Functions that are made anew have no driver: it is to be named.
        both = {"addresses": [CRYPTO, SPARE]}
        policy("zip", deviceSelector=both, services=["dc"], driver="vfio-pci")
        wait_for(cy=2, dc=4)
        eventually(lambda: configured(held)[0] == "InUse", lambda: str(device(held)))
        assert f"(pod {namespace.name}/virt-launcher-holds" in configured(held)[1]
        assert device(held)["services"] == ["sym", "asym"]
        # The kubelet counts at once what the node tells of at its next look.
        eventually(lambda: configured(free)[0] == "AsConfigured", lambda: str(device(free)))
        namespace.delete("vmi", "holds")
        wait_for(cy=0, dc=6)
        eventually(lambda: configured(held)[0] == "AsConfigured", lambda: str(device(held)))
    finally:
        player.stop()
        kubectl("delete", "qatnodepolicies", "spare", "zip", "--ignore-not-found")
    write(hardware.functions / CRYPTO / "qat/cfg_services", "sym;asym")
    for function in device(SPARE)["functions"]:
        hardware.remove(function["address"])
    wait_for(cy=2, dc=2)


def test_a_new_agent_and_a_new_kubelet_know_what_is_given_away(
    namespace: Namespace, hardware: Hardware
) -> None:
    namespace.apply(asks("stays", cy=1))
    given = environment(namespace, "stays")["PCI_RESOURCE_QAT_INTEL_COM_CY"]
    kubectl("-n", SYSTEM, "rollout", "restart", "daemonset/virt-handler")
    kubectl("-n", SYSTEM, "rollout", "status", "daemonset/virt-handler", "--timeout=120s")
    kill(NODE.name, "kubelet --")
    eventually(registered_anew, "the plugin's socket is younger than the kubelet's", 120)
    eventually(lambda: ready(NODE.name), "the node is ready", 120)
    wait_for(cy=2, dc=2)
    namespace.apply(asks("other", cy=1))
    other = environment(namespace, "other")["PCI_RESOURCE_QAT_INTEL_COM_CY"]
    assert given != other, "what was given away before is not given again"

    def holder() -> str:
        functions = {each["address"]: each for each in device(CRYPTO)["functions"]}
        return str(functions[given].get("holder", ""))

    eventually(lambda: "virt-launcher-stays" in holder(), holder)
    for name in ("stays", "other"):
        namespace.delete("vmi", name)


def test_a_new_agent_and_a_new_configuration_are_followed(hardware: Hardware) -> None:
    kubectl("-n", SYSTEM, "rollout", "restart", "daemonset/virt-handler")
    kubectl("-n", SYSTEM, "rollout", "status", "daemonset/virt-handler", "--timeout=120s")
    wait_for(cy=2, dc=2)
    configure({"developerConfiguration": {"featureGates": ["HostDevices"]}})
    wait_for(cy=0, dc=0)
