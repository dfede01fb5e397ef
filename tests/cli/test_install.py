"""virtctl install and uninstall, against an API server that keeps objects."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import chart
from tests.kube.fake import FakeCluster
from virtpod.cli import __main__ as cli
from virtpod.cli import _installation
from virtpod.cli import install as command
from virtpod.cli.session import Failure
from virtpod.kube.resources import DEPLOYMENTS, KUBEVIRTS, NAMESPACES, of
from virtpod.render import install

IMAGES = ("--registry", "registry.example/virtpod", "--tag", "v1")
OPTIONS = install.Options(
    "registry.example/virtpod/virtpod:v1", "registry.example/virtpod/virt-launcher:v1", version="v1"
)


def args(*words: str) -> argparse.Namespace:
    parser = cli.Parser()
    command.arguments(parser)
    cli._add_global(parser)
    return parser.parse_args(words)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert cli.run(["install", "--dry-run", *words]) == 0
    return list(yaml.safe_load_all(capsys.readouterr().out))


def test_what_is_printed_is_what_the_operator_is_made_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert printed(capsys, *IMAGES) == [
        *install.operator_manifests(OPTIONS),
        install.kubevirt_cr(OPTIONS),
    ]
    assert printed(capsys, *IMAGES, "--only", "kubevirt") == [install.kubevirt_cr(OPTIONS)]


def test_a_kubevirt_object_may_be_given(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "kubevirt.yaml"
    configuration = {"developerConfiguration": {"featureGates": ["VSOCK"]}}
    cr = {"kind": "KubeVirt", "spec": {"configuration": configuration, "infra": {"replicas": 3}}}
    for given in (cr, cr["spec"]):
        file.write_text(yaml.safe_dump(given))
        words = (*IMAGES, "-f", str(file), "--emulation", "--only", "kubevirt")
        spec = printed(capsys, *words)[0]["spec"]
        assert spec["infra"] == {"replicas": 3}
        assert spec["configuration"]["developerConfiguration"] == {
            "featureGates": ["VSOCK"],
            "useEmulation": True,
        }
    file.write_text("a word")
    assert cli.run(["install", "--dry-run", *IMAGES, "-f", str(file)]) == 1
    assert "there is no KubeVirt object in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "say by --registry where nodes pull the images from"),
        (("--image", "a"), "name both by --image and --launcher-image"),
        ((*IMAGES, "--replicas", "0"), "--replicas is 1 or more"),
    ],
)
def test_what_cannot_be_is_told(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(Failure, match=told):
        command.chosen(args(*words))


def test_images_of_ones_own_have_a_version_of_their_own() -> None:
    digest = f"sha256:{'abc' * 21}"
    words = ("--image", f"r.example/v@{digest}", "--launcher-image", "r.example/l:20261129")
    assert command.chosen(args(*words, "--tag", "v1")).version == "v1-abcabcab-20261129"


async def test_a_second_namespace_is_refused(fake: FakeCluster) -> None:
    async with fake.client("virtctl") as client:
        assert await _installation.elsewhere(client, "kubevirt") == ""
        for each in install.operator_manifests(OPTIONS):
            if each["kind"] == "ClusterRoleBinding":
                fake.put(of(each), each)
        assert await _installation.elsewhere(client, "kubevirt") == ""
        assert await _installation.elsewhere(client, "machines") == "kubevirt"


async def test_it_is_waited_for(fake: FakeCluster) -> None:
    cr = install.kubevirt_cr(OPTIONS)
    cr["metadata"]["generation"] = 1
    fake.put(KUBEVIRTS, cr)
    told: asyncio.Queue[str] = asyncio.Queue()
    async with fake.client("virtctl") as client, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(_installation.available(client, OPTIONS, told.put_nowait, 10))
        status = {
            "observedGeneration": 1,
            "observedKubeVirtVersion": "v1",
            "observedKubeVirtRegistry": "registry.example/virtpod",
            "conditions": [
                {"type": "Available", "status": "False", "message": "virt-api: not there yet"}
            ],
        }
        assert await told.get() == "virt-operator has not seen the object yet"
        fake.put(KUBEVIRTS, {**cr, "status": status})
        assert await told.get() == "virt-api: not there yet"
        assert not waiting.done()
        conditions = [
            {"type": "Available", "status": "True"},
            {"type": "Progressing", "status": "False"},
        ]
        fake.put(KUBEVIRTS, {**cr, "status": {**status, "conditions": conditions}})
    assert told.empty()


async def test_the_operator_goes_after_what_it_made(fake: FakeCluster) -> None:
    cr = install.kubevirt_cr(OPTIONS)
    cr["metadata"]["finalizers"] = ["kubevirt.io/foregroundDeleteKubeVirt"]
    fake.put(KUBEVIRTS, cr)
    for each in install.operator_manifests(OPTIONS):
        fake.put(of(each), each)
    async with fake.client("virtctl") as client:
        with pytest.raises(Failure, match="still there after 0 s"):
            await _installation.remove(client, OPTIONS, print, 0.2)
        assert fake.objects(DEPLOYMENTS)
        fake.remove(KUBEVIRTS, ("kubevirt", "kubevirt"))
        removal = asyncio.create_task(_installation.remove(client, OPTIONS, print, 10))
        async with asyncio.timeout(10):
            while not _going(fake):  # noqa: ASYNC110 # the fake has no event for it
                await asyncio.sleep(0.005)
        assert not removal.done(), "Kubernetes is still emptying the namespace"
        fake.remove(NAMESPACES, ("", "kubevirt"))
        await removal
    assert not fake.objects(DEPLOYMENTS)


def _going(fake: FakeCluster) -> bool:
    """Whether the namespace is being deleted."""
    [namespace] = fake.objects(NAMESPACES).values()
    return "deletionTimestamp" in namespace["metadata"]


def test_every_manifest_is_in_the_chart_with_helms_expressions() -> None:
    files = chart.chart("1.2.3")
    templates = files["templates/operator.yaml"] + files["templates/namespace.yaml"]
    for each in install.operator_manifests(OPTIONS):
        if each["kind"] != "CustomResourceDefinition":
            assert f"kind: {each['kind']}\nmetadata:\n  name:" in templates
    assert "mark-" not in "".join(files.values())
    assert "replicas: {{ .Values.replicas }}" in templates
    assert set(json.loads(files["values.schema.json"])["properties"]) - {"global"} == set(
        yaml.safe_load(files["values.yaml"])
    )


def test_a_choice_within_a_word_has_no_expression() -> None:
    with pytest.raises(ValueError, match="no expression"):
        chart.templated([{"metadata": {"name": "mark-namespace-more"}}])
    with pytest.raises(ValueError, match="what Helm takes for an expression"):
        chart.templated([{"text": "{{ .Values }}"}])
