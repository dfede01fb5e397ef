"""The manifests themselves: consistent, complete, and with no more rights than needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from virtpod.domain.quantity import parse
from virtpod.kube.resources import of
from virtpod.operator.installer import mounts_images, probed
from virtpod.render import rbac
from virtpod.render.install import (
    Options,
    Site,
    chosen,
    components,
    kubevirt_cr,
    operator_manifests,
    replaced_tag,
)

OPTIONS = Options("registry.example:5000/virtpod:1", "registry.example:5000/virt-launcher:1")
OPERATORS = operator_manifests(OPTIONS)
COMPONENTS = components({}, OPTIONS, Site(nodes=2, ca_bundle="PEM"))
GOLDEN = Path(__file__).parents[1] / "golden"
Json = dict[str, Any]


def named(manifests: list[Json], kind: str, name: str) -> Json:
    return next(m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)


def pod_specs() -> list[Json]:
    return [
        manifest["spec"]["template"]["spec"]
        for manifest in (*OPERATORS, *COMPONENTS)
        if manifest["kind"] in ("Deployment", "DaemonSet")
    ]


def test_each_object_is_of_a_known_kind_and_there_once() -> None:
    places = [
        (of(each), each["metadata"].get("namespace"), each["metadata"]["name"])
        for each in (*OPERATORS, *COMPONENTS)
    ]
    assert len(places) == len(set(places))


def test_namespaced_objects_have_a_namespace() -> None:
    for each in (*OPERATORS, *COMPONENTS):
        assert of(each).namespaced == ("namespace" in each["metadata"]), each["metadata"]


def test_all_that_is_mounted_is_there() -> None:
    for spec in pod_specs():
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_only_virt_handler_is_privileged() -> None:
    for spec in pod_specs():
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            privileged = container["securityContext"].get("privileged", False)
            assert privileged == (spec["serviceAccountName"] == "kubevirt-handler")
        if spec["serviceAccountName"] != "kubevirt-handler":
            assert spec["securityContext"]["runAsNonRoot"]


def test_what_guests_wait_for_has_as_much_of_a_busy_node_as_a_guest_s_processor() -> None:
    demo = yaml.safe_load((GOLDEN / "demo/vm/pod.yaml").read_text())
    [guest] = [each for each in demo["spec"]["containers"] if each["name"] == "compute"]
    processor = parse(guest["resources"]["requests"]["cpu"])
    requested = {
        container["name"]: parse(container["resources"]["requests"]["cpu"])
        for spec in pod_specs()
        for container in spec["containers"]
    }
    for name in ("virt-api", "virt-controller", "virt-handler"):
        assert requested[name] >= processor, name


def test_accounts_exist_and_are_bound() -> None:
    made = {
        m["metadata"]["name"] for m in (*OPERATORS, *COMPONENTS) if m["kind"] == "ServiceAccount"
    }
    assert {spec["serviceAccountName"] for spec in pod_specs()} == made
    roles = {
        m["metadata"]["name"]
        for m in (*OPERATORS, *COMPONENTS)
        if m["kind"] in ("Role", "ClusterRole")
    } | {rbac.AUTHENTICATION_READER}
    for manifest in (*OPERATORS, *COMPONENTS):
        if manifest["kind"].endswith("RoleBinding"):
            assert manifest["roleRef"]["name"] in roles


@pytest.mark.parametrize("account", rbac.COMPONENTS, ids=lambda account: account.name)
def test_no_component_has_wildcards_or_secrets_or_roles(account: rbac.Account) -> None:
    for rule in (*account.cluster, *account.own):
        assert "*" not in (rule.group, *rule.resources, *rule.verbs)
        assert not {"secrets", "clusterroles", "roles", "serviceaccounts"} & set(rule.resources)


def test_virt_operator_names_the_cluster_objects_it_may_change() -> None:
    rules = named(OPERATORS, "ClusterRole", "kubevirt-operator")["rules"]
    for rule in rules:
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
        assert "secrets" not in rule["resources"]
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
        if "clusterroles" in rule["resources"] and "create" not in rule["verbs"]:
            assert rule["resourceNames"]


def test_virt_operator_may_do_what_it_grants() -> None:
    """Else the API server refuses the roles that it makes."""
    held = named(OPERATORS, "ClusterRole", "kubevirt-operator")["rules"]
    for account in rbac.COMPONENTS:
        for rule in (*account.cluster, *account.own):
            assert rule.json() in held
    for user in rbac.USERS:
        for rule in user.rules:
            assert rule.json() in held


def test_two_nodes_have_two_of_each_and_one_has_one() -> None:
    for nodes, expected in ((1, 1), (2, 2), (40, 4)):
        made = components({}, OPTIONS, Site(nodes=nodes))
        assert named(made, "Deployment", "virt-api")["spec"]["replicas"] == expected
        budgets = [m for m in made if m["kind"] == "PodDisruptionBudget"]
        assert bool(budgets) == (expected > 1)


def test_the_cr_places_components_and_counts_them() -> None:
    placement = {"nodeSelector": {"role": "infra"}, "tolerations": [{"key": "infra"}]}
    spec = {"infra": {"replicas": 3, "nodePlacement": placement}}
    made = components({"spec": spec}, OPTIONS, Site())
    api = named(made, "Deployment", "virt-api")["spec"]
    assert api["replicas"] == 3
    assert api["template"]["spec"]["nodeSelector"] == {"role": "infra"}
    assert {"key": "infra"} in api["template"]["spec"]["tolerations"]
    handler = named(made, "DaemonSet", "virt-handler")["spec"]["template"]["spec"]
    assert handler["nodeSelector"] == {"kubernetes.io/os": "linux"}


@pytest.mark.parametrize(
    ("spec", "image"),
    [
        ({}, "registry.example:5000/virtpod:1"),
        ({"imageTag": "2"}, "registry.example:5000/virtpod:2"),
        ({"imageRegistry": "other.example/x/"}, "other.example/x/virtpod:1"),
        ({"imageRegistry": "other.example", "imageTag": "3"}, "other.example/virtpod:3"),
    ],
)
@pytest.mark.configures("imageRegistry", "imageTag")
def test_the_cr_chooses_images(spec: Json, image: str) -> None:
    assert chosen({"spec": spec}, OPTIONS).image == image


def test_the_image_for_guestfs_goes_from_who_installs_to_virt_api() -> None:
    given = replace(OPTIONS, guestfs_image="a.example/libguestfs-tools:1")
    told = environment(operator_manifests(given), "virt-operator")
    seen = probed(Options("", ""), told)
    assert seen.guestfs_image == "a.example/libguestfs-tools:1"
    cr = {"spec": {"imageRegistry": "b.example", "imageTag": "2"}}
    served = environment(components(cr, seen, Site()), "virt-api")
    assert served["GS_IMAGE"] == "b.example/libguestfs-tools:2"
    assert environment(components(cr, OPTIONS, Site()), "virt-api")["GS_IMAGE"] == ""


def environment(manifests: list[Json], deployment: str) -> dict[str, str]:
    spec = named(manifests, "Deployment", deployment)["spec"]["template"]["spec"]
    return {each["name"]: each.get("value", "") for each in spec["containers"][0]["env"]}


def test_a_tag_replaces_a_digest() -> None:
    assert replaced_tag("r.example:5000/a/b@sha256:abc", "t") == "r.example:5000/a/b:t"


def test_the_cr_says_what_was_chosen() -> None:
    cr = kubevirt_cr(Options("", "", configuration={"developerConfiguration": {}}))
    assert cr["spec"]["configuration"] == {"developerConfiguration": {}}


@pytest.mark.parametrize(
    ("runtime", "able"),
    [
        ("containerd://2.2.1", True),
        ("containerd://2.0.5", False),
        ("containerd://1.6.20~ds1", False),
        ("cri-o://1.33.0", True),
        ("docker://28.0", False),
        ("", False),
    ],
)
def test_runtimes_that_mount_images(runtime: str, able: bool) -> None:
    assert mounts_images(runtime) is able


def test_who_makes_scsi_reservations_is_there_where_it_is_wanted() -> None:
    def handler(**configuration: Any) -> Json:
        made = components({"spec": {"configuration": configuration}}, OPTIONS, Site())
        [found] = [each for each in made if each["kind"] == "DaemonSet"]
        return found["spec"]["template"]["spec"]  # type: ignore[no-any-return]

    assert [each["name"] for each in handler()["containers"]] == ["virt-handler"]
    spec = handler(persistentReservationConfiguration={"enabled": True})
    ours, helper = spec["containers"]
    assert helper["image"] == OPTIONS.launcher_image
    assert "/var/run/kubevirt/daemons/pr/pr-helper.sock" in helper["command"][-1]
    [place] = [each for each in spec["volumes"] if each["name"] == "pr-helper"]
    for container in (ours, helper):
        [mount] = [each for each in container["volumeMounts"] if each["name"] == "pr-helper"]
        assert mount["mountPath"] == place["hostPath"]["path"]
