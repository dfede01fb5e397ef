"""Devices of resource claims: their drivers' words, as files of the container have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from tests.node.hardware import Hardware
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import GivenDevice
from virtpod.launcher.allotted import devices
from virtpod.wire.messages import Allotted

UUID = "aa618089-8b16-4d01-a136-25a0f3c73123"
GPU = {
    "kind": "DeviceMetadata",
    "apiVersion": "metadata.resource.k8s.io/v1alpha1",
    "metadata": {
        "name": "virt-launcher-vm-x7k2p-picture-2kqrd",
        "namespace": "default",
        "uid": "c7e7b22e-239b-4498-b27c-7f1344481e14",
        "generation": 1,
    },
    "podClaimName": "picture",
    "requests": [
        {
            "name": "gpu",
            "devices": [
                {
                    "driver": "gpu.example.com",
                    "pool": "worker-0",
                    "name": "gpu-0-vgpu-3",
                    "attributes": {
                        "driverVersion": {"version": "1.0.0"},
                        "index": {"int": 0},
                        "model": {"string": "LATEST-GPU-MODEL"},
                        "resource.kubernetes.io/pciBusID": {"string": "0000:65:00.0"},
                        "mdevUUID": {"string": UUID},
                    },
                }
            ],
        }
    ],
}
"""What a driver writes that uses Kubernetes' library, as the documentation shows it."""


def functions(*addresses: str, request: str = "cy", version: str = "v1alpha1") -> dict[str, Any]:
    """Metadata of PCI functions."""
    return {
        "kind": "DeviceMetadata",
        "apiVersion": f"metadata.resource.k8s.io/{version}",
        "metadata": {"name": "engine", "namespace": "default", "generation": 3},
        "requests": [
            {
                "name": request,
                "devices": [
                    {
                        "driver": "vfio.example.com",
                        "pool": "worker-0",
                        "name": address.replace(":", "-").replace(".", "-"),
                        "attributes": {"resource.kubernetes.io/pciBusID": {"string": address}},
                    }
                    for address in addresses
                ],
            }
        ],
    }


def vmi() -> VirtualMachineInstance:
    raw = {
        "spec": {
            "resourceClaims": [
                {"name": "picture", "resourceClaimTemplateName": "seats"},
                {"name": "crypto", "resourceClaimName": "engine"},
            ],
            "domain": {
                "devices": {
                    "gpus": [{"name": "screen", "claimName": "picture", "requestName": "gpu"}],
                    "hostDevices": [{"name": "q", "claimName": "crypto", "requestName": "cy"}],
                }
            },
        }
    }
    return msgspec.convert(raw, VirtualMachineInstance)


def write(folder: Path, place: str, *objects: Any) -> None:
    file = folder / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(json.dumps(each, indent=2) for each in objects))


PICTURE = "resourceclaimtemplates/picture/gpu/gpu.example.com-metadata.json"
CRYPTO = "resourceclaims/engine/cy/vfio.example.com-metadata.json"


def test_claims_and_templates_have_their_places(tmp_path: Path) -> None:
    sysfs = Hardware(tmp_path / "sys", tmp_path / "dev")
    first, second = sysfs.qat("0000:3d:00.0", "8086:4940")
    write(tmp_path, PICTURE, GPU)
    write(tmp_path, CRYPTO, functions(first, second))
    assert devices(vmi(), [], tmp_path, sysfs.root) == {
        "picture/gpu": (GivenDevice("mdev", UUID),),
        "crypto/cy": (
            GivenDevice("pci", first, "0000:3d:00.0", group="101"),
            GivenDevice("pci", second, "0000:3d:00.0", group="102"),
        ),
    }


def test_a_mediated_device_is_named_before_its_card(tmp_path: Path) -> None:
    write(tmp_path, PICTURE, GPU)
    assert devices(vmi(), [], tmp_path)["picture/gpu"] == (GivenDevice("mdev", UUID),)


def test_versions_that_are_not_known_are_passed_over(tmp_path: Path) -> None:
    newer = functions("0000:ff:00.0", version="v7")
    write(tmp_path, CRYPTO, newer, functions("0000:3d:01.0"))
    assert devices(vmi(), [], tmp_path)["crypto/cy"] == (GivenDevice("pci", "0000:3d:01.0"),)
    write(tmp_path, CRYPTO, newer)
    assert devices(vmi(), [], tmp_path) == {}


def test_several_drivers_and_alternatives_of_one_request(tmp_path: Path) -> None:
    write(tmp_path, CRYPTO, functions("0000:3d:01.0", request="cy/large"))
    other = CRYPTO.replace("vfio.example.com", "another.example.com")
    write(tmp_path, other, functions("0000:3f:01.0"))
    found = [each.address for each in devices(vmi(), [], tmp_path)["crypto/cy"]]
    assert found == ["0000:3f:01.0", "0000:3d:01.0"]


def test_the_node_s_word_counts_where_no_driver_tells(tmp_path: Path) -> None:
    known = [
        Allotted(claim="crypto", request="cy", kind="pci", address="0000:3d:01.0"),
        Allotted(claim="picture", request="gpu", kind="pci", address="0000:99:00.0"),
    ]
    write(tmp_path, PICTURE, GPU)
    write(tmp_path, CRYPTO)  # a driver that tells later has an empty file there
    assert devices(vmi(), known, tmp_path) == {
        "picture/gpu": (GivenDevice("mdev", UUID),),
        "crypto/cy": (GivenDevice("pci", "0000:3d:01.0"),),
    }


def allotted(*addresses: str) -> list[Allotted]:
    """As the node knows them."""
    return [Allotted(claim="crypto", request="cy", kind="pci", address=each) for each in addresses]


def test_of_a_file_that_breaks_off_nothing_counts(tmp_path: Path) -> None:
    """A guest never starts with less than its claim was allotted: it is tried again."""
    first, second = "0000:3d:01.0", "0000:3d:01.1"
    told = functions(first, second)
    told["requests"][0]["devices"][1]["attributes"] = "none"
    write(tmp_path, CRYPTO, told)
    assert devices(vmi(), [], tmp_path) == {}
    found = devices(vmi(), allotted(first, second), tmp_path)["crypto/cy"]
    assert [each.address for each in found] == [first, second]
    write(tmp_path, CRYPTO, functions(first))
    other = tmp_path / CRYPTO.replace("vfio.example.com", "another.example.com")
    other.write_text(json.dumps(functions(second))[:-20])
    assert devices(vmi(), [], tmp_path) == {}
    other.write_text("[" * 200_000)
    assert devices(vmi(), [], tmp_path) == {}


def test_a_device_whose_address_no_driver_tells_is_the_node_s_to_tell(tmp_path: Path) -> None:
    first, second = "0000:3d:01.0", "0000:3d:01.1"
    told = functions(first, second)
    told["requests"][0]["devices"][1]["attributes"] = {"services": {"string": "sym"}}
    write(tmp_path, CRYPTO, told)
    found = devices(vmi(), allotted(first, second), tmp_path)["crypto/cy"]
    assert [each.address for each in found] == [first, second]
    assert [each.address for each in devices(vmi(), [], tmp_path)["crypto/cy"]] == [first]


@pytest.mark.parametrize("address", ["", "3d:01.0", "0000:3d:01.0/../..", "0000:3d:01.8", 7])
def test_what_is_no_address_is_none(tmp_path: Path, address: Any) -> None:
    told = functions("0000:3d:01.0")
    told["requests"][0]["devices"][0]["attributes"] = {
        "resource.kubernetes.io/pciBusID": {"string": address}
    }
    write(tmp_path, CRYPTO, told)
    assert devices(vmi(), [], tmp_path) == {}


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["requests", "name", "devices", "attributes"]), inner)
    ),
)


@any_of(
    st.one_of(st.text(max_size=80), st.builds(lambda v: json.dumps(GPU | {"requests": v}), JSON))
)
def test_no_file_is_too_odd(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    folder = tmp_path_factory.mktemp("odd")
    file = folder / CRYPTO
    file.parent.mkdir(parents=True)
    file.write_text(content)
    devices(vmi(), [], folder)
