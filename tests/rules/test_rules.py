"""Every rule of admission: the mistake, the field that its author is pointed to, and the words."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from virtpod.api.kubevirt import DeveloperConfiguration, KubeVirtConfiguration
from virtpod.domain.facts import Cluster
from virtpod.features.gates import resolve
from virtpod.render import admit

RULES = yaml.safe_load(Path(__file__).with_name("rules.yaml").read_text())
LONG = "x" * 3000
"""What stands for the word LONG in the text of a rule with `long`."""
CONFIG = KubeVirtConfiguration(developer_configuration=DeveloperConfiguration(use_emulation=True))
CLUSTER = Cluster(config=CONFIG, gates=resolve(CONFIG), image_volumes=True)
PLAIN: dict[str, Any] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachineInstance",
    "metadata": {"name": "vm", "namespace": "default"},
    "spec": {"domain": {"memory": {"guest": "128Mi"}, "devices": {}}},
}


def merged(into: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396."""
    for name, value in patch.items():
        if value is None:
            into.pop(name, None)
        elif isinstance(value, dict) and isinstance(into.get(name), dict):
            merged(into[name], value)
        else:
            into[name] = copy.deepcopy(value)
    return into


def admission(machine: dict[str, Any]) -> admit.Admission:
    return admit.vmi(
        machine,
        CLUSTER,
        now="2026-01-01T00:00:00Z",
        uuid="5d307ca9-b3ef-428c-8861-06e72d69f223",
    )


def test_the_plain_machine_is_let_in() -> None:
    assert not admission(copy.deepcopy(PLAIN)).causes


@pytest.mark.parametrize("rule", RULES, ids=[rule["what"] for rule in RULES])
def test_a_mistake_is_named(rule: dict[str, Any]) -> None:
    change = {**rule.get("object", {}), "spec": rule.get("spec", {})}
    machine = merged(copy.deepcopy(PLAIN), change)
    if rule.get("long"):
        machine = yaml.safe_load(yaml.safe_dump(machine).replace("LONG", LONG))
    causes = admission(machine).causes
    assert any(rule["field"] == cause.field and rule["says"] in cause.message for cause in causes)
