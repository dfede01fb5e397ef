"""A support bundle holds what is there, says what it lacks, and holds nobody's secret."""

from __future__ import annotations

import base64
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.kube.fake import FakeCluster
from tests.why.cases import pod, vm, vmi
from virtpod.cli._bundle import Bundle
from virtpod.cli._redact import MARK, Redactor
from virtpod.kube.resources import EVENTS, KUBEVIRTS, PODS, SECRETS, VMIS, VMS, Obj

PASSWORD = "correct-horse-battery"
OTHER = "staple-staple-staple"
HIDDEN = base64.b64encode(f"#cloud-config\npassword: {OTHER}\n".encode()).decode()
USER_DATA = f"#cloud-config\nchpasswd:\n  list: |\n    root:{PASSWORD}\n"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJlLW9mLWl0"
SECRETS_PLANTED = (PASSWORD, OTHER, HIDDEN, TOKEN, "chpasswd", "in-a-secret", "hush-hush-hush")


def machine() -> Obj:
    volumes = [
        {"name": "a", "cloudInitNoCloud": {"userData": USER_DATA}},
        {"name": "b", "cloudInitConfigDrive": {"userDataBase64": HIDDEN}},
        {"name": "c", "cloudInitNoCloud": {"secretRef": {"name": "login"}}},
    ]
    found = vm()
    found["spec"]["template"]["spec"] = {"volumes": volumes}
    applied = json.dumps({"spec": found["spec"]})
    found["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": applied,
        "note": f"do not tell: token={TOKEN}",
    }
    return found


async def collected(fake: FakeCluster, path: Path, name: str = "") -> dict[str, str]:
    """The bundle's files."""
    async with fake.client("virtctl") as client:
        bundle = Bundle(client, "team", name)
        await bundle.collect()
    bundle.write(str(path))
    with tarfile.open(path) as tar:
        return {
            member.name.partition("/")[2]: tar.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in tar
        }


@pytest.fixture
def planted(fake: FakeCluster) -> FakeCluster:
    fake.put(KUBEVIRTS, {"metadata": {"namespace": "kubevirt", "name": "kubevirt"}})
    fake.put(VMS, machine())
    instance = vmi("Running")
    instance["spec"] = machine()["spec"]["template"]["spec"]
    fake.put(VMIS, instance)
    launcher = pod("node1", {"running": {}}, status={"phase": "Running"})
    launcher["metadata"]["labels"] = {"kubevirt.io": "virt-launcher"}
    launcher["metadata"]["ownerReferences"] = [
        {"kind": "VirtualMachineInstance", "name": "demo", "uid": "vmi-1", "controller": True}
    ]
    launcher["spec"]["containers"][0]["env"] = [{"name": "DB_PASSWORD", "value": "hush-hush-hush"}]
    fake.put(PODS, launcher)
    secret = {"metadata": {"namespace": "team", "name": "login"}, "data": {"a": "in-a-secret"}}
    fake.put(SECRETS, secret)
    message = f"the guest said: root:{PASSWORD} is the login"
    for name in ("demo", "other"):
        event = {"metadata": {"namespace": "team", "name": name}, "message": message}
        fake.put(EVENTS, {**event, "involvedObject": {"kind": "Pod", "name": name}})
    return fake


async def test_no_planted_secret_is_in_it(planted: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "team.tar.gz"
    files = await collected(planted, path)
    whole = "\n".join(files.values())
    for secret in SECRETS_PLANTED:
        assert secret not in whole, secret
    found = json.loads(files["namespace/virtualmachines.json"])[0]
    volumes = found["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["cloudInitNoCloud"] == {"userData": MARK}
    assert volumes[2]["cloudInitNoCloud"] == {"secretRef": {"name": "login"}}
    assert path.stat().st_mode & 0o077 == 0


async def test_what_cannot_be_had_is_noted(planted: FakeCluster, tmp_path: Path) -> None:
    """Behind this API server there is nobody to run virsh."""
    files = await collected(planted, tmp_path / "team.tar.gz")
    assert "namespace/why/demo.txt" in files
    assert "namespace/domains/virt-launcher-demo-1.xml: " in files["README.txt"]


async def test_of_one_vm(planted: FakeCluster, tmp_path: Path) -> None:
    files = await collected(planted, tmp_path / "demo.tar.gz", "demo")
    events = json.loads(files["namespace/events.json"])
    assert [event["metadata"]["name"] for event in events] == ["demo"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("login with password=hunter22 failed", "login with password=(redacted) failed"),
        ('{"token": "abcdef", "a": 1}', '{"token": "(redacted)", "a": 1}'),
        ("Authorization: Bearer abc.def", "Authorization: Bearer (redacted)"),
        ("<graphics type='vnc' passwd='x1'/>", "<graphics type='vnc' passwd='(redacted)'/>"),
        (f"got {TOKEN}!", "got (redacted)!"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nx", "(redacted)\nx"),
        ("topologyKey: zone, keyboard: de, secretName: login", None),
        ("pulling image registry.example/guest:1", None),
    ],
)
def test_texts(text: str, left: str | None) -> None:
    assert Redactor().text(text) == (text if left is None else left)


def test_a_patch_and_a_decision_are_objects_too() -> None:
    patch = {"op": "add", "path": "/spec/volumes/0/cloudInitNoCloud/userData", "value": USER_DATA}
    redactor = Redactor()
    redactor.learn(decision := {"plan": {"actions": [{"do": "Patch", "body": [patch]}]}})
    found: Any = redactor.json(decision)
    assert found["plan"]["actions"][0]["body"][0]["value"] == MARK
    assert redactor.text(f"root:{PASSWORD}") == f"root:{MARK}"
