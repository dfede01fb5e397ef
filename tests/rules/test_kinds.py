"""Every rule of the kinds beside machines: the mistake, the field, and the words."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rules.test_rules import merged
from virtpod.api.base import decode
from virtpod.api.kubevirt import DeveloperConfiguration, KubeVirtConfiguration
from virtpod.apiserver.admission import KINDS
from virtpod.domain.facts import Cluster
from virtpod.features import gates
from virtpod.render import admit
from virtpod.render.rules import (
    Asked,
    Rules,
    backup,
    clone,
    export,
    instancetype,
    kubevirt,
    migration,
    plugin,
    policy,
    pool,
    preset,
    qat,
    snapshot,
)

TABLE = yaml.safe_load(Path(__file__).with_name("kinds.yaml").read_text())
RULES: dict[str, Rules[Any]] = {
    "migration": migration.RULES,
    "policy": policy.RULES,
    "pool": pool.RULES,
    "preset": preset.RULES,
    "snapshot": snapshot.SNAPSHOTS,
    "restore": snapshot.RULES,
    "export": export.RULES,
    "clone": clone.RULES,
    "backup": backup.RULES,
    "tracker": backup.TRACKERS,
    "instancetype": instancetype.INSTANCETYPES,
    "preference": instancetype.PREFERENCES,
    "plugin": plugin.RULES,
    "qat": qat.RULES,
    "kubevirt": kubevirt.RULES,
}
ALL = frozenset(gates.BETA | {"IncrementalBackup", "Plugins", "QAT", *gates.GA})
CASES = [(kind, rule) for kind, table in TABLE.items() for rule in table["rules"]]


def asked(kind: str, rule: dict[str, Any]) -> Asked[Any]:
    table, rules = TABLE[kind], RULES[kind]
    before = copy.deepcopy(table["good"])
    new = merged(copy.deepcopy(before), rule.get("change", {}))
    old = merged(before, rule["old"]) if "old" in rule else None
    on = frozenset(rule["gates"]) if "gates" in rule else ALL
    return Asked(
        decode(new, rules.kind),
        None if old is None else decode(old, rules.kind),
        Cluster(
            config=KubeVirtConfiguration(
                developer_configuration=DeveloperConfiguration(use_emulation=True)
            ),
            gates=on,
        ),
        rule.get("seen", table.get("seen", {})),
    )


@pytest.mark.parametrize("kind", TABLE)
def test_a_good_one_is_let_in_without_a_word(kind: str) -> None:
    good = asked(kind, {})
    assert list(RULES[kind].causes(good)) == []
    assert list(RULES[kind].warnings(good)) == []


@pytest.mark.parametrize(
    ("kind", "rule"), CASES, ids=[f"{kind}: {rule['what']}" for kind, rule in CASES]
)
def test_a_mistake_is_named(kind: str, rule: dict[str, Any]) -> None:
    given = asked(kind, rule)
    causes = list(RULES[kind].causes(given))
    if "warns" in rule:
        assert causes == []
        assert any(rule["warns"] in text for text in RULES[kind].warnings(given))
        return
    assert [c for c in causes if c.field == rule["field"] and rule["says"] in c.message], causes


TEMPLATE = {"domain": {"devices": {}, "memory": {"guest": "128Mi"}}}
VOLUME = {"name": "root", "dataVolume": {"name": "root"}}
SIZE = {"resources": {"requests": {"storage": "1Gi"}}}
SOURCE = {"blank": {}}


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ({"updateVolumesStrategy": "Hope"}, "spec.updateVolumesStrategy", "Migration, Replacement"),
        (
            {"dataVolumeTemplates": [{"metadata": {}, "spec": {"pvc": SIZE, "source": SOURCE}}]},
            "spec.dataVolumeTemplates[0].metadata.name",
            "must have a name",
        ),
        (
            {"dataVolumeTemplates": [{"metadata": {"name": "root"}, "spec": {"pvc": SIZE}}]},
            "spec.dataVolumeTemplates[0].spec",
            "missing source",
        ),
        (
            {"dataVolumeTemplates": [{"metadata": {"name": "root"}, "spec": {"source": SOURCE}}]},
            "spec.dataVolumeTemplates[0].spec",
            "must have one of pvc and storage",
        ),
        (
            {
                "dataVolumeTemplates": [
                    {
                        "metadata": {"name": "root"},
                        "spec": {"pvc": SIZE, "storage": SIZE, "source": SOURCE},
                    }
                ]
            },
            "spec.dataVolumeTemplates[0].spec",
            "pvc or storage, not both",
        ),
        (
            {
                "dataVolumeTemplates": [
                    {"metadata": {"name": "other"}, "spec": {"pvc": SIZE, "source": SOURCE}}
                ]
            },
            "spec.dataVolumeTemplates[0]",
            "must be referenced in the VMI template's 'volumes' list",
        ),
    ],
)
def test_a_machine_s_own_mistakes(spec: dict[str, Any], field: str, says: str) -> None:
    template = {**TEMPLATE, "volumes": [VOLUME]}
    vm = {
        "metadata": {"name": "vm", "namespace": "default"},
        "spec": {"runStrategy": "Halted", "template": {"spec": template}, **spec},
    }
    causes = admit.vm(vm, Cluster(gates=ALL), uuid="5d307ca9-b3ef-428c-8861-06e72d69f223").causes
    assert [c for c in causes if c.field == field and says in c.message], causes


def test_a_good_template_of_a_data_volume_is_let_in() -> None:
    made = {"metadata": {"name": "root"}, "spec": {"storage": SIZE, "source": SOURCE}}
    template = {**TEMPLATE, "volumes": [VOLUME]}
    spec = {"runStrategy": "Halted", "template": {"spec": template}, "dataVolumeTemplates": [made]}
    vm = {"metadata": {"name": "vm", "namespace": "default"}, "spec": spec}
    assert (
        admit.vm(vm, Cluster(gates=ALL), uuid="5d307ca9-b3ef-428c-8861-06e72d69f223").causes == []
    )


def test_every_kind_with_rules_has_a_table() -> None:
    judged = {id(rules.causes) for rules in RULES.values()}
    assert {id(rules.causes) for _, rules in KINDS.values()} <= judged
