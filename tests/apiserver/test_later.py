"""Subresources of features that are not there: known, and said to be missing."""

from __future__ import annotations

import pytest

from tests.apiserver.site import Running, put_vm, put_vmi
from virtpod.apiserver.subresources.later import VM_LATER, VMI_LATER

CASES = [
    (kind, method, path, text)
    for kind, table in (("virtualmachines", VM_LATER), ("virtualmachineinstances", VMI_LATER))
    for (method, path), text in table.items()
]


@pytest.mark.parametrize(("kind", "method", "path", "text"), CASES)
async def test_each_says_so(api: Running, kind: str, method: str, path: str, text: str) -> None:
    put_vm(api)
    put_vmi(api)
    for name, expected in (("demo", 501), ("nobody", 404)):
        url = api.path(kind, name, path)
        async with api.session() as session, session.request(method, url) as reply:
            said = await reply.json()
        assert (reply.status, said["kind"]) == (expected, "Status")
        if expected == 501:
            assert said["message"] == text
