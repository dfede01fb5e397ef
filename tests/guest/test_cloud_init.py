"""What cloud-init's disks say, by each way in which a spec can have it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import yaml

from tests.guest.conftest import VMI, admitted
from tests.guest.pod import Container, Serial, connected
from virtpod.domain import paths
from virtpod.wire.messages import Done

USER = "#cloud-config\nhostname: by-{way}\npassword: demo\n"
NETWORK = "version: 2\nethernets:\n  eth0:\n    dhcp4: true\n# {way}\n"
JSON = '{{"links": [], "note": "{way}"}}'
CARD = "/sys/class/net/eth0"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI robot@example.org"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def data(way: str, volume: str, user: str, network: str) -> dict[str, Any]:
    if way == "secret":
        names = {"secretRef": f"{volume}-user", "networkDataSecretRef": f"{volume}-network"}
        return {field: {"name": name} for field, name in names.items()}
    if way == "base64":
        return {"userDataBase64": encoded(user), "networkDataBase64": encoded(network)}
    return {"userData": user, "networkData": network}


def machine(way: str) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
    """And by volume what stands in it: user data, network data."""
    said = {
        "cloudinit": (USER.format(way=way), NETWORK.format(way=way)),
        "drive": (f"any text: {way}", JSON.format(way=way)),
    }
    raw = yaml.safe_load(VMI)
    spec = raw["spec"]
    spec["volumes"][1] = {
        "name": "cloudinit",
        "cloudInitNoCloud": data(way, "cloudinit", *said["cloudinit"]),
    }
    drive = {"name": "drive", "cloudInitConfigDrive": data(way, "drive", *said["drive"])}
    spec["volumes"].append(drive)
    disk = {"name": "drive", "disk": {"bus": "virtio"}, "serial": "of-drive", "tag": "settings"}
    spec["domain"]["devices"]["disks"].append(disk)
    [card] = spec["domain"]["devices"]["interfaces"]
    card["tag"] = "management"
    source = {"secret": {"secretName": "keys"}}
    key = {"source": source, "propagationMethod": {"configDrive": {}}}
    spec["accessCredentials"] = [{"sshPublicKey": key}]
    return admitted(raw), said


def mounted(box: Container, folder: str, **files: str) -> None:
    place = box.inside(folder)
    place.mkdir(parents=True)
    for name, content in files.items():
        (place / name).write_text(content)


@pytest.mark.shows(
    "volumes.cloudInitNoCloud.*",
    "volumes.cloudInitConfigDrive.*",
    "domain.devices.disks.tag",
    "domain.devices.interfaces.tag",
    "accessCredentials.sshPublicKey.propagationMethod.configDrive",
)
async def test_the_guest_reads_what_the_spec_or_its_secrets_say(
    box_of: Any, cache: dict[str, bytes]
) -> None:
    for way in ("plain", "base64", "secret"):
        with box_of() as box:
            vmi, said = machine(way)
            mounted(box, paths.credentials_folder("keys"), robot=KEY)
            if way == "secret":
                for volume, (user, network) in said.items():
                    mounted(box, f"{paths.SECRETS}/{volume}-udata", userdata=user)
                    mounted(box, f"{paths.SECRETS}/{volume}-ndata", networkData=network)
            box.launch()
            async with connected(box, cache) as handler:
                assert isinstance(answer := await handler.sync(vmi), Done), answer
                serial = await Serial.of(box)
                await serial.until(f"by-{way} login:")
                await serial.log_in()
                for device, volume, files in (
                    ("vdb", "cloudinit", ("user-data", "network-config")),
                    ("vdc", "drive", ("user_data", "network_data.json")),
                ):
                    base = "openstack/latest/" if volume == "drive" else ""
                    await serial.answer(f"mount -t iso9660 -o ro /dev/{device} /mnt 2>&1")
                    for file, expected in zip(files, said[volume], strict=True):
                        found = await serial.answer(f"cat /mnt/{base}{file}")
                        assert found.rstrip() == expected.rstrip(), (way, volume, file)
                    if volume == "drive":
                        about = await serial.answer(f"cat /mnt/{base}meta_data.json")
                        assert f'"public_keys":{{"0":"{KEY}"}}' in about
                        card, disk = json.loads(about)["devices"]
                        place = await serial.answer(f"basename $(readlink -f {CARD}/device/..)")
                        mac = await serial.answer(f"cat {CARD}/address")
                        assert card == {
                            **{"type": "nic", "bus": "pci", "tags": ["management"]},
                            **{"address": place.strip(), "mac": mac.strip()},
                        }
                        assert disk == {
                            **{"type": "disk", "bus": "virtio", "tags": ["settings"]},
                            "serial": "of-drive",
                        }
                    await serial.answer("umount /mnt")
                serial.say("poweroff")
                await handler.domain("Shutoff", "Crashed")
                await handler.release()
