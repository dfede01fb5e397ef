"""Instance types and preferences: what a guest gets of them, and keeps."""

from __future__ import annotations

import json

import pytest

from tests.e2e.support import Console, Namespace, Object, Refused, conditions, kubectl, vm

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

GROUP = "instancetype.kubevirt.io"


def kind(name: str, called: str, **spec: object) -> Object:
    return {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": name,
        "metadata": {"name": called},
        "spec": spec,
    }


def sized(name: str, guest: int) -> Object:
    return kind("VirtualMachineInstancetype", name, cpu={"guest": guest}, memory={"guest": "192Mi"})


CORES = kind(
    "VirtualMachinePreference",
    "cores",
    cpu={"preferredCPUTopology": "cores"},
    devices={"preferredDiskBus": "virtio"},
    requirements={"cpu": {"guest": 2}},
)
NAMED = {"kind": "VirtualMachineInstancetype", "name": "pair"}
PREFERRED = {"kind": "virtualmachinepreferences", "name": "cores"}


def machine(name: str, **spec: object) -> Object:
    """A VM that leaves its size, and the bus of its disk, to others."""
    made = vm(name)
    domain = made["spec"]["template"]["spec"]["domain"]
    domain.pop("memory", None)
    domain.pop("resources", None)
    for disk in domain["devices"]["disks"]:
        disk["disk"] = {}
    made["spec"] |= spec
    return made


def test_a_guest_has_what_its_instance_type_gave_it_first(namespace: Namespace) -> None:
    namespace.apply(sized("pair", 2), CORES)
    namespace.apply(machine("demo", instancetype=NAMED, preference=PREFERRED))
    instance = namespace.running("demo")
    domain = instance["spec"]["domain"]
    assert domain["memory"]["guest"] == "192Mi"
    assert (domain["cpu"]["sockets"], domain["cpu"]["cores"]) == (1, 2)
    assert domain["devices"]["disks"][0]["disk"]["bus"] == "virtio"
    assert instance["metadata"]["annotations"]["kubevirt.io/instancetype-name"] == "pair"
    with Console(namespace.name, "demo") as console:
        console.login()
        assert console.run("nproc").strip() == "2"

    machine_now = namespace.get("vm", "demo")
    assert "memory" not in machine_now["spec"]["template"]["spec"]["domain"]
    kept = machine_now["status"]["instancetypeRef"]["controllerRevisionRef"]["name"]
    revision = namespace.get("controllerrevision", kept)
    assert revision["data"]["spec"]["cpu"]["guest"] == 2
    assert revision["metadata"]["labels"][f"{GROUP}/object-name"] == "pair"

    # It is another one now, and then none: the VM goes on with its copy.
    namespace.kubectl("delete", "vminstancetype", "pair")
    namespace.virtctl("restart", "demo")
    again = namespace.running("demo", other_than=instance["metadata"]["uid"])
    assert again["spec"]["domain"]["cpu"]["cores"] == 2

    # Naming one that was not taken yet asks for a restart.
    namespace.apply(sized("quad", 4))
    quad = {"spec": {"instancetype": {**NAMED, "name": "quad"}}}
    namespace.patch("vm", "demo", quad)
    waits = namespace.wait(
        "vm", "demo", lambda found: "RestartRequired" in conditions(found), "asks for a restart"
    )
    assert "instancetype" in conditions(waits)["RestartRequired"]["message"]
    assert waits["status"]["instancetypeRef"]["name"] == "quad"
    whole = json.loads(namespace.virtctl("expand", "--vm", "demo", "--output", "json"))
    assert whole["spec"]["template"]["spec"]["domain"]["cpu"]["cores"] == 4
    assert "instancetype" not in whole["spec"]
    namespace.delete("vm", "demo")


def test_kinds_of_the_whole_cluster(namespace: Namespace) -> None:
    size = sized(namespace.name, 2) | {"kind": "VirtualMachineClusterInstancetype"}
    cores = CORES | {
        "kind": "VirtualMachineClusterPreference",
        "metadata": {"name": namespace.name},
    }
    both = {"name": namespace.name}
    namespace.apply(size, cores)
    try:
        namespace.apply(machine("wide", instancetype=both, preference=both))
        domain = namespace.running("wide")["spec"]["domain"]
        assert (domain["cpu"]["sockets"], domain["cpu"]["cores"]) == (1, 2)
        namespace.delete("vm", "wide")
    finally:
        namespace.delete("vmclusterinstancetype", namespace.name)
        namespace.delete("vmcp", namespace.name)


def test_a_size_that_is_shipped(namespace: Namespace) -> None:
    """The smallest one: four of them are as much as the machine that runs the tests has."""
    quads = kubectl("get", "vmcf", "--selector", f"{GROUP}/cpu=4", "--output", "name")
    assert f"virtualmachineclusterinstancetype.{GROUP}/u1.xlarge" in quads.split()
    named = {"instancetype": {"name": "u1.nano"}, "preference": {"name": "alpine"}}
    namespace.apply(machine("nano", **named))
    instance = namespace.running("nano")
    domain = instance["spec"]["domain"]
    assert domain["memory"]["guest"] == "512Mi"
    assert domain["devices"]["disks"][0]["disk"]["bus"] == "virtio"
    assert instance["metadata"]["annotations"]["vm.kubevirt.io/os"] == "linux"
    with Console(namespace.name, "nano") as console:
        console.login()
        kibibytes = int(console.run("sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo"))
        assert 400 * 1024 < kibibytes <= 512 * 1024
    refs = namespace.get("vm", "nano")["status"]
    assert refs["instancetypeRef"]["kind"] == "VirtualMachineClusterInstancetype"
    assert "alpine-v1beta1" in refs["preferenceRef"]["controllerRevisionRef"]["name"]
    with pytest.raises(Refused, match="preference requires 2Gi"):
        namespace.apply(machine("no", **{**named, "preference": {"name": "ubuntu"}}))
    namespace.delete("vm", "nano")


def test_what_does_not_fit_is_refused_with_its_field(namespace: Namespace) -> None:
    namespace.apply(sized("one", 1), sized("pair", 2), CORES)
    with pytest.raises(Refused, match=r"spec\.instancetype.*not found"):
        namespace.apply(machine("no", instancetype={"name": "absent"}))
    both = machine("no", instancetype=NAMED)
    both["spec"]["template"]["spec"]["domain"]["cpu"] = {"sockets": 2}
    with pytest.raises(Refused, match="conflicts with selected instance type"):
        namespace.apply(both)
    with pytest.raises(Refused, match="preference requires 2 vCPU"):
        namespace.apply(machine("no", instancetype={**NAMED, "name": "one"}, preference=PREFERRED))


def test_a_volume_names_what_its_guest_wants(namespace: Namespace) -> None:
    namespace.apply(sized("pair", 2))
    claim: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "labelled",
            "labels": {
                f"{GROUP}/default-instancetype": "pair",
                f"{GROUP}/default-instancetype-kind": "VirtualMachineInstancetype",
            },
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "16Mi"}},
        },
    }
    namespace.apply(claim)
    infers = machine("infers", instancetype={"inferFromVolume": "data"})
    infers["spec"]["runStrategy"] = "Halted"
    infers["spec"]["template"]["spec"]["volumes"].append(
        {"name": "data", "persistentVolumeClaim": {"claimName": "labelled"}}
    )
    namespace.apply(infers)
    assert namespace.get("vm", "infers")["spec"]["instancetype"] == NAMED
    infers["metadata"]["name"] = "fails"
    infers["spec"]["preference"] = {"inferFromVolume": "data"}
    with pytest.raises(Refused, match="default-preference label on the volume"):
        namespace.apply(infers)
    infers["spec"]["preference"]["inferFromVolumeFailurePolicy"] = "Ignore"
    namespace.apply(infers)
    assert "preference" not in namespace.get("vm", "fails")["spec"]
    namespace.delete("vm", "infers", "fails")
    kubectl("explain", "vmf.spec.cpu.guest")
