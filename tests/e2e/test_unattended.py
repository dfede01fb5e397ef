"""Kinds that nothing acts on yet say so: to who makes one, and in its status."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.test_clients import newest
from tests.e2e.support import (
    Namespace,
    Object,
    bare,
    condition,
    conditions,
    configured,
    phase,
)
from tests.rules.test_kinds import RULES, TABLE
from virtpod.api.crd import Kind
from virtpod.render import unattended

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def place(namespace: Namespace) -> Iterator[Namespace]:
    """With a machine that these objects may be about: it waits for a node, so it can be moved."""
    machine = bare("vm")
    machine["spec"]["template"]["spec"]["nodeSelector"] = {"there": "is-none"}
    with configured("IncrementalBackup"):
        namespace.apply(machine)
        namespace.wait("vmi", "vm", lambda vmi: phase(vmi) == "Scheduling", "waits for a node")
        yield namespace


def good(kind: Kind) -> Object:
    """The spec of one that is let in."""
    [name] = [name for name, rules in RULES.items() if rules.kind is kind.type]
    spec: Object = TABLE[name]["good"]["spec"]
    return spec


@pytest.mark.parametrize("kind", unattended.telling(), ids=lambda kind: kind.kind)
def test_its_status_says_that_nothing_acts_on_it(place: Namespace, kind: Kind) -> None:
    full = f"{kind.plural}.{kind.group}"
    place.apply(
        {
            "apiVersion": newest(kind).api_version,
            "kind": kind.kind,
            "metadata": {"name": "waits"},
            "spec": good(kind),
        }
    )
    found = place.wait(full, "waits", lambda seen: condition(seen, "Ready") == "False", "told")
    assert kind.kind in conditions(found)["Ready"]["message"]
    place.delete(full, "waits")
