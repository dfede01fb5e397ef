"""Every case: a VMI as a user writes it, and all that the pure core makes of it.

A case is a folder <feature>/<case>/ with vmi.yaml and, where the usual facts do not do,
cluster.yaml (a KubeVirtConfiguration and `imageVolumes`) and guest.yaml. `make golden` writes the
rest.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.conftest import Golden
from tests.kube.fake import json_patch
from virtpod.api.kubevirt import DeveloperConfiguration, KubeVirtConfiguration
from virtpod.api.traits import claimed
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain import paths
from virtpod.domain.facts import (
    Blocks,
    Cluster,
    DiskImage,
    GivenDevice,
    Guest,
    GuestLink,
    Host,
    PodLink,
)
from virtpod.domain.steps import MakeIso, Nft
from virtpod.features import ALL
from virtpod.features.disks import claim_info
from virtpod.features.gates import resolve
from virtpod.render import admit, boot, domain, host, pod

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("*/*/vmi.yaml"))
NOW = "2026-01-01T00:00:00Z"
UUID = "5d307ca9-b3ef-428c-8861-06e72d69f223"
USUAL = KubeVirtConfiguration(developer_configuration=DeveloperConfiguration(use_emulation=True))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def cluster_of(case: Path) -> Cluster:
    given = load(case / "cluster.yaml")
    volumes = given.pop("imageVolumes", True)
    resources = given.pop("networkResources", {})
    limits_cpu = given.pop("limitsCpu", False)
    config = msgspec.convert(given, KubeVirtConfiguration) if given else USUAL
    return Cluster(
        config=config,
        gates=resolve(config),
        launcher_image="virtpod.local/virt-launcher:1",
        image_volumes=volumes,
        limits_cpu=limits_cpu,
        networks={tuple(name.split("/")): each for name, each in resources.items()},
    )


def host_of(case: Path) -> Host:
    links = load(case / "host.yaml")
    bindings, devices = links.pop("bindings", {}), links.pop("devices", {})
    return Host(
        links=msgspec.convert(links, dict[str, PodLink]), bindings=bindings, devices=devices
    )


def guest_of(case: Path, vmi: VirtualMachineInstance) -> Guest:
    given = load(case / "guest.yaml")
    images = {
        volume.name: DiskImage(f"/images/{volume.name}.qcow2", "qcow2", 2**30)
        for volume in vmi.spec.volumes or ()
        if volume.container_disk
    }
    # A claim whose name begins with "new" holds no disk yet.
    for volume in vmi.spec.volumes or ():
        info = claim_info(vmi, volume)
        if info and info.claim_name:
            block = info.volume_mode == "Block"
            path = (paths.claim_device if block else paths.claim_disk)(volume.name)
            size = 0 if info.claim_name.startswith("new") else 2**30
            images[volume.name] = DiskImage(path, "raw", size, block, direct=True)
        if disk := volume.host_disk:
            place = f"{paths.claim_folder(volume.name)}/{disk.path.rpartition('/')[2]}"
            size = 2**30 if disk.type == "Disk" else 0
            images[volume.name] = DiskImage(place, "raw", size, direct=True)
    functions = [nic.name for nic in vmi.spec.domain.devices.interfaces or () if nic.sriov]
    usual = Guest(
        emulation=True,
        images=images,
        links={name: GuestLink("", pci="0000:81:02.1") for name in functions},
        nameservers=("10.96.0.10",),
        searches=("default.svc.cluster.local", "svc.cluster.local"),
        direct_io=True,
        claimed={
            each.key: (GivenDevice("pci", f"0000:82:{number:02x}.0"),)
            for number, each in enumerate(claimed(vmi))
        },
    )
    if "files" in given:
        given["files"] = {
            volume: {name: text.encode() for name, text in files.items()}
            for volume, files in given["files"].items()
        }
    if "secrets" in given:
        given["secrets"] = {
            volume: {name: text.encode() for name, text in files.items()}
            for volume, files in given["secrets"].items()
        }
    if "blocks" in given:
        given["blocks"] = msgspec.convert(given["blocks"], dict[str, Blocks])
    if "links" in given:
        given["links"] = msgspec.convert(given["links"], dict[str, GuestLink])
    for devices in ("given", "claimed"):
        if devices in given:
            given[devices] = msgspec.convert(given[devices], dict[str, tuple[GivenDevice, ...]])
    return dataclasses.replace(usual, **given)


def as_yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=100, allow_unicode=True) if value else ""


def shown(steps: tuple[Any, ...]) -> str:
    """One step a block: its kind, then its values, texts as they are."""
    lines = []
    for step in steps:
        lines.append(type(step).__name__)
        for field in dataclasses.fields(step):
            value = getattr(step, field.name)
            if isinstance(step, Nft) and field.name == "body":
                lines += ["  " + line for line in value.splitlines()]
            elif isinstance(step, MakeIso) and field.name == "files":
                for name, content in value:
                    lines.append(f"  {name}:")
                    lines += ["    " + line for line in content.decode().splitlines()]
            elif field.name == "argv":
                lines += ["  " + word for word in value]
            else:
                lines.append(f"  {field.name}: {value}")
    return "\n".join(lines) + "\n" if lines else ""


def name(case: Path) -> str:
    return str(case.relative_to(HERE))


@pytest.mark.parametrize("case", CASES, ids=name)
def test_a_vmi_and_what_becomes_of_it(case: Path, golden: Golden) -> None:
    raw = load(case / "vmi.yaml")
    cluster = cluster_of(case)

    answer = admit.vmi(raw, cluster, now=NOW, uuid=UUID)
    causes = [f"{cause.field}: {cause.message} [{cause.reason}]" for cause in answer.causes]
    golden.check(case / "causes.yaml", as_yaml(causes + [f"Warning: {w}" for w in answer.warnings]))
    if answer.causes:
        return

    admitted = json_patch(raw, answer.patch)
    golden.check(case / "admitted.yaml", as_yaml(admitted))
    vmi = msgspec.convert(admitted, VirtualMachineInstance)
    guest = guest_of(case, vmi)
    golden.check(case / "pod.yaml", as_yaml(pod.pod(vmi, cluster)))
    golden.check(case / "host.txt", shown(host.host(vmi, host_of(case))))
    golden.check(case / "boot.txt", shown(boot.boot(vmi, guest)))
    golden.check(case / "domain.xml", domain.domain(vmi, guest))

    again = admit.vmi(admitted, cluster, now=NOW, uuid=UUID)
    assert again.patch == [], "admission must not change what it has admitted"


def test_every_feature_has_a_case() -> None:
    cases = {path.parent.name for path in CASES}
    assert {feature.name for feature in ALL} <= cases


def _set(value: Any, path: list[str]) -> bool:
    if isinstance(value, list):
        return any(_set(item, path) for item in value)
    if not path:
        return True
    return isinstance(value, dict) and path[0] in value and _set(value[path[0]], path[1:])


def test_every_owned_path_occurs_in_a_case() -> None:
    specs = [load(case / "vmi.yaml").get("spec") for case in CASES]
    unused = [
        path
        for feature in ALL
        for path in feature.owns
        if not any(_set(spec, path.split(".")) for spec in specs)
    ]
    assert unused == []
