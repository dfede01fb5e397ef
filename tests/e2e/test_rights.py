"""The rights of the components, against what they have asked for: nothing is granted in vain."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from localcluster import layout
from tests.e2e.support import SYSTEM
from virtpod.render import rbac

pytestmark = pytest.mark.e2e

CDI = "there is no CDI on this cluster"
OWNERS = "is asked about, not used: who names a blocking owner needs it"
RARE = {
    (
        "kubevirt-apiserver",
        "create",
        "kubevirt.io/virtualmachineinstancemigrations",
    ): "no guest can move yet",
    (
        "kubevirt-apiserver",
        "list",
        "kubevirt.io/virtualmachineinstancemigrations",
    ): "no guest can move yet",
    (
        "kubevirt-apiserver",
        "list",
        "snapshot.kubevirt.io/virtualmachinerestores",
    ): "nothing can be restored yet",
    ("kubevirt-apiserver", "get", "cdi.kubevirt.io/datavolumes"): CDI,
    ("kubevirt-apiserver", "get", "cdi.kubevirt.io/datasources"): CDI,
    ("kubevirt-controller", "update", "kubevirt.io/virtualmachines/finalizers"): OWNERS,
    ("kubevirt-controller", "update", "kubevirt.io/virtualmachineinstances/finalizers"): OWNERS,
    (
        "kubevirt-controller",
        "update",
        "kubevirt.io/virtualmachineinstancereplicasets/finalizers",
    ): OWNERS,
    ("kubevirt-controller", "get", "kubevirt.io/virtualmachines"): "its VM is not in the cache",
    ("kubevirt-controller", "get", "/nodes"): "its node is not in the cache",
    ("kubevirt-controller", "get", "/pods"): "its pod is not in the cache",
    ("kubevirt-handler", "patch", "/events"): "an event comes again",
    (
        "kubevirt-handler",
        "create",
        "devices.virtpod.io/qatnodestates",
    ): "it is made by an apply, which the log has as a patch",
}
"""What a run need not use, and when it is used: by account, verb, group and resource."""
ALONE = {"test_pass_through"}
"""Has a target of its own, make test-hostdev."""
EVERY = {path.stem for path in Path(__file__).parent.glob("test_*.py")} - ALONE


class _User(msgspec.Struct):
    username: str = ""


class _Object(msgspec.Struct, rename="camel"):
    resource: str = ""
    subresource: str = ""
    api_group: str = ""


class _Line(msgspec.Struct, rename="camel"):
    verb: str = ""
    user: _User = msgspec.field(default_factory=_User)
    object_ref: _Object = msgspec.field(default_factory=_Object)


def used() -> set[tuple[str, str, str]]:
    """By account, verb, group and resource: what the API server was asked for."""
    decode = msgspec.json.Decoder(_Line).decode
    prefix = f"system:serviceaccount:{SYSTEM}:"
    found = set()
    with layout.AUDIT_LOG.open("rb") as log:
        for raw in log:
            if prefix.encode() not in raw:
                continue
            line = decode(raw)
            of = line.object_ref
            resource = "/".join(filter(None, (of.resource, of.subresource)))
            account = line.user.username.removeprefix(prefix)
            found.add((account, line.verb, f"{of.api_group}/{resource}"))
    return found


def test_every_right_is_used(request: pytest.FixtureRequest, cluster: None) -> None:
    ran = {item.path.stem for item in request.session.items}
    if missing := EVERY - ran:
        pytest.skip(f"rights are used by the whole run; missing: {', '.join(sorted(missing))}")
    granted = {
        (account.name, verb, f"{rule.group}/{resource}")
        for account in rbac.COMPONENTS
        for rule in (*account.cluster, *account.own)
        for resource in rule.resources
        for verb in rule.verbs
    }
    assert granted - used() - RARE.keys() == set()
    assert RARE.keys() - granted == set()
