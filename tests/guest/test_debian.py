"""A whole Debian: what its own cloud-init, tools and guest agent make of the machine it is given.

Its boot is dear under emulation, so each guest is shared by the tests of its section.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.guest.conftest import admitted
from tests.guest.pod import (
    NAME,
    NAMESPACE,
    UID,
    Container,
    Handler,
    Serial,
    connected,
    container,
    debian_guest,
)
from virtpod.domain import paths
from virtpod.wire.messages import (
    AgentTold,
    AskAgent,
    DomainChanged,
    Done,
    Execute,
    Executed,
    Freeze,
    Thaw,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

BOOT = 300
"""Seconds to the end of cloud-init, on a machine that is busy with other things."""
ADDRESS, GATEWAY = "10.0.2.2", "10.0.2.1"
MAC = "02:00:00:00:0a:07"
HARDWARE = "0d1a2b3c-1111-4222-8333-444455556666"

MACHINE = f"""
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {{name: {NAME}, namespace: {NAMESPACE}, uid: {UID}}}
spec:
  hostname: apollo
  domain:
    memory: {{guest: 512Mi}}
    chassis: {{manufacturer: Virtpod, version: "7", serial: chassis-1, asset: tag-1, sku: sku-1}}
    firmware: {{uuid: {HARDWARE}, serial: machine-1}}
    devices:
      rng: {{}}
      disks:
        - {{name: root, disk: {{bus: virtio}}, serial: the-root}}
        - {{name: data, disk: {{bus: sata}}, serial: the-data}}
        - name: scratch
          disk: {{bus: scsi}}
          blockSize: {{custom: {{logical: 4096, physical: 4096}}}}
        - {{name: cloudinit, cdrom: {{bus: sata}}}}
      interfaces:
        - {{name: default, masquerade: {{}}, macAddress: "{MAC}"}}
  networks:
    - {{name: default, pod: {{}}}}
  volumes:
    - {{name: root, containerDisk: {{image: "debian:13"}}}}
    - {{name: data, emptyDisk: {{capacity: 64Mi}}}}
    - {{name: scratch, emptyDisk: {{capacity: 32Mi}}}}
"""

USERS = """#cloud-config
ssh_authorized_keys: ["{key}"]
users:
  - default
  - name: ada
    gecos: Ada Lovelace
    groups: [users]
    shell: /bin/bash
    sudo: "ALL=(ALL) NOPASSWD:ALL"
    ssh_authorized_keys: ["{key}"]
  - name: grace
    shell: /bin/bash
chpasswd:
  expire: false
  users: [{{name: root, password: demo, type: text}}]
write_files:
  - path: /srv/plain
    content: |
      first line
      second line
    permissions: "0640"
  - path: /srv/packed
    encoding: gz+b64
    content: H4sIAAAAAAAAA8tIzcnJVyjPL8pJAQCFEUoNCwAAAA==
    owner: ada:users
    defer: true
runcmd:
  - [sh, -c, 'echo "$(id -un) $(hostname)" >/srv/ran']
  - echo "with a shell" | tr a-z A-Z >>/srv/ran
"""

NETWORK_V2 = f"""version: 2
ethernets:
  lan:
    match: {{macaddress: "{MAC}"}}
    set-name: lan0
    addresses: [{ADDRESS}/24]
    routes: [{{to: 0.0.0.0/0, via: {GATEWAY}}}]
    nameservers: {{addresses: [192.0.2.53], search: [test.local]}}
"""

NETWORK_DATA = {
    "links": [{"id": "one", "type": "phy", "ethernet_mac_address": MAC, "mtu": 1400}],
    "networks": [
        {
            "id": "net",
            "link": "one",
            "type": "ipv4",
            "ip_address": ADDRESS,
            "netmask": "255.255.255.0",
            "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": GATEWAY}],
        }
    ],
    "services": [{"type": "dns", "address": "192.0.2.54"}],
}


@dataclass
class Debian:
    """A guest that is up, as its user has it: at the other end of ssh."""

    box: Container
    handler: Handler
    serial: Serial
    key: Path
    booted: str = ""
    """What was on its console until cloud-init had finished."""

    def ssh(self, command: str, user: str = "ada", key: Path | None = None) -> list[str]:
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "IdentitiesOnly": "yes",
            "ConnectTimeout": "60",
        }
        given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        inside = ["nsenter", "--net", f"--target={self.box.first}"]
        return [
            *inside,
            "ssh",
            "-n",
            "-i",
            str(key or self.key),
            *given,
            f"{user}@{ADDRESS}",
            command,
        ]

    async def run(self, command: str, user: str = "ada", key: Path | None = None) -> str:
        """What a command prints that succeeds."""
        process = await asyncio.create_subprocess_exec(
            *self.ssh(command, user, key), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate()
        assert process.returncode == 0, f"{command}: {process.returncode} {err.decode()}"
        return out.decode().strip()

    async def root(self, script: str) -> str:
        return await self.run(f"sudo sh -c {shlex.quote(script)}")


@pytest.fixture(scope="module")
def image() -> Path:
    return debian_guest()


def key_pair(folder: Path) -> Path:
    made = folder / "id"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(made)]
    subprocess.run(words, check=True)
    return made


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return key_pair(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In a secret that the spec's accessCredentials name."""
    return key_pair(tmp_path_factory.mktemp("other-key"))


def public(key: Path) -> str:
    return key.with_suffix(".pub").read_text().strip()


@asynccontextmanager
async def booted(
    box: Container, cache: dict[str, bytes], raw: dict[str, Any], key: Path
) -> AsyncIterator[Debian]:
    """A guest in a container that is prepared; up when its cloud-init has done all it will do."""
    box.launch()
    async with connected(box, cache) as handler:
        answer = await handler.sync(admitted(raw))
        assert isinstance(answer, Done), answer
        serial = await Serial.of(box)
        said = await serial.until(" finished at ", within=BOOT)
        yield Debian(box, handler, serial, key, said)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def debian(
    folders: tuple[Path, ...], image: Path, cache: dict[str, bytes], key: Path, other_key: Path
) -> AsyncIterator[Debian]:
    """Started by a BIOS, told by NoCloud on a CD-ROM, its data from secrets."""
    raw = yaml.safe_load(MACHINE)
    raw["spec"]["domain"]["cpu"] = {"sockets": 2}
    source = {"secretRef": {"name": "user"}, "networkDataSecretRef": {"name": "net"}}
    raw["spec"]["volumes"].append({"name": "cloudinit", "cloudInitNoCloud": source})
    logins = {"secret": {"secretName": "logins"}}
    raw["spec"]["accessCredentials"] = [
        {"sshPublicKey": {"source": logins, "propagationMethod": way}}
        for way in ({"noCloud": {}}, {"qemuGuestAgent": {"users": ["grace"]}})
    ]
    with container(folders) as box:
        box.volume(0, image)
        mounted = box.inside(paths.credentials_folder("logins"))
        mounted.mkdir(parents=True)
        (mounted / "someone").write_text(public(other_key))
        for name, (file, content) in {
            "cloudinit-udata": ("userdata", USERS.format(key=public(key))),
            "cloudinit-ndata": ("networkdata", NETWORK_V2),
        }.items():
            secret = box.inside(f"{paths.SECRETS}/{name}")
            secret.mkdir()
            (secret / file).write_text(content)
        async with booted(box, cache, raw, key) as guest:
            yield guest


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def by_config_drive(
    folders: tuple[Path, ...], image: Path, cache: dict[str, bytes], key: Path
) -> AsyncIterator[Debian]:
    """Started by EFI, told by a config drive."""
    raw = yaml.safe_load(MACHINE)
    del raw["spec"]["hostname"]
    raw["spec"]["domain"]["firmware"]["bootloader"] = {"efi": {"secureBoot": False}}
    source = {
        "userDataBase64": base64.b64encode(USERS.format(key=public(key)).encode()).decode(),
        "networkData": json.dumps(NETWORK_DATA),
    }
    raw["spec"]["volumes"].append({"name": "cloudinit", "cloudInitConfigDrive": source})
    with container(folders) as box:
        box.volume(0, image)
        async with booted(box, cache, raw, key) as guest:
            yield guest


async def content_with(guest: Debian) -> None:
    """cloud-init has nothing to complain of, and did what the user data say."""
    status = json.loads(await guest.root("cloud-init status --format json"))
    assert status["status"] == "done", status
    assert status["extended_status"] == "done", status
    assert status["errors"] == []
    assert status["recoverable_errors"] == {}
    assert "Valid schema" in await guest.root("cloud-init schema --system")
    # Both users have the key.
    assert await guest.run("id -un", user="debian") == "debian"
    assert await guest.root("cat /srv/plain; stat -c %a /srv/plain") == (
        "first line\nsecond line\n640"
    )
    packed = await guest.root("cat /srv/packed; echo; stat -c %U:%G /srv/packed")
    assert packed == "hello world\nada:users"
    name = await guest.run("hostname")
    assert await guest.root("cat /srv/ran") == f"root {name}\nWITH A SHELL"
    assert "Ada Lovelace" in await guest.run("getent passwd ada")


@pytest.mark.shows(
    "volumes.cloudInitNoCloud.secretRef",
    "volumes.cloudInitNoCloud.networkDataSecretRef",
    "domain.devices.disks.cdrom.bus",
    "hostname",
)
async def test_cloud_init_is_content_with_no_cloud(debian: Debian) -> None:
    await content_with(debian)
    said = json.loads(await debian.root("cloud-init query v1"))
    assert said["platform"] == "nocloud", said
    assert said["subplatform"].startswith("config-disk (/dev/sr0)"), said
    assert said["local_hostname"] == "apollo"
    assert await debian.run("hostname") == "apollo"


@pytest.mark.shows("domain.devices.interfaces.macAddress")
async def test_its_network_is_as_version_2_says(debian: Debian) -> None:
    [link] = json.loads(await debian.run("ip -j addr show dev lan0"))
    assert link["address"] == MAC
    addresses = [each["local"] for each in link["addr_info"] if each["family"] == "inet"]
    assert addresses == [ADDRESS]
    assert "dynamic" not in str(link["addr_info"][0])
    assert f"default via {GATEWAY} dev lan0" in await debian.run("ip route")
    assert "192.0.2.53" in await debian.run("resolvectl dns lan0")
    assert "test.local" in await debian.run("resolvectl domain lan0")


@pytest.mark.shows(
    "accessCredentials.sshPublicKey.source.secret.secretName",
    "accessCredentials.sshPublicKey.propagationMethod.noCloud",
    "accessCredentials.sshPublicKey.propagationMethod.qemuGuestAgent.users",
)
async def test_keys_of_access_credentials_let_their_owner_in(
    debian: Debian, other_key: Path
) -> None:
    """By cloud-init its usual user, by the guest's agent the one that is named; nobody else."""
    assert await debian.run("id -un", user="debian", key=other_key) == "debian"

    def handed_over(message: object) -> bool:
        return isinstance(message, DomainChanged) and message.credentials == "Synchronized"

    if not handed_over(debian.handler.last):
        await debian.handler.until(handed_over, 90)
    assert await debian.run("id -un", user="grace", key=other_key) == "grace"
    with pytest.raises(AssertionError, match="Permission denied"):
        await debian.run("id -un", user="ada", key=other_key)


@pytest.mark.shows("domain.cpu.sockets", "domain.memory.guest", "domain.devices.rng")
async def test_what_it_has_of_processors_memory_and_chance(debian: Debian) -> None:
    lines = (line.split(":", 1) for line in (await debian.run("LC_ALL=C lscpu")).splitlines())
    seen = {name.strip(): value.strip() for name, value in lines}
    told = ("CPU(s)", "Socket(s)", "Core(s) per socket", "Thread(s) per core")
    assert [seen[name] for name in told] == ["2", "2", "1", "1"]
    kilobytes = int((await debian.run("grep MemTotal /proc/meminfo")).split()[1])
    assert 440 << 10 < kilobytes <= 512 << 10
    hwrng = "/sys/class/misc/hw_random/rng_current"
    assert "virtio_rng" in await debian.root(f"modprobe virtio_rng; cat {hwrng}")


@pytest.mark.shows("domain.chassis.*", "domain.firmware.uuid", "domain.firmware.serial")
async def test_what_its_machine_calls_itself(debian: Debian) -> None:
    files = "cd /sys/class/dmi/id && head -n 1 product_uuid product_serial sys_vendor chassis_*"
    lines = (await debian.root(f"{files} | grep -v ^$")).splitlines()
    seen = {name.strip("=> <"): value for name, value in zip(lines[::2], lines[1::2], strict=True)}
    assert seen["product_uuid"] == HARDWARE
    assert seen["product_serial"] == "machine-1"
    assert seen["sys_vendor"] == "KubeVirt"
    assert seen["chassis_vendor"] == "Virtpod"
    assert seen["chassis_version"] == "7"
    assert seen["chassis_serial"] == "chassis-1"
    assert seen["chassis_asset_tag"] == "tag-1"
    tables = await debian.root("cat /sys/firmware/dmi/entries/3-0/raw | tr '\\0' '\\n'")
    assert "sku-1" in tables


@pytest.mark.shows(
    "domain.devices.disks.serial",
    "domain.devices.disks.disk.bus",
    "domain.devices.disks.blockSize.custom.logical",
    "domain.devices.disks.blockSize.custom.physical",
    "volumes.emptyDisk.capacity",
)
async def test_what_its_disks_are(debian: Debian) -> None:
    wanted = "NAME,SIZE,SERIAL,LOG-SEC,PHY-SEC,TRAN,TYPE"
    seen = json.loads(await debian.run(f"lsblk --json --bytes --nodeps -o {wanted}"))
    disks = {each["name"]: each for each in seen["blockdevices"]}
    assert disks["vda"]["serial"] == "the-root"
    by_serial = {each["serial"]: each for each in disks.values()}
    data = by_serial["the-data"]
    assert (data["size"], data["log-sec"], data["tran"]) == (64 << 20, 512, "sata")
    [scratch] = [each for each in disks.values() if each["log-sec"] == 4096]
    assert (scratch["size"], scratch["phy-sec"], scratch["type"]) == (32 << 20, 4096, "disk")
    assert disks["sr0"]["type"] == "rom"


async def test_its_agent_tells_runs_freezes_and_thaws(debian: Debian) -> None:
    handler = debian.handler

    async def told(what: Any) -> AgentTold:
        answer = await handler.ask(lambda n: AskAgent(id=n, what=what))
        assert isinstance(answer, AgentTold), answer
        return answer

    if handler.last.os is None:
        await handler.until(lambda m: isinstance(m, DomainChanged) and m.os is not None, 60)
    os = handler.last.os
    assert os is not None
    assert (os.id, os.version_id) == ("debian", "13")
    info = await told("info")
    assert info.hostname == "apollo"
    [root] = [each for each in (await told("filesystems")).filesystems if each.mount_point == "/"]
    assert (root.type, root.disks[0].bus) == ("ext4", "virtio")
    assert 0 < root.used < root.total
    ran = await handler.ask(lambda n: Execute(id=n, command="uname", arguments=["-n"], within=20))
    assert isinstance(ran, Executed), ran
    assert (ran.code, ran.output) == (0, "apollo\n")

    writes = "for i in 1 2 3; do echo $i >>/srv/beat; sync; sleep 0.2; done; echo written"
    assert isinstance(await handler.ask(lambda n: Freeze(id=n, thaw_after=600)), Done)
    assert handler.last.frozen
    process = await asyncio.create_subprocess_exec(
        *debian.ssh(f"sudo sh -c '{writes}'"), stdout=subprocess.PIPE
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            await process.wait()
    assert isinstance(await handler.ask(lambda n: Thaw(id=n)), Done)
    assert not handler.last.frozen
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert out.decode().strip() == "written"


@pytest.mark.shows(
    "volumes.cloudInitConfigDrive.userDataBase64",
    "volumes.cloudInitConfigDrive.networkData",
    "domain.firmware.bootloader.efi.secureBoot",
)
async def test_cloud_init_is_content_with_a_config_drive(by_config_drive: Debian) -> None:
    guest = by_config_drive
    await content_with(guest)
    said = json.loads(await guest.root("cloud-init query v1"))
    assert said["cloud_name"] == "openstack" or said["platform"] == "configdrive", said
    assert "/dev/sr0" in said["subplatform"], said
    assert await guest.run("hostname") == NAME
    assert "runtime" in await guest.run("ls /sys/firmware/efi")
    [link] = json.loads(await guest.run("ip -j addr show dev eth0"))
    assert (link["address"], link["mtu"]) == (MAC, 1400)
    assert ADDRESS in [each["local"] for each in link["addr_info"]]
    assert f"default via {GATEWAY}" in await guest.run("ip route")
    assert "192.0.2.54" in await guest.run("resolvectl dns")
