"""Virtpod goes whole, comes by Helm into a namespace of another name, goes, and comes again."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from localcluster import build, layout
from scripts import chart
from tests.e2e.conftest import said
from tests.e2e.support import (
    SYSTEM,
    Namespace,
    Object,
    Refused,
    available,
    bare,
    condition,
    conditions,
    kubectl,
    kubevirt,
    phase,
    run,
)
from virtpod.api.crd import crds

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

OTHER = "machines"
RELEASE = "virtpod"
PROMETHEUS = "monitoring.coreos.com"


def helm(*words: str, seconds: float = 200) -> str:
    return run(str(build.tool(build.HELM)), *words, seconds=seconds)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(chart.write(tmp_path_factory.mktemp("chart")))


@pytest.fixture(scope="module")
def images(cluster: None) -> tuple[str, str]:
    """Of the components and of launchers, as they are installed."""
    found = json.loads(kubectl("-n", SYSTEM, "get", "ds", "virt-handler", "-o", "json"))
    spec = found["spec"]["template"]["spec"]
    return spec["containers"][0]["image"], spec["initContainers"][0]["image"]


@pytest.fixture(scope="module")
def spec(images: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the KubeVirt object said, in a file; Virtpod is there again at the end."""
    path = tmp_path_factory.mktemp("kubevirt") / "spec.yaml"
    path.write_text(yaml.safe_dump(kubevirt()["spec"]))
    yield path
    if "kubevirt" not in said("-n", SYSTEM, "get", "kubevirt", "-o", "name"):
        virtctl("uninstall", "-n", OTHER, seconds=300)
        restore(path, images)


def test_helm_finds_the_chart_sound(folder: str) -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in helm("lint", "--strict", folder)
    with pytest.raises(Refused, match="set registry to where nodes pull images from"):
        helm("template", RELEASE, folder)
    with pytest.raises(Refused, match="replicas"):
        helm("template", RELEASE, folder, "--set", "registry=r.example/v,replicas=0")


def test_the_chart_says_what_virtctl_says(folder: str) -> None:
    """All but what only Helm needs: its way to take away what virt-operator made."""
    choices = ("registry=r.example/v", "tag=v7", "namespace=machines", "replicas=3")
    more = ("pullPolicy=Always", "imageVolumes=false", "pullSecrets={one,two}")
    sets = [word for each in (*choices, *more) for word in ("--set", each)]
    drawn = objects(helm("template", RELEASE, folder, *sets))
    flags = ("--registry", "r.example/v/", "--tag", "v7", "-n", "machines", "--replicas", "3")
    rest = ("--pull-policy", "Always", "--image-volumes", "false")
    secrets = ("--pull-secret", "one", "--pull-secret", "two")
    printed = objects(virtctl("install", "--dry-run", *flags, *rest, *secrets))
    cr = ("KubeVirt", "kubevirt")
    assert {kind for kind, _ in printed.keys() - drawn.keys()} == {"CustomResourceDefinition"}
    assert {name for _, name in drawn.keys() - printed.keys()} == {chart.REMOVAL}
    for key in drawn.keys() & printed.keys() - {cr}:
        assert drawn[key] == printed[key], key
    assert drawn[cr]["spec"].items() <= printed[cr]["spec"].items()


def test_it_goes_whole(spec: Path, images: tuple[str, str]) -> None:
    assert "Virtpod is gone" in virtctl("uninstall", seconds=300)
    assert left() == []


@pytest.fixture(scope="module")
def prometheus() -> Iterator[None]:
    """The kinds of the Prometheus operator, without it."""
    kinds = {"prometheusrules": "PrometheusRule", "servicemonitors": "ServiceMonitor"}
    crds = [prometheus_crd(plural, kind) for plural, kind in kinds.items()]
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": crds})
    kubectl("apply", "-f", "-", stdin=document)
    for plural in kinds:
        name = f"crd/{plural}.{PROMETHEUS}"
        kubectl("wait", "--for=condition=Established", name, "--timeout=30s")
    yield
    kubectl("delete", "-f", "-", stdin=document)


def prometheus_crd(plural: str, kind: str) -> Object:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{PROMETHEUS}"},
        "spec": {
            "group": PROMETHEUS,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [{**version, "schema": {"openAPIV3Schema": anything}}],
        },
    }


def test_helm_installs_it_under_another_name(
    namespace: Namespace, folder: str, spec: Path, images: tuple[str, str], prometheus: None
) -> None:
    values = {
        "namespace": OTHER,
        "images": {"virtpod": images[0], "virtLauncher": images[1]},
        "monitoring": {"dashboard": True, "runbooks": "https://docs.example/observability"},
        "kubevirt": {"spec": yaml.safe_load(spec.read_text())},
    }
    given = spec.with_name("values.yaml")
    given.write_text(yaml.safe_dump(values))
    helm("install", RELEASE, folder, "-n", "default", "-f", str(given))
    Namespace(OTHER).wait(
        "kubevirt", "kubevirt", lambda cr: condition(cr, "Available") == "True", "available", 200
    )
    home = Namespace(OTHER)
    assert home.get("configmap", "virtpod-dashboard")["data"]["virtpod.json"].startswith("{")
    assert home.get("servicemonitor", "prometheus-kubevirt")["spec"]["endpoints"]
    group, _ = home.get("prometheusrule", "prometheus-kubevirt-rules")["spec"]["groups"]
    assert group["rules"][0]["annotations"]["runbook_url"] == (
        "https://docs.example/observability#virtapidown"
    )
    pods = home.items("pod")
    assert {pod["metadata"]["labels"]["kubevirt.io"] for pod in pods} == {
        *("virt-operator", "virt-api", "virt-controller", "virt-handler")
    }
    namespace.apply(bare("guest"))
    namespace.wait("vmi", "guest", lambda vmi: phase(vmi) == "Running", "Running")
    assert "scheduled to stop" in namespace.virtctl("stop", "guest")
    with pytest.raises(Refused, match=f"installed in namespace {OTHER}"):
        virtctl("install", "--image", images[0], "--launcher-image", images[1])


def test_helm_brings_another_size(folder: str, spec: Path) -> None:
    helm("upgrade", RELEASE, folder, "-n", "default", "--reuse-values", "--set", "replicas=2")
    rolled = ("rollout", "status", "deployment/virt-operator", "--timeout=90s")
    assert "successfully rolled out" in kubectl("-n", OTHER, *rolled)
    deployment = Namespace(OTHER).get("deployment", "virt-operator")
    assert deployment["status"]["readyReplicas"] == 2


def test_helm_takes_it_away(spec: Path) -> None:
    helm("uninstall", RELEASE, "-n", "default", "--timeout", "180s")
    kubectl("wait", "--for=delete", f"namespace/{OTHER}", "--timeout=90s")
    assert left() == ["customresourcedefinition/kubevirts.kubevirt.io"], "Helm keeps CRDs"


def test_virtctl_installs_it_again(
    namespace: Namespace, spec: Path, images: tuple[str, str]
) -> None:
    assert f"is installed in namespace {SYSTEM}" in restore(spec, images)
    available()
    namespace.apply(bare("again"))
    namespace.wait("vmi", "again", lambda vmi: phase(vmi) == "Running", "Running")
    assert (
        plugged("stop", "again", "-n", namespace.name).strip() == "VM again was scheduled to stop"
    )


PATCH = {"spec": {"template": {"metadata": {"annotations": {"team": "blue"}}}}}


def test_components_are_as_the_object_wants_them(spec: Path) -> None:
    """Patched, flagged, placed, counted; told where that does not fit; and all of it undone."""
    kvs, before = Namespace(SYSTEM), yaml.safe_load(spec.read_text())
    controller = {"resourceType": "Deployment", "resourceName": "virt-controller"}
    wanted = {
        "customizeComponents": {
            "patches": [{**controller, "type": "strategic", "patch": json.dumps(PATCH)}],
            "flags": {"controller": {"v": "3"}},
        },
        "infra": {"replicas": 2, "nodePlacement": {"nodeSelector": {"kubernetes.io/os": "linux"}}},
    }
    kvs.patch("kubevirt", "kubevirt", {"spec": wanted})
    available()
    made = kvs.get("deployment", "virt-controller")
    template = made["spec"]["template"]
    assert template["metadata"]["annotations"]["team"] == "blue"
    assert template["spec"]["containers"][0]["args"][-2:] == ["-v", "3"]
    assert template["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert made["status"]["readyReplicas"] == 2
    assert kvs.get("pdb", "virt-controller-pdb")["spec"]["minAvailable"] == 1

    wrong = [{"op": "remove", "path": "/spec/nothing"}]
    patches = [{**controller, "type": "json", "patch": json.dumps(wrong)}]
    kvs.patch("kubevirt", "kubevirt", {"spec": {"customizeComponents": {"patches": patches}}})
    told = kvs.wait(
        "kubevirt", "kubevirt", lambda cr: condition(cr, "Degraded") == "True", "Degraded"
    )
    message = conditions(told)["Degraded"]["message"]
    assert "spec.customizeComponents.patches[0]: operation 0 does not fit" in message
    assert condition(told, "Available") == "True", "what is there goes on"

    undone = {"customizeComponents": {"patches": None, "flags": None}, "infra": before.get("infra")}
    kvs.patch("kubevirt", "kubevirt", {"spec": undone})
    available()
    template = kvs.get("deployment", "virt-controller")["spec"]["template"]
    assert "team" not in template["metadata"].get("annotations", {})
    assert "-v" in template["spec"]["containers"][0]["args"]
    assert "nodeSelector" not in template["spec"]


def plugged(*words: str) -> str:
    """virtctl as kubectl finds it."""
    path = f"PATH={Path(sys.executable).parent}:{os.environ['PATH']}"
    return run("env", path, str(layout.BIN / "kubectl"), "virt", *words)


def restore(spec: Path, images: tuple[str, str]) -> str:
    flags = ("--image", images[0], "--launcher-image", images[1], "-f", str(spec))
    return virtctl("install", *flags, seconds=330)


def virtctl(*words: str, seconds: float = 120) -> str:
    return run(sys.executable, "-m", "virtpod.cli", *words, seconds=seconds)


def objects(text: str) -> dict[tuple[str, str], Object]:
    return {
        (each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text) if each
    }


def left() -> list[str]:
    """What is still there of all that an installation makes for the whole cluster.

    An APIService of a CRD's group is Kubernetes' own.
    """
    kinds = (
        *("crd", "clusterrole", "clusterrolebinding", "apiservice", "priorityclass", "namespace"),
        *("mutatingwebhookconfiguration", "validatingwebhookconfiguration"),
        *("validatingadmissionpolicy", "validatingadmissionpolicybinding"),
    )
    names = kubectl("get", ",".join(kinds), "-o", "name").split()
    ours = {crd["metadata"]["name"] for crd in crds()}
    found = [each.replace(".apiextensions.k8s.io/", "/") for each in names]
    found = [each for each in found if "apiservice" not in each or "subresources" in each]
    return [
        each
        for each in found
        if "kubevirt" in each or "virtpod" in each or each.partition("/")[2] in {*ours, OTHER}
    ]
