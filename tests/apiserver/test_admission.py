"""The webhooks over HTTP: what is answered to good, bad and hostile reviews."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.apiserver.site import Running
from tests.rules.test_rules import merged
from virtpod.api.instancetype import (
    CPUInstancetype,
    MemoryInstancetype,
    VirtualMachineInstancetypeSpec,
)
from virtpod.api.preference import VirtualMachinePreferenceSpec
from virtpod.apiserver import admission
from virtpod.domain.facts import Cluster
from virtpod.render import admit, patches
from virtpod.render.expand import Choice, Named

Json = dict[str, Any]

FACTS = admission.Facts(Cluster(), "2026-01-02T03:04:05Z", "6e8f8d9e-0000-4000-8000-000000000001")
MUTATE, VALIDATE = "/virtualmachineinstances-mutate", "/virtualmachineinstances-validate-create"
CHANGE = "/virtualmachineinstances-validate-update"
CHANGE_VM, VM = "/virtualmachines-validate", "VirtualMachine"


def vmi(**spec: Any) -> Json:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"namespace": "default", "name": "demo"},
        "spec": {
            "domain": {
                "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
                "memory": {"guest": "128Mi"},
            },
            "volumes": [{"name": "root", "containerDisk": {"image": "demo:1"}}],
            **spec,
        },
    }


def envelope(obj: Any, kind: str = "VirtualMachineInstance", **request: Any) -> Json:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "operation": "CREATE",
            "kind": {"group": "kubevirt.io", "version": "v1", "kind": kind},
            "userInfo": {"username": "alice"},
            "object": obj,
            **request,
        },
    }


def ask(path: str, review: Json) -> Json:
    answer = admission.review(path, json.dumps(review).encode(), FACTS, admit)
    assert answer["kind"] == "AdmissionReview"
    response: Json = answer["response"]
    assert response["uid"] == "u-1"
    return response


def test_a_good_instance_is_admitted_with_its_defaults() -> None:
    response = ask(MUTATE, envelope(vmi()))
    assert response["allowed"] is True
    assert response["patchType"] == "JSONPatch"
    paths = {operation["path"] for operation in json.loads(response["patch"])}
    assert "/status" in paths or "/status/phase" in paths
    assert ask(VALIDATE, envelope(vmi()))["allowed"] is True


async def test_the_patch_travels_as_base64(api: Running) -> None:
    async with (
        api.session(api.pki.caller(None), headers={}) as session,
        session.post(api.url + MUTATE, json=envelope(vmi())) as reply,
    ):
        assert reply.status == 200
        response = (await reply.json())["response"]
    assert isinstance(json.loads(base64.b64decode(response["patch"])), list)


async def test_new_machines_are_counted_where_they_are(api: Running) -> None:
    async with api.session(api.pki.caller(None), headers={}) as session:

        async def review(**request: Any) -> None:
            asked = envelope(vm(), VM, namespace="team", **request)
            async with session.post(api.url + CHANGE_VM, json=asked) as reply:
                assert (await reply.json())["response"]["allowed"] is True

        await review()
        await review(dryRun=True)
        await review(operation="UPDATE", oldObject=vm())
        async with session.get(api.url + "/metrics") as reply:
            told = await reply.text()
    assert 'kubevirt_vm_created_by_pod_total{namespace="team"} 1.0' in told


def test_a_denial_has_kubernetes_shape() -> None:
    bad = vmi(volumes=[{"name": "other", "containerDisk": {"image": "demo:1"}}])
    response = ask(VALIDATE, envelope(bad))
    assert response["allowed"] is False
    status = response["status"]
    assert (status["code"], status["reason"], status["status"]) == (422, "Invalid", "Failure")
    causes = status["details"]["causes"]
    assert causes
    assert all({"field", "message", "reason"} == set(cause) for cause in causes)
    assert status["message"] == ", ".join(cause["message"] for cause in causes)


def test_a_wrong_type_is_denied_with_its_place() -> None:
    bad = vmi()
    bad["spec"]["domain"]["cpu"] = {"cores": "four"}
    status = ask(VALIDATE, envelope(bad))["status"]
    assert status["code"] == 422
    assert status["details"]["causes"][0]["field"] == "spec.domain.cpu.cores"


def test_reserved_labels_are_refused_on_creation() -> None:
    bad = vmi()
    bad["metadata"]["labels"] = {"kubevirt.io/nodeName": "node-2"}
    message = ask(VALIDATE, envelope(bad))["status"]["message"]
    assert "reserved kubevirt.io/ labels on a VMI object is prohibited" in message


def changed(user: str, old: Json, new: Json) -> Json:
    return envelope(new, operation="UPDATE", oldObject=old, userInfo={"username": user})


def test_a_user_does_not_change_a_running_spec() -> None:
    response = ask(CHANGE, changed("alice", vmi(), vmi(hostname="other")))
    assert response["status"]["message"] == "update of VMI object is restricted"
    assert response["status"]["code"] == 422


@pytest.mark.parametrize("component", ["apiserver", "controller", "handler", "operator"])
def test_our_own_components_do(component: str) -> None:
    user = f"system:serviceaccount:kubevirt:kubevirt-{component}"
    assert ask(CHANGE, changed(user, vmi(), vmi(hostname="other")))["allowed"] is True


def test_an_account_of_the_same_name_elsewhere_does_not() -> None:
    user = "system:serviceaccount:default:kubevirt-controller"
    assert ask(CHANGE, changed(user, vmi(), vmi(hostname="other")))["allowed"] is False


def test_labels_and_annotations_are_a_user_s_own() -> None:
    new = vmi()
    new["metadata"]["labels"] = {"app": "web"}
    assert ask(CHANGE, changed("alice", vmi(), new))["allowed"] is True
    new["metadata"]["labels"] = {"kubevirt.io/nodeName": "node-2"}
    assert ask(CHANGE, changed("alice", vmi(), new))["allowed"] is False


def test_a_user_s_status_is_silently_put_back() -> None:
    old = {**vmi(), "status": {"phase": "Running"}}
    new = {**vmi(), "status": {"phase": "Failed", "nodeName": "elsewhere"}}
    response = ask(MUTATE, changed("alice", old, new))
    assert json.loads(response["patch"]) == [
        {"op": "add", "path": "/status", "value": {"phase": "Running"}}
    ]
    handler = "system:serviceaccount:kubevirt:kubevirt-handler"
    assert "patch" not in ask(MUTATE, changed(handler, old, new))


def vm(**spec: Any) -> Json:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"namespace": "default", "name": "demo"},
        "spec": {"runStrategy": "Always", "template": {"spec": vmi()["spec"]}, **spec},
    }


def test_a_vm_is_checked_through_its_template() -> None:
    path = "/virtualmachines-validate"
    assert ask(path, envelope(vm(), "VirtualMachine"))["allowed"] is True
    bad = vm()
    bad["spec"]["template"]["spec"]["volumes"] = []
    causes = ask(path, envelope(bad, "VirtualMachine"))["status"]["details"]["causes"]
    assert all(cause["field"].startswith("spec.template.") for cause in causes)
    both = ask(path, envelope(vm(running=True), "VirtualMachine"))
    assert "mutually exclusive" in both["status"]["message"]


TOPOLOGY = "kubevirt.io/pci-topology-version"
ON_ROOT = {"kubevirt.io/placePCIDevicesOnRootComplex": "true"}


def template_of(new: Json, old: Json | None = None, named: Named | None = None) -> Json:
    """The annotations of the template after our mutation."""
    facts = replace(FACTS, named=named or Named())
    operation = {"operation": "UPDATE", "oldObject": old} if old else {}
    review = json.dumps(envelope(new, VM, **operation)).encode()
    mutated = admission.review("/virtualmachines-mutate", review, facts, admit)["response"]
    after = patches.json(new, json.loads(mutated.get("patch") or "[]"))
    review = json.dumps(envelope(after, VM, **operation)).encode()
    again = admission.review("/virtualmachines-mutate", review, facts, admit)["response"]
    assert json.loads(again.get("patch") or "[]") == []
    annotations: Json = (after["spec"]["template"].get("metadata") or {}).get("annotations") or {}
    return annotations


def annotated(annotations: Json | None = None, **spec: Any) -> Json:
    whole = vm()
    template = whole["spec"]["template"]
    if annotations is not None:
        template["metadata"] = {"annotations": annotations}
    template["spec"].update(spec)
    return whole


@pytest.mark.parametrize(
    ("given", "spec", "gets"),
    [
        (None, {}, {TOPOLOGY: "v3"}),
        ({}, {}, {TOPOLOGY: "v3"}),
        ({"team": "blue"}, {"architecture": "arm64"}, {"team": "blue", TOPOLOGY: "v3"}),
        ({TOPOLOGY: "v2"}, {}, {TOPOLOGY: "v2"}),
        ({TOPOLOGY: ""}, {}, {TOPOLOGY: ""}),
        (ON_ROOT, {}, ON_ROOT),
        (dict.fromkeys(ON_ROOT, "false"), {}, {**dict.fromkeys(ON_ROOT, "false"), TOPOLOGY: "v3"}),
        (None, {"architecture": "s390x"}, {}),
    ],
)
def test_a_new_vm_has_ports_for_what_is_plugged_in_later(given: Any, spec: Any, gets: Any) -> None:
    assert template_of(annotated(given, **spec)) == gets


@pytest.mark.parametrize("metadata", [None, {}, {"annotations": None}])
def test_a_template_has_them_whatever_stands_for_nothing(metadata: Any) -> None:
    new = vm()
    new["spec"]["template"]["metadata"] = metadata
    assert template_of(new) == {TOPOLOGY: "v3"}


def test_an_existing_machine_keeps_its_bus() -> None:
    old, new = annotated(), annotated(hostname="other")
    assert template_of(new, old) == {}


@pytest.mark.parametrize(
    ("said", "gets"),
    [({"team": "blue"}, {TOPOLOGY: "v3"}), ({TOPOLOGY: "v2"}, {}), (ON_ROOT, {})],
)
def test_what_a_vm_takes_its_annotations_from_may_say_otherwise(said: Json, gets: Json) -> None:
    size = VirtualMachineInstancetypeSpec(
        memory=MemoryInstancetype(guest="1Gi"), cpu=CPUInstancetype(guest=1), annotations=said
    )
    wish = VirtualMachinePreferenceSpec(annotations=said)
    sized = annotated()
    del sized["spec"]["template"]["spec"]["domain"]["memory"]
    assert template_of(sized, named=Named(Choice(instancetype=size))) == gets
    assert template_of(annotated(), named=Named(Choice(preference=wish))) == gets


def test_a_vm_on_its_way_out_is_not_held_back() -> None:
    bad = vm()
    bad["spec"]["template"]["spec"]["volumes"] = []
    bad["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    for path in ("/virtualmachines-mutate", "/virtualmachines-validate"):
        review = envelope(bad, "VirtualMachine", operation="UPDATE", oldObject=vm())
        assert ask(path, review)["allowed"] is True


def test_a_label_does_not_bring_old_specs_before_new_rules() -> None:
    old = vm()
    old["spec"]["template"]["spec"]["volumes"] = []
    new = {**old, "metadata": {**old["metadata"], "labels": {"app": "web"}}}
    for path in ("/virtualmachines-mutate", "/virtualmachines-validate"):
        review = envelope(new, "VirtualMachine", operation="UPDATE", oldObject=old)
        assert ask(path, review) == {"uid": "u-1", "allowed": True}


def test_a_migration_needs_a_name_and_gets_its_label() -> None:
    kind = "VirtualMachineInstanceMigration"
    nameless = {"metadata": {"name": "m"}, "spec": {}}
    status = ask("/migration-validate-create", envelope(nameless, kind))["status"]
    assert status["message"] == "vmiName is missing"
    named = {"metadata": {"name": "m"}, "spec": {"vmiName": "demo"}}
    patch = json.loads(ask("/migration-mutate-create", envelope(named, kind))["patch"])
    assert [each["value"] for each in patch] == [{"kubevirt.io/vmi-name": "demo"}]
    moved = {"metadata": {"name": "m"}, "spec": {"vmiName": "other"}}
    review = envelope(moved, kind, operation="UPDATE", oldObject=named)
    assert ask("/migration-validate-update", review)["allowed"] is False


def test_another_kind_is_not_taken_for_ours() -> None:
    assert ask(VALIDATE, envelope(vm(), "VirtualMachine"))["allowed"] is False


@pytest.mark.parametrize("obj", [None, [], "x", 3, {"metadata": []}, {}, {"spec": None}])
@pytest.mark.parametrize("path", sorted(admission.PATHS))
def test_whatever_the_object_is_it_is_answered(path: str, obj: Any) -> None:
    kind = admission.PATHS[path][0]
    for operation in ("CREATE", "UPDATE", "DELETE"):
        response = ask(path, envelope(obj, kind, operation=operation, oldObject=obj))
        if not response["allowed"]:
            assert response["status"]["code"] in (400, 422), response["status"]["message"]


async def _posted(api: Running, path: str, body: bytes) -> tuple[int, Json]:
    async with (
        api.session(api.pki.caller(None), headers={}) as session,
        session.post(api.url + path, data=body) as reply,
    ):
        return reply.status, await reply.json()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"kind":"Pod","apiVersion":"v1","request":{"uid":"1"}}',
        b"[" * 1_000_000,
        b'{"a":' * 500_000,
        b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":3}',
    ],
    ids=range(9),
)
async def test_a_body_that_is_no_review_is_a_bad_request(api: Running, body: bytes) -> None:
    code, status = await _posted(api, VALIDATE, body)
    assert (code, status["reason"]) == (400, "BadRequest")


async def test_a_body_over_the_limit_is_refused(api: Running) -> None:
    body = b" " * (admission.LIMIT + 1)
    code, status = await _posted(api, VALIDATE, body)
    assert (code, status["reason"]) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize("depth", [50, 300, 900, 5_000, 100_000])
def test_deep_nesting_is_answered(depth: int) -> None:
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    body = json.dumps(envelope({"metadata": {}, "spec": "HERE"})).encode()
    for path in (MUTATE, VALIDATE):
        code = 0
        try:
            answer = admission.review(path, body.replace(b'"HERE"', deep), FACTS, admit)
        except admission.Refusal as refusal:
            code = refusal.code
        else:
            code = answer["response"].get("status", {}).get("code", 200)
        assert code in (200, 400, 422)


any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["name", "spec", "domain", "x"]), inner, max_size=4)
    ),
    max_leaves=20,
)
_fields = ["domain", "volumes", "networks", "hostname", "nodeSelector", "affinity", "dnsPolicy"]
_devices = ["disks", "interfaces", "watchdog", "rng", "inputs", "autoattachSerialConsole"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    spec=st.dictionaries(st.sampled_from(_fields), any_json, max_size=4),
    devices=st.dictionaries(st.sampled_from(_devices), any_json, max_size=4),
    path=st.sampled_from([MUTATE, VALIDATE]),
)
def test_any_spec_is_answered_soon_and_never_as_our_defect(
    spec: Json, devices: Json, path: str
) -> None:
    obj = vmi(**spec)
    if isinstance(obj["spec"]["domain"], dict):
        obj["spec"]["domain"]["devices"] = devices
    began = time.thread_time()
    response = ask(path, envelope(obj))
    assert time.thread_time() - began < 0.7
    assert response["allowed"] or response["status"]["code"] in (400, 422), response["status"]


GOLDEN = sorted((Path(__file__).parents[1] / "golden").rglob("vmi.yaml"))
_words = [None, "", "x", "-1", "-1Mi", "1e400Mi", "9" * 400, "../../etc", "a b", "\x00", "é" * 300]
_numbers = [0, -1, 2**31, 2**63, 10**40, 0.5, -1e308, True]
_containers = [[], {}, [None], {"": ""}, [[]], [{}]]
_nasty = st.sampled_from([*_words, *_numbers, *_containers]).map(copy.deepcopy)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    keys = (
        list(value)
        if isinstance(value, dict)
        else range(len(value) if isinstance(value, list) else 0)
    )
    for key, inner in ((key, value[key]) for key in keys):
        found += _places(inner, (*path, key))
    return found


KINDS = yaml.safe_load((Path(__file__).parents[1] / "rules" / "kinds.yaml").read_text())
_paths = {
    "migration": "/migration-validate-create",
    "policy": "/migration-policy-validate-create",
    "pool": "/virtualmachinepool-validate",
    "preset": "/vmipreset-validate",
    "snapshot": "/virtualmachinesnapshots-validate",
    "restore": "/virtualmachinerestores-validate",
    "export": "/virtualmachineexports-validate",
    "clone": "/vm-clone-validate-create",
    "backup": "/virtualmachinebackups-validate",
    "tracker": "/virtualmachinebackuptrackers-validate",
    "instancetype": "/virtualmachineinstancetypes-validate",
    "preference": "/virtualmachinepreferences-validate",
    "plugin": "/plugin-validate",
    "qat": "/qatnodepolicies-validate",
}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_kind_with_nasty_values_is_never_our_defect(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(_paths)))
    changes = [rule["change"] for rule in KINDS[kind]["rules"] if "change" in rule]
    obj = copy.deepcopy(KINDS[kind]["good"])
    merged(obj, copy.deepcopy(data.draw(st.sampled_from(changes))))
    _spoiled(obj, data)
    old = copy.deepcopy(KINDS[kind]["good"])
    paths = [_paths[kind], *(["/vm-clone-mutate-create"] if kind == "clone" else ())]
    for path, request in ((p, r) for p in paths for r in ({}, {"operation": "UPDATE"})):
        began = time.thread_time()
        response = ask(path, envelope(obj, admission.PATHS[path][0], oldObject=old, **request))
        assert time.thread_time() - began < 0.7
        assert response["allowed"] or response["status"]["code"] in (400, 422), response["status"]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_status_of_a_vm_is_never_our_defect(data: st.DataObject) -> None:
    add = {"addVolumeOptions": {"name": "a", "disk": {}, "volumeSource": {}}}
    status = {"volumeRequests": [add], "snapshotInProgress": "s", "restoreInProgress": "r"}
    obj = vm(runStrategy="Halted") | {"status": status}
    _spoiled(obj, data)
    for path in ("/status-validate", CHANGE_VM):
        response = ask(path, envelope(obj, VM, operation="UPDATE", oldObject=vm()))
        assert response["allowed"] or response["status"]["code"] in (400, 422), response["status"]


def _spoiled(obj: Json, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        _put(obj, data.draw(st.sampled_from(_places(obj))), data.draw(_nasty))


def _put(obj: Json, place: tuple[Any, ...], value: Any) -> None:
    """Puts `value` there, unless the place went with an earlier change."""
    *above, last = place
    inner: Any = obj
    with contextlib.suppress(KeyError, IndexError, TypeError):
        for key in above:
            inner = inner[key]
        inner[last] = value


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_known_spec_with_nasty_values_is_never_our_defect(data: st.DataObject) -> None:
    obj = yaml.safe_load(data.draw(st.sampled_from(GOLDEN)).read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(_places(obj["spec"], ("spec",))))
        _put(obj, place, data.draw(_nasty))
    for path in (MUTATE, VALIDATE):
        began = time.thread_time()
        response = ask(path, envelope(obj))
        assert time.thread_time() - began < 0.7
        assert response["allowed"] or response["status"]["code"] in (400, 422), response["status"]


def test_no_place_of_a_known_spec_has_a_nasty_value_that_is_our_defect() -> None:
    """Every place, every value, one at a time: what chance would find on a bad day only."""
    defects = set()
    tried = 0
    for path in GOLDEN:
        known = yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for place in _places(known["spec"], ("spec",)):
            for value in (*_words, *_numbers, *_containers):
                obj = copy.deepcopy(known)
                _put(obj, place, copy.deepcopy(value))
                response = ask(MUTATE, envelope(obj))
                tried += 1
                if not response["allowed"] and response["status"]["code"] not in (400, 422):
                    defects.add((path.parent.name, place, str(value)[:20]))
    assert not defects
    assert tried > 50_000


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200) | any_json.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_answered(body: bytes) -> None:
    with pytest.raises(admission.Refusal) as refused:
        admission.review(VALIDATE, body, FACTS, admit)
    assert refused.value.code == 400


def test_a_machine_is_left_alone_while_its_snapshot_is_taken() -> None:
    old = vm(runStrategy="Halted") | {"status": {"snapshotInProgress": "nightly"}}
    new = copy.deepcopy(old)
    new["spec"]["template"]["spec"]["volumes"] = [{"name": "o", "emptyDisk": {"capacity": "1Gi"}}]
    message = ask(CHANGE_VM, envelope(new, VM, operation="UPDATE", oldObject=old))["status"]
    assert 'Cannot update vm disks or volumes until snapshot "nightly" completes' in str(message)
    labelled = copy.deepcopy(old)
    labelled["spec"]["template"]["spec"]["hostname"] = "other"
    changed = ask(CHANGE_VM, envelope(labelled, VM, operation="UPDATE", oldObject=old))
    assert changed["allowed"] is True


def test_a_machine_does_not_start_while_it_is_restored() -> None:
    old = vm(runStrategy="Halted") | {"status": {"restoreInProgress": "back"}}
    new = copy.deepcopy(old)
    new["spec"]["runStrategy"] = "Always"
    message = ask(CHANGE_VM, envelope(new, VM, operation="UPDATE", oldObject=old))["status"]
    assert 'Cannot update VM runStrategy until restore "back" completes' in str(message)


@pytest.mark.parametrize(
    ("requests", "says"),
    [
        ([{}], "require one of either"),
        ([{"removeVolumeOptions": {}}], "missing required field `name`"),
        ([{"removeVolumeOptions": {"name": ""}}], "requires name"),
        ([{"removeVolumeOptions": {"name": "a"}}, {"removeVolumeOptions": {"name": "a"}}], "twice"),
        ([{"addVolumeOptions": {"name": "a"}}], "missing required field `volumeSource`"),
    ],
)
def test_requests_for_volumes_are_whole(requests: list[Json], says: str) -> None:
    asked = vm(runStrategy="Halted") | {"status": {"volumeRequests": requests}}
    denied = ask("/status-validate", envelope(asked, VM, operation="UPDATE", oldObject=vm()))
    assert denied["allowed"] is False
    assert says in denied["status"]["message"]


def test_a_clone_without_a_target_gets_a_name() -> None:
    spec = {"source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "web"}}
    clone = {"metadata": {"namespace": "default", "name": "c"}, "spec": spec}
    response = ask("/vm-clone-mutate-create", envelope(clone, "VirtualMachineClone"))
    (operation,) = json.loads(response["patch"])
    assert operation["path"] == "/spec/target"
    assert operation["value"]["name"] == "clone-web-6e8f8"
    assert operation["value"]["kind"] == "VirtualMachine"


def test_a_pool_is_refused_for_what_its_machines_would_be() -> None:
    pool = {
        "metadata": {"namespace": "default", "name": "p"},
        "spec": {"selector": {}, "virtualMachineTemplate": {"spec": vm(runStrategy="No")["spec"]}},
    }
    status = ask("/virtualmachinepool-validate", envelope(pool, "VirtualMachinePool"))["status"]
    fields = {cause["field"] for cause in status["details"]["causes"]}
    assert "spec.virtualMachineTemplate.spec.runStrategy" in fields
