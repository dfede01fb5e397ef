"""What looks at devices tell a real API server: states, conditions, events, whose they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.kube.conftest import apiserver
from tests.node.hardware import Hardware, Kernel
from tests.node.test_qat import PF, VFS, Site, look, policy
from virtpod.api.crd import KINDS, crd
from virtpod.controllers.node_devices import Ailing
from virtpod.kube import apply, errors
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.events import Recorder
from virtpod.kube.resources import EVENTS, NODES, QAT_NODE_POLICIES, QAT_NODE_STATES
from virtpod.kube.store import Informer
from virtpod.node.devices.look import Look
from virtpod.node.devices.news import DeviceNews
from virtpod.render import rbac

__all__ = ["apiserver"]
pytestmark = [pytest.mark.apiserver, pytest.mark.asyncio(loop_scope="module")]

NODE = "qat-node"
HANDLER = "system:serviceaccount:kubevirt:kubevirt-handler"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(apiserver: Config) -> AsyncIterator[Client]:
    """With the kinds, virt-handler's rights, the policies, and a node."""
    async with Client(apiserver, component="test") as made:
        kinds = [crd(kind) for kind in KINDS if kind.group == "devices.virtpod.io"]
        role = rbac.cluster_role(rbac.HANDLER.name, rbac.HANDLER.cluster)
        account = rbac.account(rbac.HANDLER.name, "kubevirt")
        binding = rbac.cluster_binding(rbac.HANDLER.name, rbac.HANDLER.name, account)
        await apply.all(made, [*kinds, role, binding, *rbac.policies("kubevirt")], "test")
        await made.create(NODES, {"metadata": {"name": NODE}})
        yield made


async def test_a_node_s_state_is_stored_as_it_is_told(client: Client, tmp_path: Path) -> None:
    hardware = Hardware(tmp_path / "sys", tmp_path / "dev")
    hardware.driver("vfio-pci")
    hardware.qat(PF, "8086:4940")
    site = Site(Kernel(hardware))
    node = await client.get(NODES, ("", NODE))
    complaints: list[Sequence[str]] = []
    changed: list[tuple[str, str]] = []

    async def condition(said: Sequence[str]) -> None:
        complaints.append(said)

    recorder = Recorder(client, "virt-handler", host=NODE)
    recording = asyncio.create_task(recorder.run())
    policies: Informer[Any] = Informer(client, QAT_NODE_POLICIES)
    informing = asyncio.create_task(policies.run())
    await policies.wait_synced()
    news = DeviceNews(
        client,
        recorder,
        NODE,
        lambda: node,
        condition,
        policies,
        lambda *pod: changed.append(pod),
    )
    try:
        assert news.ailing("shop", "virt-launcher-gateway-x") is None
        await news.looked(look(hardware, site, policy(driver="vfio-pci")))
        state = await client.get(QAT_NODE_STATES, ("", NODE))
        [told] = state["status"]["devices"]
        assert (told["policy"], told["resource"]) == ("crypto", "qat.intel.com/cy")
        assert {each["type"]: each["status"] for each in told["conditions"]} == {
            "Configured": "True",
            "Healthy": "True",
        }
        assert state["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]
        assert changed == [("shop", "virt-launcher-gateway-x")]
        assert news.ailing("shop", "virt-launcher-gateway-x") == ()

        # The same again is not written.
        version = state["metadata"]["resourceVersion"]
        await news.looked(look(hardware, site, policy(driver="vfio-pci")))
        state = await client.get(QAT_NODE_STATES, ("", NODE))
        assert state["metadata"]["resourceVersion"] == version

        hardware.debug(PF, "heartbeat/status", "-1")
        found = look(hardware, site)
        await news.looked(found)
        state = await client.get(QAT_NODE_STATES, ("", NODE))
        [told] = state["status"]["devices"]
        [healthy] = told["conditions"]
        assert (healthy["status"], healthy["reason"]) == ("False", "NoHeartbeat")
        assert complaints == [found.complaints]
        [ailing] = news.ailing("shop", "virt-launcher-gateway-x") or ()
        assert (ailing.addresses, ailing.reason) == ((VFS[0],), "NoHeartbeat")
        assert isinstance(ailing, Ailing)
        await recorder.flush()
        events = await client.list(EVENTS, fields=f"involvedObject.name={NODE}")
        [event] = events.items
        assert event["reason"] == "HostDeviceUnhealthy"
        assert "has no heartbeat" in event["message"]

        # A kubelet that does not tell changes nothing of what pods have.
        await news.looked(Look(found.inventory, found.offers))
        assert news.ailing("shop", "virt-launcher-gateway-x") == (ailing,)
    finally:
        for task in (recording, informing):
            task.cancel()


async def test_a_virt_handler_tells_of_its_own_node_alone(client: Client) -> None:
    async def answer(name: str) -> int:
        """What a virt-handler of the node is answered that applies this state."""
        body = {
            "apiVersion": QAT_NODE_STATES.api_version,
            "kind": QAT_NODE_STATES.kind,
            "metadata": {"name": name},
            "status": {"summary": "fine"},
        }
        said = await client.request(
            "PATCH",
            QAT_NODE_STATES.path("", name),
            {"fieldManager": "virt-handler", "force": "true"},
            json.dumps(body).encode(),
            {
                "Content-Type": "application/apply-patch+yaml",
                "Impersonate-User": HANDLER,
                "Impersonate-Extra-Authentication.kubernetes.io%2Fnode-name": NODE,
            },
        )
        return said.status

    async def refusal() -> str:
        try:
            await answer("other-node")
        except errors.ApiError as error:
            return str(error)
        await client.delete(QAT_NODE_STATES, ("", "other-node"))
        return ""

    said = ""
    for _ in range(300):  # the policy is on its way
        if said := await refusal():
            break
        await asyncio.sleep(0.2)
    assert "virt-handler may tell of its own node only" in said
    assert await answer(NODE) in (200, 201)
