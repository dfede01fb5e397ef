"""The manifests of docs/qat.md, one for each generation: admitted, set up and offered over a sysfs
that has the device, counted in the pod, and drawn into the domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.golden.test_golden import NOW, UUID
from tests.kube.fake import json_patch
from tests.node.hardware import Hardware, Kernel, write
from virtpod.api.kubevirt import DeveloperConfiguration, KubeVirtConfiguration
from virtpod.api.qat import QATNodePolicy
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Cluster, DiskImage, Guest
from virtpod.domain.qat import MODELS
from virtpod.features.gates import resolve
from virtpod.launcher.given import given
from virtpod.node.devices.offers import Inventory, Wanted, offers
from virtpod.node.devices.outfit import Outfitter
from virtpod.render import admit, domain, pod
from virtpod.render.rules import Asked
from virtpod.render.rules.qat import RULES

EXAMPLES = sorted((Path(__file__).parents[2] / "examples/qat").glob("*.yaml"))
CONFIG = KubeVirtConfiguration(
    developer_configuration=DeveloperConfiguration(
        use_emulation=True, feature_gates=["HostDevices", "QAT"]
    )
)
CLUSTER = Cluster(
    config=CONFIG,
    gates=resolve(CONFIG),
    launcher_image="virtpod.local/virt-launcher:1",
    image_volumes=True,
)


def test_there_is_one_for_each_generation_and_the_page_names_it() -> None:
    names = {path.name.partition("-")[0] for path in EXAMPLES}
    assert names == {f"gen{model.generation}" for model in MODELS}
    page = (Path(__file__).parents[2] / "docs/qat.md").read_text(encoding="utf-8")
    assert all(f"examples/qat/{path.name}" in page for path in EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_manifest_ends_in_a_guest_that_has_the_functions(path: Path, tmp_path: Path) -> None:
    wish, machine = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    policy = msgspec.convert(wish, QATNodePolicy)
    assert list(RULES.causes(Asked(policy, None, CLUSTER))) == []
    selector = policy.spec.device_selector
    assert selector
    [model] = [each for each in MODELS if each.name in (selector.models or ())]
    told = "".join(RULES.warnings(Asked(policy, None, CLUSTER)))
    assert ("disable_denylist" in told) == model.denied
    assert ("disable_denylist" in path.read_text(encoding="utf-8")) == model.denied

    hardware = Hardware(tmp_path / "sys", tmp_path / "dev")
    hardware.qat("0000:3d:00.0", model.physical, "dc", functions=0)
    hardware.driver(policy.spec.driver or "")
    write(hardware.root / "module/vfio_pci/parameters/disable_denylist", "Y")
    (tmp_path / "proc").mkdir()
    outfitter = Outfitter(hardware.root, tmp_path / "proc", Kernel(hardware).write)
    outcome = outfitter.advance([policy], {}, {}, frozenset(), 0.0)
    assert outcome.rounds["0000:3d:00.0"].done, outcome.rounds
    found = offers(Inventory(outcome.functions, outcome.engines), Wanted(qat=True))
    assert found.complaints == ()

    raw: dict[str, Any] = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm", "namespace": "default", "uid": UUID},
        "spec": machine["spec"]["template"]["spec"],
    }
    assert admit.vm(machine, CLUSTER, uuid=UUID).causes == []
    answer = admit.vmi(raw, CLUSTER, now=NOW, uuid=UUID)
    assert (answer.causes, answer.warnings) == ([], [])
    vmi = msgspec.convert(json_patch(raw, answer.patch), VirtualMachineInstance)
    asked = [each.device_name or "" for each in vmi.spec.domain.devices.host_devices or ()]
    [resource] = set(asked)
    limits = pod.pod(vmi, CLUSTER)["spec"]["containers"][0]["resources"]["limits"]
    assert limits[resource] == str(len(asked))

    offer = found.by_resource[resource]
    assert len(offer.units()) == policy.spec.num_vfs
    chosen = offer.prefer([unit.id for unit in offer.units()], [], len(asked))
    environment = offer.grant(chosen).env
    guest = Guest(
        emulation=True,
        images={"root": DiskImage("/images/root.qcow2", "qcow2", 2**30)},
        given=given([resource], environment, hardware.root),
    )
    xml = domain.domain(vmi, guest)
    assert xml.count("<hostdev ") == len(asked)
    for number, address in enumerate(chosen):
        bus, slot, function = address[5:7], address[8:10], address[11]
        assert f'bus="0x{bus}" slot="0x{slot}" function="0x{function}"' in xml, number
