"""A guest that is given what Kubernetes keeps as files, and that keeps something itself."""

from __future__ import annotations

import pytest

from tests.e2e.support import Console, Namespace, Object, vm

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME = "given"
VOLUMES: dict[str, Object] = {
    "settings": {"configMap": {"name": "settings", "volumeLabel": "settings"}},
    "keys": {"secret": {"secretName": "keys"}},
    "about": {
        "downwardAPI": {
            "fields": [{"path": "a/labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
        }
    },
    "account": {"serviceAccount": {"serviceAccountName": "robot"}},
    "missing": {"configMap": {"name": "nowhere", "optional": True}},
}


def made(kind: str, name: str, **content: Object) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **content}


def machine() -> Object:
    made = vm(NAME, terminationGracePeriodSeconds=5)
    spec = made["spec"]["template"]["spec"]
    spec["volumes"] += [{"name": name, **source} for name, source in VOLUMES.items()]
    devices = spec["domain"]["devices"]
    devices["disks"] += [{"name": name, "disk": {"bus": "virtio"}} for name in VOLUMES]
    devices["tpm"] = {"persistent": True}
    spec["domain"]["firmware"] = {"bootloader": {"bios": {}}}
    return made


@pytest.fixture(scope="module")
def place(namespace: Namespace) -> Namespace:
    namespace.apply(
        made("ConfigMap", "settings", data={"app.ini": "colour=green\n"}),
        made("Secret", "keys", stringData={"password": "opensesame"}),
        made("ServiceAccount", "robot"),
        machine(),
    )
    namespace.running(NAME)
    return namespace


@pytest.mark.shows(
    "volumes.configMap.name",
    "volumes.configMap.optional",
    "volumes.configMap.volumeLabel",
    "volumes.secret.secretName",
    "volumes.downwardAPI.fields",
    "volumes.serviceAccount.serviceAccountName",
)
def test_the_guest_reads_them_from_disks(place: Namespace) -> None:
    status = place.get("vmi", NAME)["status"]["volumeStatus"]
    target = {each["name"]: each["target"] for each in status}
    with Console(place.name, NAME) as console:
        console.login()

        def read(volume: str, file: str) -> str:
            mount = f"mount -t iso9660 -o ro /dev/{target[volume]} /mnt"
            return console.run(f"{mount} && cat /mnt/{file}; umount /mnt")

        assert read("settings", "app.ini") == "colour=green"
        assert read("keys", "password") == "opensesame"
        assert f'vm.kubevirt.io/name="{NAME}"' in read("about", "a/labels")
        assert read("account", "namespace") == place.name
        assert "BEGIN CERTIFICATE" in read("account", "ca.crt")
        assert read("account", "token").count(".") == 2
        label = f"dd if=/dev/{target['settings']} bs=1 skip=32808 count=8 2>/dev/null"
        assert console.run(label) == "settings"


def test_what_its_tpm_remembers_is_on_a_claim_of_the_vm(place: Namespace) -> None:
    [claim] = place.items("pvc", f"persistent-state-for={NAME}")
    assert claim["metadata"]["ownerReferences"][0]["kind"] == "VirtualMachine"
    with Console(place.name, NAME) as console:
        console.login()
        assert console.run("cat /sys/class/tpm/tpm0/tpm_version_major") == "2"
    pod = place.launcher(place.get("vmi", NAME))["metadata"]["name"]
    assert "tpm2-00.permall" in place.compute(
        pod, "find", "/var/run/kubevirt-private/libvirt/qemu/swtpm", "-size", "+0", "-type", "f"
    )
