"""What is read of the cluster before a review, and never more than one object's own neighbours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.apiserver.test_admission import envelope
from virtpod.apiserver import admission, looking
from virtpod.kube.resources import MIGRATIONS, VMIS, Key, Obj, Resource

MIGRATION = "/migration-validate-create"


class Cluster:
    """Remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Resource, str, str]] = []

    async def read(self, resource: Resource, key: Key) -> Obj | None:
        self.asked.append((resource, *key))
        return None

    async def every(self, resource: Resource, namespace: str) -> Sequence[Obj]:
        self.asked.append((resource, namespace, ""))
        return []


def body(obj: Any, **request: Any) -> bytes:
    return json.dumps(envelope(obj, "VirtualMachineInstanceMigration", **request)).encode()


async def test_a_migration_is_judged_by_its_guest_and_by_the_others() -> None:
    cluster = Cluster()
    migration = {"metadata": {"namespace": "a"}, "spec": {"vmiName": "vm"}}
    seen = await looking.seen(MIGRATION, body(migration), cluster)
    assert seen == {"vmi": [], "migrations": []}
    assert cluster.asked == [(VMIS, "a", "vm"), (MIGRATIONS, "a", "")]


async def test_an_update_asks_nobody() -> None:
    cluster = Cluster()
    migration = {"metadata": {"namespace": "a"}, "spec": {"vmiName": "vm"}}
    changed = body(migration, operation="UPDATE", oldObject=migration)
    assert await looking.seen(MIGRATION, changed, cluster) == {}
    assert cluster.asked == []


@pytest.mark.parametrize("path", admission.KINDS)
@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"[]",
        body(None),
        body({}),
        body({"metadata": [], "spec": 1}),
        body({"metadata": {"namespace": 1}, "spec": {"vmiName": []}}),
        body({"metadata": {"namespace": "a"}, "spec": {"vmiName": {"$ne": 1}}}),
    ],
)
async def test_what_cannot_be_read_asks_nobody_but_by_name(path: str, odd: bytes) -> None:
    cluster = Cluster()
    await looking.seen(path, odd, cluster)
    assert all(isinstance(part, str) for asked in cluster.asked for part in asked[1:])
