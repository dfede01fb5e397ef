"""Kinds that nothing acts on yet say so: to who makes one, and in its status."""

from __future__ import annotations

import pytest

from tests.contract.test_clients import newest
from tests.contract.test_crds import SMALLEST
from tests.e2e.support import Namespace, condition, conditions
from virtpod.api.crd import Kind
from virtpod.render import unattended

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.mark.parametrize("kind", unattended.telling(), ids=lambda kind: kind.kind)
def test_its_status_says_that_nothing_acts_on_it(namespace: Namespace, kind: Kind) -> None:
    full = f"{kind.plural}.{kind.group}"
    namespace.apply(
        {
            "apiVersion": newest(kind).api_version,
            "kind": kind.kind,
            "metadata": {"name": "waits"},
            "spec": SMALLEST[kind.kind],
        }
    )
    found = namespace.wait(full, "waits", lambda seen: condition(seen, "Ready") == "False", "told")
    assert kind.kind in conditions(found)["Ready"]["message"]
    namespace.delete(full, "waits")
