"""As many volumes as there may be, and names that hypothesis makes up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden.test_golden import USUAL, UUID
from tests.kube.fake import json_patch
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.steps import MakeQcow2
from virtpod.features.gates import resolve
from virtpod.render import admit, boot, domain, pod

CLUSTER = Cluster(config=USUAL, gates=resolve(USUAL), image_volumes=True)
MOST = 256


def machine(*volumes: dict[str, Any]) -> dict[str, Any]:
    spec = {"domain": {"memory": {"guest": "128Mi"}, "devices": {}}, "volumes": list(volumes)}
    metadata = {"name": "vm", "namespace": "default", "uid": "0f5d3d54"}
    kind = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance"}
    return {**kind, "metadata": metadata, "spec": spec}


def answer(raw: dict[str, Any]) -> admit.Admission:
    return admit.vmi(raw, CLUSTER, now="2026-01-01T00:00:00Z", uuid=UUID)


def scratch(name: str) -> dict[str, Any]:
    return {"name": name, "emptyDisk": {"capacity": "1Mi"}}


@pytest.mark.parametrize("kind", ["emptyDisk", "configMap"])
def test_as_many_volumes_as_there_may_be(kind: str) -> None:
    source = {"emptyDisk": {"capacity": "1Mi"}, "configMap": {"name": "settings"}}[kind]
    raw = machine(*({"name": f"v{number}", kind: source} for number in range(MOST)))
    admitted = answer(raw)
    assert admitted.causes == []
    vmi = msgspec.convert(json_patch(raw, admitted.patch), VirtualMachineInstance)
    facts = Guest(emulation=True)
    drawn = domain.draw(vmi, facts)
    targets = [each.get("dev") for each in drawn.iterfind("devices/disk/target")]
    assert len(set(targets)) == MOST
    assert len(boot.boot(vmi, facts)) >= MOST
    names = [each["name"] for each in pod.pod(vmi, CLUSTER)["spec"]["volumes"]]
    assert len(names) == len(set(names))
    raw["spec"]["volumes"].append(scratch("one-more"))
    assert [cause.field for cause in answer(raw).causes][:1] == ["spec.volumes"]


@given(st.text(min_size=1, max_size=80) | st.text("aZ9._-/", min_size=1, max_size=80))
def test_no_name_of_a_volume_leads_out_of_its_folder(name: str) -> None:
    raw = machine(scratch(name))
    admitted = answer(raw)
    if admitted.causes:
        return
    vmi = msgspec.convert(json_patch(raw, admitted.patch), VirtualMachineInstance)
    steps = boot.boot(vmi, Guest(emulation=True))
    [made] = [step for step in steps if isinstance(step, MakeQcow2)]
    folder, _, file = made.path.rpartition("/")
    assert folder == paths.EMPTY_DISKS
    assert file == f"{name}.qcow2"
