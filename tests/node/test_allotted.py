"""What virt-handler finds out of devices of resource claims, where their driver tells a container
nothing: an API server and a kubelet of the tests' own, a sysfs and CDI folders in theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.kube.fake import FakeCluster
from tests.node.hardware import Hardware, link
from tests.node.pod_resources import claimed, kubelet, pod
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers.node_seen import Pod
from virtpod.kube.resources import RESOURCE_CLAIMS, RESOURCE_SLICES
from virtpod.node.devices.allotted import Allotments
from virtpod.wire import podresources_pb2 as api
from virtpod.wire.messages import Allotted

NODE, DRIVER = "node1", "qat.intel.com"
POD = Pod("u", "virt-launcher-vm-x", "default", claims={"crypto": "virt-launcher-vm-x-crypto-7k2"})
UUID = "aa618089-8b16-4d01-a136-25a0f3c73123"


def vmi(*requests: str) -> VirtualMachineInstance:
    devices = [{"name": each, "claimName": "crypto", "requestName": each} for each in requests]
    raw = {
        "spec": {
            "resourceClaims": [{"name": "crypto", "resourceClaimTemplateName": "engines"}],
            "domain": {"devices": {"hostDevices": devices}},
        }
    }
    return msgspec.convert(raw, VirtualMachineInstance)


def claim(**requests: str) -> dict[str, Any]:
    """One that was allotted a device for each request; alternatives have "__" for "/"."""
    results = [
        {"request": name.replace("__", "/"), "driver": DRIVER, "pool": NODE, "device": device}
        for name, device in requests.items()
    ]
    metadata = {"namespace": "default", "name": POD.claims["crypto"]}
    return {"metadata": metadata, "status": {"allocation": {"devices": {"results": results}}}}


def devices(
    generation: int, attributes: Mapping[str, Mapping[str, str]], name: str = "slice"
) -> dict[str, Any]:
    """A ResourceSlice."""
    return {
        "metadata": {"name": f"{name}-{generation}"},
        "spec": {
            "driver": DRIVER,
            "nodeName": NODE,
            "pool": {"name": NODE, "generation": generation, "resourceSliceCount": 1},
            "devices": [
                {"name": each, "attributes": {k: {"string": v} for k, v in said.items()}}
                for each, said in attributes.items()
            ],
        },
    }


def given(cdi: Mapping[str, list[str]]) -> list[Any]:
    """Pods that the kubelet tells of: what the claim's devices are named in CDI."""
    claims = claimed(
        POD.claims["crypto"],
        *(
            api.ClaimResource(
                cdi_devices=[api.CDIDevice(name=name) for name in names],
                driver_name=DRIVER,
                pool_name=NODE,
                device_name=device,
            )
            for device, names in cdi.items()
        ),
    )
    return [pod("other", **claims), pod(POD.name, **claims)]


class Site:
    def __init__(self, folder: Path) -> None:
        self.hardware = Hardware(folder / "sys", folder / "dev")
        self.cdi = folder / "cdi"
        self.kubelet = folder / "kubelet"
        self.cdi.mkdir()
        self.kubelet.mkdir()
        self.fake = FakeCluster()

    async def found(self, *requests: str) -> list[tuple[str, str, str]]:
        async with self.fake as fake, fake.client("virt-handler") as client:
            allotments = Allotments(
                client, NODE, self.kubelet, self.hardware.root, (self.cdi / "none", self.cdi)
            )
            found = await allotments.of(vmi(*requests), POD)
        assert all(isinstance(each, Allotted) and each.claim == "crypto" for each in found)
        return [(each.request, each.kind, each.address) for each in found]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_what_a_driver_publishes_of_a_device(site: Site) -> None:
    pci, mediated = "resource.kubernetes.io/pciBusID", "vgpu.example.com/mdevUUID"
    site.fake.put(RESOURCE_CLAIMS, claim(cy="a", dc__large="b", other="a"))
    site.fake.put(RESOURCE_SLICES, devices(1, {"a": {pci: "0000:ff:01.0"}}))
    site.fake.put(RESOURCE_SLICES, devices(2, {"a": {pci: "0000:3D:01.0"}}))
    site.fake.put(RESOURCE_SLICES, devices(2, {"b": {mediated: UUID, pci: "0000:3f:00.0"}}, "more"))
    assert await site.found("cy", "dc") == [
        ("cy", "pci", "0000:3d:01.0"),
        ("dc", "mdev", UUID),
    ]


async def test_intel_s_driver_for_qat_gives_groups_and_publishes_services(site: Site) -> None:
    first, second = site.hardware.qat("0000:3d:00.0", "8086:4940", group=100)
    names = [f"qatvf-{each.replace(':', '-').replace('.', '-')}" for each in (first, second)]
    site.fake.put(RESOURCE_CLAIMS, claim(cy=names[0], zip=names[1]))
    site.fake.put(RESOURCE_SLICES, devices(1, {name: {"services": "sym;asym"} for name in names}))
    nodes = {names[0]: "/dev/vfio/101", names[1]: "/dev/vfio/102", "qatvf-vfio": "/dev/vfio/vfio"}
    spec = {
        "cdiVersion": "0.3.0",
        "kind": "intel.com/qat",
        "devices": [
            {"name": name, "containerEdits": {"deviceNodes": [{"path": node, "type": "c"}]}}
            for name, node in nodes.items()
        ],
    }
    (site.cdi / "intel.com-qat.yaml").write_text(yaml.safe_dump(spec))
    (site.cdi / "broken.json").write_text("{")
    (site.cdi / "readme.txt").write_text("{")
    told = {name: [f"intel.com/qat={name}", "intel.com/qat=qatvf-vfio"] for name in names}
    async with kubelet(site.kubelet, given(told)):
        assert await site.found("cy", "zip") == [("cy", "pci", first), ("zip", "pci", second)]


async def test_other_words_of_containers_for_their_devices(site: Site) -> None:
    site.hardware.function("0000:01:00.0", "8086:10ca", group="7")
    site.hardware.function("0000:00:01.0", "8086:1901", "pcieport", group="7", bridge=True)
    link(site.hardware.root / "class/vfio-dev/vfio3/device", "../../../0000:02:00.0")
    link(site.hardware.root / f"kernel/iommu_groups/9/devices/{UUID}", "../there")
    edits: dict[str, Any] = {
        "group": {"deviceNodes": [{"hostPath": "/dev/vfio/7", "path": "/dev/other"}]},
        "cdev": {"deviceNodes": [{"path": "/dev/vfio/devices/vfio3"}, {"path": "/dev/iommu"}]},
        "mediated": {"deviceNodes": [{"path": "/dev/vfio/9"}]},
        "told": {"env": ["PCI_RESOURCE_X=0000:04:00.0,0000:04:00.1", "PATH=0000:05:00.0"]},
        "silent": {},
    }
    spec = {
        "kind": "example.com/x",
        "devices": [{"name": name, "containerEdits": each} for name, each in edits.items()],
    }
    (site.cdi / "x.json").write_text(json.dumps(spec))
    site.fake.put(RESOURCE_CLAIMS, claim(**{name: name for name in edits}))
    told = {name: [f"example.com/x={name}"] for name in edits}
    async with kubelet(site.kubelet, given(told)):
        assert await site.found(*edits) == [
            ("group", "pci", "0000:01:00.0"),
            ("cdev", "pci", "0000:02:00.0"),
            ("mediated", "mdev", UUID),
            ("told", "pci", "0000:04:00.0"),
            ("told", "pci", "0000:04:00.1"),
        ]


@pytest.mark.parametrize(
    "edits",
    [
        ["/dev/vfio/7"],
        {"deviceNodes": ["/dev/vfio/7"]},
        {"deviceNodes": 7, "env": 7},
        {"env": {"QAT0": "0000:01:00.0"}},
        "[" * 3000,
    ],
)
async def test_no_specification_is_too_odd(site: Site, edits: Any) -> None:
    site.hardware.function("0000:01:00.0", "8086:10ca", group="7")
    spec = {"kind": "example.com/x", "devices": [{"name": "a", "containerEdits": edits}]}
    odd = edits if isinstance(edits, str) else json.dumps(spec)
    (site.cdi / "odd.json").write_text(odd)
    good = {"deviceNodes": [{"path": "/dev/vfio/7"}]}
    spec = {"kind": "example.com/x", "devices": [{"name": "b", "containerEdits": good}]}
    (site.cdi / "good.json").write_text(json.dumps(spec))
    site.fake.put(RESOURCE_CLAIMS, claim(cy="a", dc="b"))
    told = {name: [f"example.com/x={name}"] for name in ("a", "b")}
    async with kubelet(site.kubelet, given(told)):
        assert await site.found("cy", "dc") == [("dc", "pci", "0000:01:00.0")]


async def test_nothing_is_known_and_nothing_fails(site: Site) -> None:
    assert await site.found("cy") == [], "no such claim"


async def test_a_kubelet_that_is_away_tells_nothing(site: Site) -> None:
    site.fake.put(RESOURCE_CLAIMS, claim(cy="a"))
    assert await site.found("cy") == []
