"""virtctl migrate, migrate-cancel, evacuate-cancel: what is asked for, and what is said."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Commands
from tests.cli.server import Server
from tests.kube.fake import FakeCluster
from virtpod.kube.resources import MIGRATIONS

SUBRESOURCES = "/apis/subresources.kubevirt.io/v1/namespaces/team"


async def test_a_migration_is_asked_for(server: Server) -> None:
    out, _ = await server.run("migrate", "demo")
    assert out == "VM demo was scheduled to migrate\n"
    selector = ("--addedNodeSelector", "disk=fast,zone=b", "--addedNodeSelector=rack=1")
    out, _ = await server.run("migrate", "demo", *selector, "--dry-run")
    assert out == "Dry Run execution\nVM demo was scheduled to migrate\n"
    path = f"{SUBRESOURCES}/virtualmachines/demo/migrate"
    labels = {"disk": "fast", "zone": "b", "rack": "1"}
    assert server.asked == [
        ("PUT", path, {}),
        ("PUT", path, {"addedNodeSelector": labels, "dryRun": ["All"]}),
    ]
    _, err = await server.run("migrate", "demo", "--addedNodeSelector", "disk", code=1)
    assert "--addedNodeSelector is KEY=VALUE" in err


async def test_why_there_is_no_migration_is_told(server: Server) -> None:
    server.refuse = (500, "Cannot migrate VMI, Reason: NotMigratable, Message: it cannot yet")
    _, err = await server.run("migrate", "demo", code=1)
    assert err == (
        "error: cannot migrate virtual machine demo: Cannot migrate VMI, Reason: NotMigratable, "
        "Message: it cannot yet\n"
    )


@pytest.mark.parametrize(("kind", "plural"), [("vm", "machines"), ("vmi", "machineinstances")])
async def test_an_evacuation_is_cancelled(server: Server, kind: str, plural: str) -> None:
    out, _ = await server.run("evacuate-cancel", kind, "demo")
    assert out == f"{kind.upper()} team/demo was canceled evacuation\n"
    path = f"{SUBRESOURCES}/virtual{plural}/demo/evacuate/cancel"
    assert server.asked == [("PUT", path, {})]
    server.refuse = (400, "the node is tainted")
    _, err = await server.run("evacuate-cancel", kind, "demo", "--dry-run", code=1)
    assert server.asked[1][2] == {"dryRun": ["All"]}
    assert f"canceling evacuation for {kind.upper()} team/demo: the node is tainted" in err


async def test_another_kind_cannot_be_evacuated(server: Server) -> None:
    _, err = await server.run("evacuate-cancel", "pod", "demo", code=1)
    assert 'unsupported resource type "pod"' in err


async def test_the_migration_under_way_is_cancelled(cluster: Commands, fake: FakeCluster) -> None:
    for name, vmi, phase in (
        ("over", "demo", "Succeeded"),
        ("failed", "demo", "Failed"),
        ("other", "another", "Running"),
        ("now", "demo", "Scheduling"),
    ):
        fake.put(
            MIGRATIONS,
            {
                "metadata": {"namespace": "team", "name": name},
                "spec": {"vmiName": vmi},
                "status": {"phase": phase},
            },
        )
    out, _ = await cluster.run("migrate-cancel", "demo", "--dry-run")
    assert out == "Dry Run execution\nVM demo was scheduled to migrate-cancel\n"
    assert len(fake.objects(MIGRATIONS)) == 4
    out, _ = await cluster.run("migrate-cancel", "demo")
    assert out == "VM demo was scheduled to migrate-cancel\n"
    assert {key.name for key in fake.objects(MIGRATIONS)} == {"over", "failed", "other"}
    _, err = await cluster.run("migrate-cancel", "demo", code=1)
    assert err == "error: Found no migration to cancel for demo\n"
