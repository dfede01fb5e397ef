"""What VirtualMachineInstancePresets give a new machine."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from virtpod.apiserver import admission
from virtpod.domain.facts import Cluster
from virtpod.kube import review
from virtpod.render import admit
from virtpod.render.preset import APPLIED, EXCLUDE, Merged, ignored, merge, project

Json = dict[str, Any]
MINE = {"matchLabels": {"size": "small"}}
DOMAIN = {
    "cpu": {"cores": 2},
    "clock": {"utc": {}},
    "ioThreadsPolicy": "auto",
    "devices": {"watchdog": {"name": "dog", "i6300esb": {"action": "reset"}}, "disks": []},
    "resources": {"requests": {"memory": "64Mi", "cpu": "100m"}, "limits": {"memory": "1Gi"}},
}
MACHINE: Json = {
    "metadata": {"name": "vm", "namespace": "team", "labels": {"size": "small"}},
    "spec": {"domain": {"devices": {}}},
}


def preset(name: str, domain: Json, selector: Json | None = None) -> bytes:
    spec = {"selector": MINE if selector is None else selector, "domain": domain}
    return json.dumps({"metadata": {"name": name}, "spec": spec}).encode()


def given(*presets: bytes, **domain: Any) -> Merged:
    machine = copy.deepcopy(MACHINE)
    machine["spec"]["domain"].update(domain)
    return merge(machine, [project(each) for each in presets])


def test_what_is_open_is_filled_in() -> None:
    merged = given(preset("small", DOMAIN))
    assert not merged.causes
    assert not merged.overridden
    assert merged.vmi["spec"]["domain"] == {
        "cpu": {"cores": 2},
        "clock": {"utc": {}},
        "ioThreadsPolicy": "auto",
        "devices": {"watchdog": {"name": "dog", "i6300esb": {"action": "reset"}}},
        "resources": {"requests": {"memory": "64Mi", "cpu": "100m"}},
    }
    assert merged.vmi["metadata"]["annotations"] == {APPLIED + "small": "kubevirt.io/v1"}
    assert ignored(DOMAIN) == ["devices.disks", "resources.limits"]


def test_the_machines_own_word_stands() -> None:
    merged = given(preset("small", DOMAIN), cpu={"cores": 8})
    assert merged.vmi["spec"]["domain"]["cpu"] == {"cores": 8}
    assert merged.vmi["spec"]["domain"]["ioThreadsPolicy"] == "auto"
    assert merged.overridden == [
        "VirtualMachineInstancePreset 'small' is overridden: the machine says itself what is to "
        "be spec.domain.cpu"
    ]
    assert APPLIED + "small" in merged.vmi["metadata"]["annotations"]


def test_one_of_which_nothing_is_taken_is_not_noted() -> None:
    merged = given(preset("small", {"cpu": {"cores": 2}}), cpu={"cores": 8})
    assert len(merged.overridden) == 1
    assert "annotations" not in merged.vmi["metadata"]


def test_requests_are_taken_one_by_one_and_compared_as_quantities() -> None:
    merged = given(preset("small", DOMAIN), resources={"requests": {"memory": "65536Ki"}})
    assert not merged.overridden
    requests = merged.vmi["spec"]["domain"]["resources"]["requests"]
    assert requests == {"memory": "65536Ki", "cpu": "100m"}


def test_presets_that_disagree_let_nothing_in() -> None:
    merged = given(preset("a", {"cpu": {"cores": 1}}), preset("b", {"cpu": {"cores": 2}}))
    (cause,) = merged.causes
    assert cause.field == "spec.domain.cpu"
    assert "'a' and 'b'" in cause.message
    assert merged.vmi == MACHINE
    agreeing = given(preset("a", {"cpu": {"cores": 1}}), preset("b", {"cpu": {"cores": 1}}))
    assert len(agreeing.vmi["metadata"]["annotations"]) == 2


@pytest.mark.parametrize(
    ("selector", "applies"),
    [
        ({}, True),
        ({"matchLabels": {"size": "large"}}, False),
        ({"matchExpressions": [{"key": "size", "operator": "In", "values": ["small"]}]}, True),
        ({"matchExpressions": [{"key": "size", "operator": "NotIn", "values": ["small"]}]}, False),
        ({"matchExpressions": [{"key": "other", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "other", "operator": "Exists"}]}, False),
    ],
)
def test_labels_decide(selector: Json, applies: bool) -> None:
    merged = given(preset("p", DOMAIN, selector))
    assert ("cpu" in merged.vmi["spec"]["domain"]) is applies
    assert (merged.vmi == MACHINE) is not applies


def test_an_operator_that_there_is_not_is_named() -> None:
    (cause,) = given(
        preset("p", DOMAIN, {"matchExpressions": [{"key": "size", "operator": "Like"}]})
    ).causes
    assert "'p': spec.selector: 'Like' is no operator" in cause.message


def test_a_machine_can_be_excluded() -> None:
    machine = copy.deepcopy(MACHINE)
    machine["metadata"]["annotations"] = {EXCLUDE: "true"}
    assert merge(machine, [project(preset("p", DOMAIN))]).vmi == machine


@pytest.mark.parametrize(
    "machine",
    [
        {},
        {"metadata": None, "spec": {}},
        {"metadata": {"labels": 3}, "spec": {"domain": {}}},
        {"metadata": {"labels": {"size": "small"}, "annotations": []}, "spec": {"domain": 1}},
        {"metadata": {"labels": {"size": "small"}}, "spec": {"domain": {"devices": "none"}}},
        {"metadata": {"labels": {"size": "small"}}, "spec": {"domain": {"cpu": [], "clock": 4}}},
    ],
)
def test_whatever_is_sent_is_survived(machine: Json) -> None:
    merge(machine, [project(preset("p", DOMAIN))])
    ask(machine, project(preset("p", DOMAIN)))


def test_a_preset_without_a_spec_is_for_nobody() -> None:
    assert merge(MACHINE, [project(b'{"metadata": {"name": "p"}}')]).vmi == MACHINE


def ask(machine: Json, *presets: Any, **request: Any) -> tuple[Json, list[Any]]:
    """The answer, and what is told."""
    body = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u",
            "operation": "CREATE",
            "namespace": "team",
            "object": machine,
            **request,
        },
    }
    sent = json.dumps(body).encode()
    facts = admission.Facts(Cluster(), "2026-01-02T03:04:05Z", "u", presets=presets)
    answer = admission.review(admission.NEW_VMIS, sent, facts, admit)["response"]
    return answer, admission.news(review.asked(sent), presets)


def test_the_webhook_gives_warns_and_tells() -> None:
    small = project(preset("small", DOMAIN))
    machine = copy.deepcopy(MACHINE)
    machine["spec"]["domain"]["cpu"] = {"cores": 8}
    answer, told = ask(machine, small)
    patch = json.loads(answer["patch"])
    assert {"op": "add", "path": "/spec/domain/ioThreadsPolicy", "value": "auto"} in patch
    assert answer["warnings"] == [told[0].message]
    assert (told[0].reason, told[0].about.namespace, told[0].about.name) == (
        "Override",
        "team",
        "vm",
    )
    assert ask(machine, small, dryRun=True)[1] == []
    assert ask(machine, small, operation="UPDATE", oldObject=machine)[1] == []


def test_the_webhook_refuses_where_presets_disagree() -> None:
    answer, told = ask(
        MACHINE,
        project(preset("a", {"cpu": {"cores": 1}})),
        project(preset("b", {"cpu": {"cores": 2}})),
    )
    assert answer["allowed"] is False
    assert answer["status"]["details"]["causes"][0]["field"] == "spec.domain.cpu"
    assert [event.reason for event in told] == ["PresetFailed"]
