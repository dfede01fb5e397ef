"""customizeComponents, placement, replicas and pull policy: what becomes of the manifests."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from virtpod.render import patches
from virtpod.render.customize import MARK, customized, idle
from virtpod.render.install import Options, Site, components
from virtpod.render.patches import Unfit, patched

OPTIONS = Options("registry.example/virtpod:1", "registry.example/virt-launcher:1")
SITE = Site(nodes=3, ca_bundle="PEM")
Json = dict[str, Any]


def installed(spec: Json) -> dict[tuple[str, str], Json]:
    made = components({"spec": spec}, OPTIONS, SITE)
    return {(each["kind"], each["metadata"]["name"]): each for each in made}


FIELDS = ("resourceType", "resourceName", "type", "patch")


def custom(*given: tuple[str, str, str, Any]) -> Json:
    """(kind, name, type, patch) of each."""
    return {
        "customizeComponents": {
            "patches": [
                {
                    "resourceType": kind,
                    "resourceName": name,
                    "type": type,
                    "patch": json.dumps(patch),
                }
                for kind, name, type, patch in given
            ]
        }
    }


API = ("Deployment", "virt-api")


def test_a_strategic_patch_meets_containers_by_name() -> None:
    container = {
        "name": "virt-api",
        "resources": {"limits": {"memory": "1Gi"}},
        "env": [{"name": "VIRTPOD_LOG", "value": "debug"}],
    }
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    before, after = installed({})[API], installed(custom((*API, "strategic", patch)))[API]
    [old], [new] = (each["spec"]["template"]["spec"]["containers"] for each in (before, after))
    assert new["resources"] == {
        "requests": old["resources"]["requests"],
        "limits": {"memory": "1Gi"},
    }
    assert new["env"] == [*old["env"], {"name": "VIRTPOD_LOG", "value": "debug"}]
    assert new["args"] == old["args"]
    assert MARK in after["metadata"]["annotations"]
    assert MARK not in (before["metadata"].get("annotations") or {})


@pytest.mark.configures("customizeComponents.patches.*")
def test_patches_of_all_types_follow_each_other() -> None:
    found = installed(
        custom(
            ("deployments", "virt-api", "merge", {"metadata": {"annotations": {"a": "1"}}}),
            (*API, "json", [{"op": "replace", "path": "/metadata/annotations/a", "value": "2"}]),
            ("Deployment", "*", "strategic", {"metadata": {"labels": {"team": "blue"}}}),
        )
    )
    assert found[API]["metadata"]["annotations"]["a"] == "2"
    for name in ("virt-api", "virt-controller"):
        assert found["Deployment", name]["metadata"]["labels"]["team"] == "blue"
    assert "team" not in found["DaemonSet", "virt-handler"]["metadata"]["labels"]
    without = installed({})
    changed = {key for key in found if found[key] != without[key]}
    assert changed == {API, ("Deployment", "virt-controller")}


@pytest.mark.parametrize(
    ("kind", "patch", "told"),
    [
        ("json", [{"op": "remove", "path": "/spec/nothing"}], "operation 0 does not fit"),
        ("json", [{"op": "test", "path": "/kind", "value": "Pod"}], "the value is another"),
        ("merge", {"metadata": {"name": "other"}}, "stay as they are"),
        ("merge", {"metadata": None}, "stay as they are"),
        ("strategic", {"spec": {"template": {"spec": {"containers": [{}]}}}}, "lacks name"),
        ("strategic", {"$patch": "delete"}, "stay as they are"),
    ],
)
def test_what_does_not_fit_is_named(kind: str, patch: Any, told: str) -> None:
    spec = custom((*API, "merge", {}), (*API, kind, patch))
    with pytest.raises(Unfit, match=rf"customizeComponents.patches\[1\].*{told}"):
        installed(spec)


def test_a_patch_of_nothing_is_told_and_does_nothing() -> None:
    spec = custom(("Deployment", "virt-nothing", "merge", {"a": 1}))
    assert installed(spec) == installed({})
    assert idle(installed({}).values(), spec["customizeComponents"]) == ["Deployment virt-nothing"]


@pytest.mark.configures("customizeComponents.flags.*")
def test_flags_replace_and_add() -> None:
    flags = {"api": {"v": "5", "port": "9443"}, "handler": {"some-flag": ""}}
    found = installed({"customizeComponents": {"flags": flags}})
    [api] = found[API]["spec"]["template"]["spec"]["containers"]
    assert api["args"] == ["--port", "9443", "--console-server-port", "8186", "-v", "5"]
    [handler] = found["DaemonSet", "virt-handler"]["spec"]["template"]["spec"]["containers"]
    assert handler["args"][-1] == "--some-flag"
    [controller] = found["Deployment", "virt-controller"]["spec"]["template"]["spec"]["containers"]
    assert "5" not in controller["args"]


TERM = {"weight": 2, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {}}}


@pytest.mark.configures("infra.*", "workloads.nodePlacement.*")
def test_components_go_where_they_are_told_to() -> None:
    placement = {
        "nodeSelector": {"role": "infra"},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "affinity": {
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [TERM]}
        },
    }
    found = installed({"infra": {"nodePlacement": placement, "replicas": 3}})
    for name in ("virt-api", "virt-controller"):
        workload = found["Deployment", name]
        assert workload["spec"]["replicas"] == 3
        assert found["PodDisruptionBudget", f"{name}-pdb"]["spec"]["minAvailable"] == 2
        pod = workload["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == {"role": "infra"}
        assert placement["tolerations"][0] in pod["tolerations"]
        [apart] = pod["affinity"]["podAntiAffinity"].values()
        assert len(apart) == 2, "replicas still keep apart"
        assert apart[1] == TERM
    handler = found["DaemonSet", "virt-handler"]["spec"]["template"]["spec"]
    assert handler["nodeSelector"] == {"kubernetes.io/os": "linux"}
    found = installed({"workloads": {"nodePlacement": {"nodeSelector": {"role": "guests"}}}})
    handler = found["DaemonSet", "virt-handler"]["spec"]["template"]["spec"]
    assert handler["nodeSelector"] == {"kubernetes.io/os": "linux", "role": "guests"}
    assert "nodeSelector" not in found[API]["spec"]["template"]["spec"]


@pytest.mark.configures("monitorAccount", "monitorNamespace")
def test_prometheus_is_given_what_it_needs_where_it_is() -> None:
    assert not [key for key in installed({}) if key[0] in ("PrometheusRule", "ServiceMonitor")]
    site = replace(SITE, prometheus=True)
    spec = {"monitorNamespace": "watch"}
    made = {each["kind"]: each for each in components({"spec": spec}, OPTIONS, site)}
    assert made["PrometheusRule"]["metadata"]["namespace"] == OPTIONS.namespace
    assert made["ServiceMonitor"]["spec"]["namespaceSelector"] == {
        "matchNames": [OPTIONS.namespace]
    }
    bound = [
        each
        for each in components({"spec": spec}, OPTIONS, site)
        if each["metadata"]["name"] == "kubevirt-monitoring"
    ]
    assert [each["kind"] for each in bound] == ["Role", "RoleBinding"]
    assert bound[1]["subjects"][0]["name"] == "prometheus-k8s"
    assert bound[1]["subjects"][0]["namespace"] == "watch"


def test_a_single_replica_has_no_budget() -> None:
    found = installed({"infra": {"replicas": 1}})
    assert found[API]["spec"]["replicas"] == 1
    assert not [key for key in found if key[0] == "PodDisruptionBudget"]


@pytest.mark.configures("imagePullPolicy", "imagePullSecrets")
def test_the_pull_policy_is_that_of_all_components() -> None:
    found = installed({"imagePullPolicy": "Always", "imagePullSecrets": [{"name": "key"}]})
    for key in (API, ("Deployment", "virt-controller"), ("DaemonSet", "virt-handler")):
        pod = found[key]["spec"]["template"]["spec"]
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert container["imagePullPolicy"] == "Always"
        assert pod["imagePullSecrets"] == [{"name": "key"}]


@pytest.mark.parametrize(
    ("before", "operations", "after"),
    [
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": [2]}], {"a": [1, [2]]}),
        ({"a": {"b~/c": 1}}, [{"op": "remove", "path": "/a/b~0~1c"}], {"a": {}}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
        ({"a": None}, [{"op": "replace", "path": "/a", "value": 2}], {"a": 2}),
    ],
)
def test_json_patch(before: Json, operations: Any, after: Json) -> None:
    """Cases of RFC 6902, appendix A."""
    kept = json.dumps(before)
    assert patched(before, "json", operations) == after
    assert json.dumps(before) == kept


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/a/4", "value": 1},
        {"op": "add", "path": "/b/c", "value": 1},
        {"op": "replace", "path": "/b", "value": 1},
        {"op": "remove", "path": "/a/x"},
        {"op": "jump", "path": "/a"},
        {"op": "add", "path": "a", "value": 1},
        {"path": "/a"},
        7,
    ],
)
def test_json_patches_that_do_not_fit(operation: Any) -> None:
    with pytest.raises(Unfit, match="operation 0 does not fit"):
        patches.json({"a": [1, 2]}, [operation])


def test_merge_patch() -> None:
    """The example of RFC 7396."""
    before = {"title": "Goodbye!", "author": {"given": "John", "family": "Doe"}, "tags": ["a", "b"]}
    patch = {"title": "Hello!", "phone": "1", "author": {"family": None}, "tags": ["a"]}
    assert patched(before, "merge", patch) == {
        "title": "Hello!",
        "author": {"given": "John"},
        "tags": ["a"],
        "phone": "1",
    }


def test_strategic_directives() -> None:
    before = {
        "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}],
        "finalizers": ["x", "y"],
        "tolerations": [{"key": "a"}],
        "map": {"a": 1, "b": 2},
    }
    after = patched(
        before,
        "strategic",
        {
            "volumes": [{"name": "a", "$patch": "delete"}, {"name": "c"}],
            "$setElementOrder/volumes": [{"name": "c"}, {"name": "b"}],
            "$deleteFromPrimitiveList/finalizers": ["x"],
            "tolerations": [{"key": "b"}],
            "map": {"$patch": "replace", "c": 3},
        },
    )
    assert after == {
        "volumes": [{"name": "b", "emptyDir": {}}, {"name": "c"}],
        "finalizers": ["y"],
        "tolerations": [{"key": "b"}],
        "map": {"c": 3},
    }
    assert patched(before, "strategic", {"volumes": [{"$patch": "replace"}, {"name": "z"}]})[
        "volumes"
    ] == [{"name": "z"}]
    assert "map" not in patched(before, "strategic", {"map": {"$patch": "delete"}})
    with pytest.raises(Unfit, match="is merge, replace or delete"):
        patched(before, "strategic", {"map": {"$patch": "twist"}})


def test_nothing_asked_for_changes_nothing() -> None:
    made = list(installed({}).values())
    assert customized(made, {"patches": [], "flags": {}}) == made


@pytest.mark.configures("productComponent", "productName", "productVersion")
def test_a_product_has_its_own_labels_on_objects_and_pods() -> None:
    found = installed({"productName": "hco", "productVersion": "1.18", "productComponent": "virt"})
    wanted = {
        "app.kubernetes.io/part-of": "hco",
        "app.kubernetes.io/version": "1.18",
        "app.kubernetes.io/component": "virt",
    }
    usual = installed({})
    for (kind, name), each in found.items():
        labels = each["metadata"]["labels"]
        assert labels.items() >= wanted.items(), name
        assert labels["app.kubernetes.io/managed-by"] == "virt-operator"
        if kind in ("Deployment", "DaemonSet"):
            pods = each["spec"]["template"]["metadata"]["labels"]
            assert pods.items() >= wanted.items()
            before = usual[kind, name]["spec"]
            assert each["spec"]["selector"] == before["selector"], "which never changes"


@pytest.mark.configures("serviceMonitorNamespace")
def test_the_service_monitor_may_be_in_a_namespace_of_its_own() -> None:
    site, spec = replace(SITE, prometheus=True), {"serviceMonitorNamespace": "watch"}
    made = {each["kind"]: each for each in components({"spec": spec}, OPTIONS, site)}
    monitor = made["ServiceMonitor"]
    assert monitor["metadata"]["namespace"] == "watch"
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": [OPTIONS.namespace]}
    assert made["PrometheusRule"]["metadata"]["namespace"] == OPTIONS.namespace
