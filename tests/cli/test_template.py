"""virtctl template: what becomes of a template here, and what a cluster is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from tests.cli.conftest import Commands
from tests.kube.fake import FakeCluster
from virtpod.cli import _template as template
from virtpod.cli.session import Failure

Json = dict[str, Any]

TEMPLATE: Json = {
    "apiVersion": "template.kubevirt.io/v1beta1",
    "kind": "VirtualMachineTemplate",
    "metadata": {"name": "small"},
    "spec": {
        "message": "${NAME} is yours",
        "parameters": [
            {"name": "NAME", "required": True},
            {"name": "CPUS", "value": "2"},
            {"name": "TOKEN", "generate": "expression", "from": "t-[a-f0-9]{8}"},
        ],
        "virtualMachine": {
            "metadata": {
                "name": "${NAME}",
                "namespace": "theirs",
                "labels": {"of-${NAME}": "${TOKEN}"},
            },
            "spec": {"template": {"spec": {"domain": {"cpu": {"cores": "${{CPUS}}"}}}}},
        },
    },
}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "template.yaml"
    path.write_text(yaml.safe_dump(TEMPLATE))
    return str(path)


async def test_a_file_is_processed_here(cluster: Commands, file: str, tmp_path: Path) -> None:
    words = ("template", "process", "--file", file, "-p", "NAME=web,1")
    out, err = await cluster.run(*words)
    vm = yaml.safe_load(out)
    assert err == "web,1 is yours\n"
    assert (vm["apiVersion"], vm["kind"]) == ("kubevirt.io/v1", "VirtualMachine")
    assert "namespace" not in vm["metadata"]
    ((key, token),) = vm["metadata"]["labels"].items()
    assert key == "of-web,1"
    assert re.fullmatch(r"t-[a-f0-9]{8}", token)
    assert vm["spec"]["template"]["spec"]["domain"]["cpu"]["cores"] == 2
    values = tmp_path / "values.json"
    values.write_text('{"NAME": "other", "CPUS": 4}')
    out, _ = await cluster.run(
        *("template", "process", "-f", file, "-o", "json", "--params-file", str(values))
    )
    assert json.loads(out)["spec"]["template"]["spec"]["domain"]["cpu"]["cores"] == 4
    out, _ = await cluster.run("template", "process", "-f", file, "--print-params")
    assert [each["name"] for each in yaml.safe_load(out)] == ["NAME", "CPUS", "TOKEN"]


@pytest.mark.parametrize(
    ("expression", "pattern"),
    [
        ("test[0-9]{1}x", r"test[0-9]x"),
        ("0x[A-F0-9]{4}", r"0x[A-F0-9]{4}"),
        (r"[\w]{255}", r"\w{255}"),
        (r"[\d]{3}[a-c]{2}", r"\d{3}[abc]{2}"),
        (r"[\A]{5}", r"(?:[^\w\s]|_){5}"),
        ("plain", "plain"),
    ],
)
def test_values_are_drawn_by_chance(expression: str, pattern: str) -> None:
    assert re.fullmatch(pattern, template.generated(expression))
    assert expression == "plain" or len({template.generated(expression * 9) for _ in "abc"}) > 1


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, "spec.virtualMachine"),
        ({"virtualMachine": {"a": "${NO}"}}, r"\$\{NO\} is a parameter"),
        ({"virtualMachine": {"a": "${{NO}}"}}, "is a parameter"),
        ({"virtualMachine": {"a": 1}, "parameters": [{"name": "A"}] * 2}, "there twice"),
        ({"virtualMachine": {"a": 1}, "parameters": [{"name": "A", "required": True}]}, "required"),
        (
            {"virtualMachine": {"a": 1}, "parameters": [{"name": "A", "generate": "expression"}]},
            "needs from",
        ),
    ],
)
def test_what_cannot_be_processed_is_told(spec: Json, told: str) -> None:
    with pytest.raises(Failure, match=told):
        template.processed({"spec": spec}, {})
    for wrong in ("[z-a]{2}", "[a-z]{0}", "[a-z]{256}"):
        with pytest.raises(Failure):
            template.generated(wrong)


async def test_a_template_of_openshifts_is_converted(cluster: Commands, tmp_path: Path) -> None:
    theirs = {
        "apiVersion": "template.openshift.io/v1",
        "kind": "Template",
        "metadata": {"name": "small", "uid": "x", "labels": {"a": "b"}},
        "message": "done",
        "objects": [{"kind": "VirtualMachine"}],
        "parameters": [{"name": "NAME", "required": True, "description": ""}],
    }
    path = tmp_path / "theirs.yaml"
    path.write_text(yaml.safe_dump(theirs))
    out, _ = await cluster.run("template", "convert", "--file", str(path))
    assert yaml.safe_load(out) == {
        "apiVersion": "template.kubevirt.io/v1beta1",
        "kind": "VirtualMachineTemplate",
        "metadata": {"name": "small", "labels": {"a": "b"}},
        "spec": {
            "virtualMachine": {"kind": "VirtualMachine"},
            "parameters": [{"name": "NAME", "required": True}],
            "message": "done",
        },
    }
    path.write_text(yaml.safe_dump({**theirs, "objects": []}))
    _, err = await cluster.run("template", "convert", "-f", str(path), code=1)
    assert "exactly one object, found 0" in err


class Templates(FakeCluster):
    """With virt-template."""

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if "template.kubevirt.io" not in path:
            return await super()._serve(request)
        self.asked.append(
            (request.method, path, await request.json() if request.can_read_body else None)
        )
        if request.method == "GET":
            return web.json_response(TEMPLATE)
        if path.endswith("virtualmachinetemplaterequests"):
            return web.json_response({"metadata": {"name": "demo-abcde"}})
        made = {"metadata": {"name": "web"}}
        return web.json_response({"virtualMachine": made, "message": "it is there"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked: list[Any] = []


@pytest.fixture
async def fake() -> AsyncIterator[FakeCluster]:
    async with Templates() as found:
        yield found


async def test_the_cluster_is_asked(cluster: Commands, fake: Templates) -> None:
    base = "namespaces/team/virtualmachinetemplates/small"
    subresources = f"/apis/subresources.template.kubevirt.io/v1beta1/{base}"
    options = {
        "apiVersion": "subresources.template.kubevirt.io/v1beta1",
        "kind": "ProcessOptions",
        "parameters": {"NAME": "web"},
    }
    out, err = await cluster.run("template", "process", "small", "-p", "NAME=web")
    assert (yaml.safe_load(out), err) == ({"metadata": {"name": "web"}}, "it is there\n")
    words = ("template", "process", "--name", "small", "-p", "NAME=web")
    out, _ = await cluster.run(*words, "--create")
    assert out == "virtualmachine.kubevirt.io/web created\n"
    out, _ = await cluster.run(*words, "--local")
    assert yaml.safe_load(out)["kind"] == "VirtualMachine"
    out, _ = await cluster.run("template", "create", "--vm-name", "demo", "--name", "mine")
    assert out == "virtualmachinetemplaterequest.template.kubevirt.io/demo-abcde created\n"
    assert [asked[:2] for asked in fake.asked] == [
        ("POST", f"{subresources}/process"),
        ("POST", f"{subresources}/create"),
        ("GET", f"/apis/template.kubevirt.io/v1beta1/{base}"),
        (
            "POST",
            "/apis/template.kubevirt.io/v1beta1/namespaces/team/virtualmachinetemplaterequests",
        ),
    ]
    assert fake.asked[0][2] == fake.asked[1][2] == options
    assert fake.asked[3][2]["spec"] == {
        "virtualMachineRef": {"namespace": "team", "name": "demo"},
        "templateName": "mine",
    }


@pytest.mark.parametrize(
    "words",
    [
        ("process", "a", "--name", "b"),
        ("process",),
        ("process", "a", "-p", "x"),
        ("process", "a", "--create", "--local"),
        ("process", "--file", "/nonexistent"),
        ("convert", "a", "--file", "b"),
    ],
)
async def test_what_does_not_go_together(cluster: Commands, words: tuple[str, ...]) -> None:
    _, err = await cluster.run("template", *words, code=1)
    assert err.startswith("error: ")
