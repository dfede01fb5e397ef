"""What virtctl create writes: the shape that clients know, and what our own admission takes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from virtpod.api.clone import VirtualMachineClone
from virtpod.api.instancetype import (
    CPUInstancetype,
    MemoryInstancetype,
    VirtualMachineClusterInstancetype,
    VirtualMachineInstancetype,
    VirtualMachineInstancetypeSpec,
)
from virtpod.api.kubevirt import KubeVirtConfiguration
from virtpod.api.preference import VirtualMachineClusterPreference, VirtualMachinePreference
from virtpod.api.vm import VirtualMachine
from virtpod.cli import __main__ as cli
from virtpod.domain.facts import Cluster
from virtpod.features import gates
from virtpod.render import admit
from virtpod.render.expand import Choice, Named

Json = dict[str, Any]
KINDS: dict[str, Any] = {
    each.__name__: each
    for each in (
        VirtualMachine,
        VirtualMachineClone,
        VirtualMachineClusterInstancetype,
        VirtualMachineClusterPreference,
        VirtualMachineInstancetype,
        VirtualMachinePreference,
    )
}
UUID = "00000000-0000-4000-8000-000000000000"
DATA = base64.b64encode(b"#cloud-config\nhostname: demo\n").decode()


def admitted(manifest: Json) -> Json:
    """After our admission has found nothing wrong with it, whatever is inferred from volumes."""
    msgspec.convert(manifest, KINDS[manifest["kind"]])
    if manifest["kind"] == "VirtualMachine":
        config = KubeVirtConfiguration()
        cluster = Cluster(config=config, gates=gates.resolve(config), image_volumes=True)
        whole = {**manifest, "metadata": {"namespace": "team", **manifest["metadata"]}}
        for named in worlds(manifest["spec"]):
            verdict = admit.vm(whole, cluster, uuid=UUID, named=named)
            assert [(cause.field, cause.message) for cause in verdict.causes] == []
    return manifest


def worlds(spec: Json) -> list[Named]:
    """What may be found of an instance type: it, and nothing where that does no harm."""
    matcher = spec.get("instancetype")
    if not matcher:
        return [Named()]
    size = VirtualMachineInstancetypeSpec(
        memory=MemoryInstancetype(guest="1Gi"), cpu=CPUInstancetype(guest=2)
    )
    found = Named(
        Choice(instancetype=size),
        {"instancetype": {"name": "found", "kind": "VirtualMachineClusterInstancetype"}},
    )
    may_lack = matcher.get("inferFromVolumeFailurePolicy") == "Ignore"
    return [found, Named(matchers={"instancetype": None})] if may_lack else [found]


def created(capsys: pytest.CaptureFixture[str], *words: str) -> Json:
    assert cli.run(["create", *words]) == 0
    return admitted(yaml.safe_load(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.run(["create", *words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_the_least_is_a_machine_with_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    made = created(capsys, "vm")
    assert made["metadata"]["name"].startswith("vm-")
    assert made["spec"] == {
        "runStrategy": "Always",
        "template": {
            "spec": {
                "domain": {"devices": {}, "memory": {"guest": "512Mi"}},
                "terminationGracePeriodSeconds": 180,
            }
        },
    }


def test_volumes_boot_in_the_order_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    made = created(
        capsys,
        *("vm", "--name", "demo", "-n", "team", "--run-strategy", "Halted", "--memory", "1Gi"),
        *("--volume-containerdisk", "src:registry.example:5000/disk:1,bootorder:2"),
        *("--volume-pvc", "src:data"),
        *(
            "--volume-import",
            "type:http,url:https://example.org/disk,size:5Gi,name:web,bootorder:1",
        ),
        *("--volume-import", "type:blank,size:1Gi,name:scratch"),
        *("--volume-sysprep", "src:answers,type:secret"),
        *("--termination-grace-period", "5"),
    )
    assert made["metadata"] == {"name": "demo", "namespace": "team"}
    spec = made["spec"]
    instance = spec["template"]["spec"]
    assert instance["volumes"] == [
        {"name": "web", "dataVolume": {"name": "web"}},
        {
            "name": "demo-containerdisk-0",
            "containerDisk": {"image": "registry.example:5000/disk:1"},
        },
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "scratch", "dataVolume": {"name": "scratch"}},
        {"name": "sysprepdisk", "sysprep": {"secret": {"name": "answers"}}},
    ]
    assert instance["domain"]["devices"]["disks"] == [
        {"name": "web", "disk": {}, "bootOrder": 1},
        {"name": "demo-containerdisk-0", "disk": {}, "bootOrder": 2},
        {"name": "sysprepdisk", "cdrom": {"bus": "sata"}},
    ]
    web, scratch = spec["dataVolumeTemplates"]
    assert web["spec"] == {
        "storage": {"resources": {"requests": {"storage": "5Gi"}}},
        "source": {"http": {"url": "https://example.org/disk"}},
    }
    assert scratch["spec"]["source"] == {"blank": {}}
    assert "instancetype" not in spec, "what boots first has no labels"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("type:ds,src:images/fedora", ("sourceRef", "images")),
        ("type:pvc,src:images/golden", ("pvc", "images")),
        ("type:snapshot,src:images/before", ("snapshot", "images")),
    ],
)
def test_size_and_preference_are_inferred(
    capsys: pytest.CaptureFixture[str], text: str, source: tuple[str, str]
) -> None:
    spec = created(capsys, "vm", "--volume-import", f"{text},name:root")["spec"]
    matcher = {"inferFromVolume": "root", "inferFromVolumeFailurePolicy": "Ignore"}
    assert (spec["instancetype"], spec["preference"]) == (matcher, matcher)
    assert spec["template"]["spec"]["domain"]["memory"] == {"guest": "512Mi"}, "if nothing is found"
    data = spec["dataVolumeTemplates"][0]["spec"]
    found = data.get(source[0]) or data["source"][source[0]]
    assert found["namespace"] == source[1]
    plain = created(capsys, "vm", "--volume-pvc", "src:a", "--infer-instancetype=false")["spec"]
    assert "instancetype" not in plain
    assert plain["preference"]["inferFromVolume"] == "a"
    certain = created(capsys, "vm", "--volume-pvc", "src:a", "--infer-instancetype")["spec"]
    assert certain["instancetype"] == {"inferFromVolume": "a"}
    assert "memory" not in certain["template"]["spec"]["domain"]


def test_an_instance_type_may_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--instancetype", "virtualmachineinstancetype/small", "--preference", "fedora")
    spec = created(capsys, "vm", *words)["spec"]
    assert spec["instancetype"] == {"kind": "VirtualMachineInstancetype", "name": "small"}
    assert spec["preference"] == {"name": "fedora"}
    assert spec["template"]["spec"]["domain"] == {"devices": {}}


def test_cloud_init_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    made = created(
        capsys,
        *("vm", "--user", "ann", "--password-file", str(password), "--ssh-key", "ssh-ed25519 A a"),
        *("--ssh-key", "ssh-ed25519 B b", "--ga-manage-ssh"),
        *("--access-cred", "src:keys,user:ann", "--access-cred", "type:password,src:words"),
        *("--access-cred", "src:more,method:nocloud"),
    )
    instance = made["spec"]["template"]["spec"]
    [volume] = instance["volumes"]
    text = volume["cloudInitNoCloud"]["userData"]
    assert text.startswith("#cloud-config\n")
    assert yaml.safe_load(text) == {
        "user": "ann",
        "password": "s3cret",
        "chpasswd": {"expire": False},
        "ssh_authorized_keys": ["ssh-ed25519 A a", "ssh-ed25519 B b"],
        "runcmd": [["setsebool", "-P", "virt_qemu_ga_manage_ssh", "on"]],
    }
    first, second, third = instance["accessCredentials"]
    assert first["sshPublicKey"]["propagationMethod"] == {"qemuGuestAgent": {"users": ["ann"]}}
    assert second["userPassword"]["source"] == {"secret": {"secretName": "words"}}
    assert third["sshPublicKey"]["propagationMethod"] == {"noCloud": {}}
    words = ("--cloud-init", "configDrive", "--cloud-init-user-data", DATA)
    [volume] = created(capsys, "vm", *words)["spec"]["template"]["spec"]["volumes"]
    assert volume["cloudInitConfigDrive"] == {"userDataBase64": DATA}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--volume-pvc", "claim"), "'claim' is not KEY:VALUE"),
        (("--volume-pvc", "name:a"), "lacks src"),
        (("--volume-pvc", "src:a,bootorder:0"), "bootorder is a number from 1 on"),
        (("--volume-pvc", "src:a", "--volume-pvc", "src:a"), "two volumes with the name a"),
        (
            ("--volume-pvc", "src:a,bootorder:1", "--volume-pvc", "src:b,bootorder:1"),
            "the same bootorder",
        ),
        (("--volume-import", "size:1Gi"), "wants type:, one of"),
        (("--volume-import", "type:blank"), "lacks size"),
        (("--volume-import", "type:blank,size:much"), "is a quantity such as 512Mi"),
        (("--volume-import", "type:pvc,src:a"), "src is NAMESPACE/NAME"),
        (("--volume-import", "type:registry,size:1Gi"), "wants url or imagestream"),
        (("--instancetype", "a", "--memory", "1Gi"), "--memory is what the instance type says"),
        (("--instancetype", "a", "--infer-instancetype"), "it is not inferred too"),
        (("--instancetype", "pod/a"), "kind is one of"),
        (("--infer-preference", "--volume-containerdisk", "src:a"), "no labels to infer from"),
        (("--infer-preference-from", "a"), "there is no volume a"),
        (("--user", "a", "--cloud-init-user-data", DATA), "is all of the user data"),
        (("--user", "a", "--cloud-init", "none"), "leaves out"),
        (("--cloud-init-user-data", "?"), "is not base64"),
        (("--access-cred", "src:a"), "user goes with method ga"),
        (("--memory=-1",), "is a quantity"),
        (("--password-file", "/nowhere"), "No such file"),
    ],
)
def test_what_cannot_be_is_told(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert told in refused(capsys, "vm", *words)


def test_an_instance_type(capsys: pytest.CaptureFixture[str]) -> None:
    made = created(
        capsys,
        *("instancetype", "--cpu", "2", "--memory", "256Mi", "--name", "small"),
        *("--gpu", "name:gpu1,devicename:nvidia.com/A40", "--iothreadspolicy", "auto"),
        *("--hostdevice", "name:nic,devicename:intel.com/vf"),
    )
    assert made["kind"] == "VirtualMachineClusterInstancetype"
    assert made["metadata"] == {"name": "small"}
    assert made["spec"] == {
        "cpu": {"guest": 2},
        "memory": {"guest": "256Mi"},
        "gpus": [{"name": "gpu1", "deviceName": "nvidia.com/A40"}],
        "hostDevices": [{"name": "nic", "deviceName": "intel.com/vf"}],
        "ioThreadsPolicy": "auto",
    }
    own = created(
        capsys, *("instancetype", "--cpu", "1", "--memory", "1Gi", "--namespaced", "-n", "team")
    )
    assert (own["kind"], own["metadata"]["namespace"]) == ("VirtualMachineInstancetype", "team")
    assert "1 or more" in refused(capsys, "instancetype", "--cpu", "0", "--memory", "1Gi")
    words = ("instancetype", "--cpu", "1", "--memory", "1Gi", "--gpu", "name:a")
    assert "lacks devicename" in refused(capsys, *words)


def test_a_preference(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--machine-type", "q35", "--cpu-topology", "cores", "--volume-storage-class", "fast")
    made = created(capsys, "preference", *words)
    assert made["kind"] == "VirtualMachineClusterPreference"
    assert made["spec"] == {
        "volumes": {"preferredStorageClassName": "fast"},
        "machine": {"preferredMachineType": "q35"},
        "cpu": {"preferredCPUTopology": "cores"},
    }
    assert created(capsys, "preference", "--namespaced")["kind"] == "VirtualMachinePreference"


def test_a_clone(capsys: pytest.CaptureFixture[str]) -> None:
    made = created(
        capsys,
        *("clone", "--source-name", "before", "--source-type", "snapshot", "--target-name", "copy"),
        *("--label-filter", "*", "--label-filter", "!some/key", "--annotation-filter", "a/*"),
        *("--template-label-filter", "b/*", "--new-mac-address", "default:02:00:00:00:00:01"),
        *("--new-smbios-serial", "17"),
    )
    assert made["spec"] == {
        "source": {
            "apiGroup": "snapshot.kubevirt.io",
            "kind": "VirtualMachineSnapshot",
            "name": "before",
        },
        "target": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "copy"},
        "labelFilters": ["*", "!some/key"],
        "annotationFilters": ["a/*"],
        "template": {"labelFilters": ["b/*"]},
        "newMacAddresses": {"default": "02:00:00:00:00:01"},
        "newSMBiosSerial": "17",
    }
    told = refused(capsys, "clone", "--source-name", "a", "--target-type", "snapshot")
    assert "--target-type is vm" in told
    told = refused(capsys, "clone", "--source-name", "a", "--source-type", "pod")
    assert "--source-type is vm or snapshot" in told
