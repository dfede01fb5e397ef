"""What the guest reads from disks that the launcher makes of texts, secrets and folders."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml

from tests.guest.conftest import VMI, admitted
from tests.guest.pod import Container, Serial, connected, logged_in
from virtpod.domain import paths
from virtpod.wire.messages import Done

USER = "#cloud-config\npassword: demo\n# {}\n"
NETWORK = "version: 2\nethernets: {{eth0: {{dhcp4: true}}}}\n# {}\n"
LABEL = "dd if=/dev/{} bs=1 skip=32808 count=32 2>/dev/null"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def machine(**sources: dict[str, Any]) -> dict[str, Any]:
    """The demo VMI with these volumes beside its root."""
    raw = yaml.safe_load(VMI)
    spec = raw["spec"]
    spec["volumes"] = [spec["volumes"][0]]
    spec["domain"]["devices"]["disks"] = [{"name": "root", "disk": {"bus": "virtio"}}]
    for name, source in sources.items():
        spec["volumes"].append({"name": name, **source})
        spec["domain"]["devices"]["disks"].append({"name": name, "disk": {"bus": "virtio"}})
    return admitted(raw)


def mounted(box: Container, folder: str, **files: str) -> None:
    """As the kubelet mounts a secret or the like."""
    made = box.inside(folder)
    made.mkdir(parents=True)
    for name, text in files.items():
        (made / name).write_text(text)


async def read(serial: Serial, disk: str, file: str) -> str:
    mount = f"mkdir -p /m; mount -t iso9660 -o ro /dev/{disk} /m && cat /m/{file}; umount /m"
    return await serial.answer(mount)


OF_NO_CLOUD = ("user-data", "network-config")
OF_CONFIG_DRIVE = ("openstack/latest/user_data", "openstack/latest/network_data.json")


@pytest.mark.shows(
    "volumes.cloudInitNoCloud.userDataBase64",
    "volumes.cloudInitNoCloud.networkDataBase64",
    "volumes.cloudInitConfigDrive.secretRef",
    "volumes.cloudInitConfigDrive.networkDataSecretRef",
    "volumes.sysprep.configMap",
    "volumes.sysprep.secret",
    "volumes.secret.volumeLabel",
    "volumes.secret.optional",
    "volumes.downwardAPI.volumeLabel",
)
async def test_data_that_are_encoded_kept_in_secrets_and_mounted(
    box: Container, cache: dict[str, bytes]
) -> None:
    vmi = machine(
        nc={
            "cloudInitNoCloud": {
                "userDataBase64": encoded(USER.format("b")),
                "networkDataBase64": encoded(NETWORK.format("c")),
            }
        },
        cd={
            "cloudInitConfigDrive": {
                "secretRef": {"name": "user"},
                "networkDataSecretRef": {"name": "net"},
            }
        },
        keys={"secret": {"secretName": "keys", "volumeLabel": "of-keys", "optional": True}},
        gone={"secret": {"secretName": "gone", "optional": True}},
        about={
            "downwardAPI": {
                "volumeLabel": "of-about",
                "fields": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}],
            }
        },
        first={"sysprep": {"configMap": {"name": "answers"}}},
        second={"sysprep": {"secret": {"name": "answers"}}},
    )
    mounted(box, f"{paths.SECRETS}/cd-udata", userdata="user of cd")
    mounted(box, f"{paths.SECRETS}/cd-ndata", networkdata="network of cd")
    mounted(box, paths.config_folder("keys"), password="opensesame")
    mounted(box, paths.config_folder("gone"))
    mounted(box, paths.config_folder("about"), name="vm")
    mounted(box, paths.config_folder("first"), **{"autounattend.xml": "<first/>"})
    mounted(box, paths.config_folder("second"), **{"unattend.xml": "<second/>"})
    box.launch()
    async with connected(box, cache) as handler:
        answer = await handler.sync(vmi)
        assert isinstance(answer, Done), answer
        serial = await Serial.of(box)
        await serial.until("login:")
        await serial.log_in()
        at = handler.last.target_devices
        assert USER.format("b") in await read(serial, at["nc"], OF_NO_CLOUD[0])
        assert NETWORK.format("c") in await read(serial, at["nc"], OF_NO_CLOUD[1])
        assert "user of cd" in await read(serial, at["cd"], OF_CONFIG_DRIVE[0])
        assert "network of cd" in await read(serial, at["cd"], OF_CONFIG_DRIVE[1])
        assert "opensesame" in await read(serial, at["keys"], "password")
        assert (await serial.answer(LABEL.format(at["keys"]))).split() == ["of-keys"]
        assert await read(serial, at["gone"], "* 2>/dev/null") == ""
        assert "vm" in await read(serial, at["about"], "name")
        assert (await serial.answer(LABEL.format(at["about"]))).split() == ["of-about"]
        assert "<first/>" in await read(serial, at["first"], "[Aa]uto*")
        assert "<second/>" in await read(serial, at["second"], "[Uu]nattend*")


@pytest.mark.shows(
    "volumes.cloudInitNoCloud.networkData",
    "volumes.cloudInitConfigDrive.userData",
    "volumes.cloudInitConfigDrive.networkDataBase64",
)
async def test_data_that_stand_in_the_spec(box: Container, cache: dict[str, bytes]) -> None:
    static = "version: 2\nethernets:\n  eth0:\n    addresses: [ 10.0.2.2/28 ]\n"
    vmi = machine(
        nc={"cloudInitNoCloud": {"userData": USER.format("a"), "networkData": static}},
        cd={
            "cloudInitConfigDrive": {
                "userData": "user of cd",
                "networkDataBase64": encoded("network of cd"),
            }
        },
    )
    async with logged_in(box, cache, vmi) as (handler, serial):
        address = "until ip -4 addr show dev eth0 | grep inet; do sleep 1; done"
        assert "10.0.2.2/28" in await serial.answer(address)
        at = handler.last.target_devices
        assert "user of cd" in await read(serial, at["cd"], OF_CONFIG_DRIVE[0])
        assert "network of cd" in await read(serial, at["cd"], OF_CONFIG_DRIVE[1])
