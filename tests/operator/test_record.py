"""What was made is recorded before it is there, and known when it is no longer wanted."""

from __future__ import annotations

from virtpod.kube.resources import CLUSTER_ROLES, PDBS, Key, Obj
from virtpod.operator import record

PDB = (PDBS, Key("kubevirt", "virt-api-pdb"))
ROLE = (CLUSTER_ROLES, Key("", "kubevirt.io:view"))


def cr(*entries: record.Entry) -> Obj:
    return {"metadata": {"name": "kubevirt"}, "status": {"generations": list(entries)}}


def test_what_is_written_is_read() -> None:
    entries = record.entries([(ROLE, 0), (PDB, 3)])
    assert entries == [
        {
            "group": "policy",
            "resource": "poddisruptionbudgets",
            "namespace": "kubevirt",
            "name": "virt-api-pdb",
            "lastGeneration": 3,
        },
        {
            "group": "rbac.authorization.k8s.io",
            "resource": "clusterroles",
            "name": "kubevirt.io:view",
            "lastGeneration": 0,
        },
    ]
    assert record.places(cr(*entries)) == [PDB, ROLE]


def test_new_things_are_announced_beside_the_old() -> None:
    old = record.entries([(PDB, 3)])
    assert record.announced(cr(*old), [PDB]) is None
    assert record.announced(cr(*old), [ROLE]) == record.entries([(PDB, 3), (ROLE, 0)])


def test_what_is_not_wanted_is_stale_and_strangers_are_left_alone() -> None:
    strange = {"group": "example.org", "resource": "things", "name": "x", "lastGeneration": 0}
    found = cr(strange, *record.entries([(PDB, 3), (ROLE, 0)]))
    assert record.stale(found, [ROLE]) == [PDB]
    ours = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "virt-operator"}}}
    assert record.is_ours(ours)
    assert not record.is_ours({"metadata": {}})
