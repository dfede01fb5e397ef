"""Each manifest that docs/qat.md shows is admitted: whole ones as they are, parts within the object
that the text around them speaks of. What a field is called is checked too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.golden.test_golden import UUID
from tests.unit.test_qat_examples import CLUSTER
from virtpod.api.kubevirt import KubeVirt
from virtpod.api.qat import QATNodePolicy
from virtpod.render import admit
from virtpod.render.rules import Asked, kubevirt, qat

PAGE = Path(__file__).parents[2] / "docs/qat.md"
Json = dict[str, Any]


def shown() -> list[Json]:
    """The objects in blocks of YAML, parts made whole."""
    blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```$", PAGE.read_text("utf-8"), re.M | re.S)
    return [
        whole(each)
        for indent, text in blocks
        for each in yaml.safe_load_all(re.sub(rf"^{indent}", "", text, flags=re.M))
    ]


def whole(shown: Json) -> Json:
    if "kind" in shown:
        return shown
    if "permittedHostDevices" in shown or "mediatedDevicesConfiguration" in shown:
        spec = {"configuration": shown}
        return {"kind": "KubeVirt", "metadata": {"name": "kubevirt"}, "spec": spec}
    if set(shown) == {"spec"}:
        return {"kind": "QATNodePolicy", "metadata": {"name": "limits"}, **shown}
    template = {**shown, "spec": {"domain": {"memory": {"guest": "2Gi"}, "devices": {}}}}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "vm"},
        "spec": {"runStrategy": "Always", "template": template},
    }


def known(made: msgspec.Struct, written: Json) -> list[str]:
    """Which fields of what was written the type does not have."""

    def lost(before: Any, after: Any, where: str) -> list[str]:
        if isinstance(before, dict) and isinstance(after, dict):
            return [
                name
                for key, value in before.items()
                for name in (
                    lost(value, after[key], f"{where}.{key}")
                    if key in after
                    else [f"{where}.{key}"]
                )
            ]
        if isinstance(before, list) and isinstance(after, list):
            pairs = enumerate(zip(before, after, strict=True))
            return [name for n, (b, a) in pairs for name in lost(b, a, f"{where}[{n}]")]
        return []

    return lost(written, msgspec.to_builtins(made), "")


def name(each: Json) -> str:
    return f"{each['kind']}-{each['metadata']['name']}"


def test_the_page_shows_objects_of_each_kind() -> None:
    kinds = {each["kind"] for each in shown()}
    assert kinds == {"QATNodePolicy", "KubeVirt", "VirtualMachine", "ResourceClaimTemplate"}


@pytest.mark.parametrize(
    "manifest", [each for each in shown() if each["kind"] == "QATNodePolicy"], ids=name
)
def test_a_policy_is_admitted(manifest: Json) -> None:
    policy = msgspec.convert(manifest, QATNodePolicy)
    asked = Asked(policy, None, CLUSTER)
    assert list(qat.RULES.causes(asked)) == []
    assert list(qat.RULES.warnings(asked)) == []
    assert known(policy, manifest) == []


@pytest.mark.parametrize(
    "manifest", [each for each in shown() if each["kind"] == "KubeVirt"], ids=name
)
def test_a_configuration_is_admitted(manifest: Json) -> None:
    config = msgspec.convert(manifest, KubeVirt)
    asked = Asked(config, None, CLUSTER)
    assert list(kubevirt.RULES.causes(asked)) == []
    assert list(kubevirt.RULES.warnings(asked)) == []
    assert known(config, manifest) == []


@pytest.mark.parametrize(
    "manifest", [each for each in shown() if each["kind"] == "VirtualMachine"], ids=name
)
def test_a_machine_is_admitted(manifest: Json) -> None:
    machine = {**manifest, "metadata": {"namespace": "default", **manifest["metadata"]}}
    answer = admit.vm(machine, CLUSTER, uuid=UUID)
    assert answer.causes == []
    assert [each for each in answer.warnings if "qatlib" not in each] == []
