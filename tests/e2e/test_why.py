"""Broken VMs of many kinds: `virtctl why` tells the reason, the condition Obstructed tells the
same, and once the cause is mended the VM runs and nothing is said any more.

All are made at once and looked at in turn: most of them never get a guest.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from localcluster import images
from tests.e2e.invariants import kill
from tests.e2e.support import (
    GUEST,
    Namespace,
    Object,
    Refused,
    conditions,
    eventually,
    kubectl,
    obstructed,
    phase,
    vm,
    vmi_spec,
    why,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

LABEL = "why.example/disk"
NOWHERE = "virtpod.local/there-is-no-such-image:v1"
QUICK = {"terminationGracePeriodSeconds": 0}
PASSWORD = "correct-horse-battery"


def qemu(vmi: Object) -> str:
    return f"guest={vmi['metadata']['namespace']}_{vmi['metadata']['name']},"


def with_memory(guest: str) -> Object:
    domain = dict(vmi_spec()["domain"])
    return {**domain, "memory": {"guest": guest}}


def with_claim(claim: str) -> Any:
    spec = vmi_spec()
    spec["domain"]["devices"]["disks"].append({"name": "data", "disk": {"bus": "virtio"}})
    spec["volumes"].append({"name": "data", "persistentVolumeClaim": {"claimName": claim}})
    return spec


def machine(name: str, spec: Object) -> Object:
    found = vm(name)
    found["spec"]["template"]["spec"] = {**spec, **QUICK}
    return found


BROKEN: dict[str, tuple[str, Object]] = {
    "selector": ("NodeSelectorUnmatched", vm("selector", **QUICK, nodeSelector={LABEL: "nvme"})),
    "image": ("ImagePull", vm("image", image=NOWHERE, **QUICK)),
    "memory": ("NotEnoughMemory", vm("memory", domain=with_memory("900Gi"))),
    "empty": ("ContainerDiskInvalid", vm("empty", image=images.TOOLS.reference, **QUICK)),
    "claim": ("PvcNotFound", machine("claim", with_claim("data"))),
    "halted": ("Halted", vm("halted", strategy="Halted", **QUICK)),
    "manual": ("NotAsked", vm("manual", strategy="Manual", **QUICK)),
}
"""By name: the code that is expected, and the VM."""
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}},
}
SILENT = ("halted", "manual")
"""Nothing is wrong with these: somebody wants it so, and no condition says otherwise."""


def told(namespace: Namespace, name: str, code: str) -> Object:
    """The diagnosis, once it is this one."""
    last: list[Object] = []

    def look() -> Object | None:
        last[:] = [why(namespace, name)]
        return last[0] if last[0]["code"] == code else None

    return eventually(look, lambda: f"{name}: {code}; said was {last}", 90)


@pytest.fixture(scope="module")
def broken(namespace: Namespace) -> Namespace:
    namespace.apply(*(machine for _, machine in BROKEN.values()))
    return namespace


@pytest.mark.parametrize("name", BROKEN)
def test_the_reason_is_told(broken: Namespace, name: str) -> None:
    code, _ = BROKEN[name]
    found = told(broken, name, code)
    assert found["remedy"]
    if name in SILENT:
        assert "Obstructed" not in conditions(broken.get("vm", name))
        return
    for kind in ("vmi", "vm"):
        obj = broken.wait(kind, name, obstructed(code), f"{kind} {name} says {code}")
        assert found["remedy"] in conditions(obj)["Obstructed"]["message"]
    with pytest.raises(Refused) as refused:
        broken.virtctl("why", "vm", name)
    text = str(refused.value)
    assert f"{name}: {found['sentence']}" in text
    assert f"What to do: {found['remedy']}" in text


def test_what_is_mended_runs_and_is_said_no_more(broken: Namespace) -> None:
    node = json.loads(kubectl("get", "nodes", "--output", "json"))["items"][0]["metadata"]["name"]
    try:
        kubectl("label", "node", node, f"{LABEL}=nvme")
        broken.virtctl("start", "halted")
        broken.apply(CLAIM)
        for name in ("selector", "halted", "claim"):
            vmi = broken.running(name)
            assert "Obstructed" not in conditions(vmi)
            broken.wait("vm", name, lambda vm: "Obstructed" not in conditions(vm), "is silent")
            assert told(broken, name, "Running")["state"] == "runs"
    finally:
        kubectl("label", "node", node, f"{LABEL}-")


def test_a_quota(broken: Namespace) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"requests.memory": "1Mi"}},
    }
    broken.apply(quota)
    broken.apply(vm("quota", **QUICK))
    found = told(broken, "quota", "QuotaExceeded")
    assert "The ResourceQuota small leaves no room for it" in found["sentence"]
    broken.wait("vm", "quota", obstructed("QuotaExceeded"), "says QuotaExceeded")
    broken.delete("resourcequota", "small")
    # It is tried again each half minute.
    vmi = broken.wait("vmi", "quota", lambda vmi: phase(vmi) == "Running", "runs", 120)
    assert "Obstructed" not in conditions(vmi)


def test_a_guest_that_is_killed(broken: Namespace) -> None:
    """Of a VM that is left as it ended, what happened is told afterwards."""
    broken.virtctl("start", "manual")
    vmi = broken.running("manual")
    kill(vmi["status"]["nodeName"], qemu(vmi))
    found = told(broken, "manual", "GuestCrashed")
    assert "after its start" in found["sentence"]
    broken.wait("vmi", "manual", obstructed("GuestCrashed"), "says GuestCrashed", 30)


def test_a_bundle_has_what_happened_and_no_secret(broken: Namespace, tmp_path: Path) -> None:
    spec = vmi_spec()
    spec["domain"]["devices"]["disks"].append({"name": "init", "disk": {"bus": "virtio"}})
    user_data = f"#cloud-config\nchpasswd:\n  list: |\n    root:{PASSWORD}\n"
    spec["volumes"].append({"name": "init", "cloudInitNoCloud": {"userData": user_data}})
    broken.apply(machine("secretive", spec))
    vmi = broken.running("secretive")
    pod = broken.launcher(vmi)["metadata"]["name"]
    path = tmp_path / "bundle.tar.gz"
    said = broken.virtctl("adm", "bundle", "--output", str(path))
    files: dict[str, bytes] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            files[member.name.partition("/")[2]] = content.read()
    for name, content in files.items():
        assert PASSWORD.encode() not in content, name
        assert b"chpasswd" not in content, name
    assert b"<domain " in files[f"namespace/domains/{pod}.xml"], said
    assert b"virt-handler" in files[f"namespace/logs/{pod}.compute.log"]
    assert b"NodeSelectorUnmatched" not in files["namespace/why/selector.txt"]
    assert b"ImagePull" in files["namespace/why/image.txt"]
    decisions = [name for name in files if name.startswith("decisions/")]
    for component in ("virt-controller", "virt-handler", "virt-operator"):
        assert any(component in name for name in decisions), decisions
    key = f"{broken.name}/secretive"
    told = ""
    for name in decisions:
        file = tmp_path / Path(name).name
        file.write_bytes(files[name])
        try:
            assert "recorded was" not in broken.virtctl("replay", str(file))
            if "virt-controller" in name:
                told = broken.virtctl("replay", str(file), "--key", key)
        except Refused as nothing:
            if "no decision to replay" not in str(nothing):  # as of one that does not lead
                raise
    assert "Create Pod virt-launcher-secretive" in told
    assert GUEST not in told or PASSWORD not in told
