"""What virt-api and virt-handler tell of a running guest, and the streams that end in QEMU."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType

from localcluster import layout
from tests.e2e.support import (
    SYSTEM,
    Namespace,
    Object,
    Refused,
    component_pods,
    eventually,
    kubectl,
    metrics,
    vm,
)
from virtpod.cli._pod_port import forwarded
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.errors import ApiError
from virtpod.kube.resources import Key

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAME = "seen"
PNG = b"\x89PNG\r\n\x1a\n"
WITHIN = 60


@pytest.fixture(scope="module")
def seen(namespace: Namespace) -> Object:
    """A guest with slots for USB devices, which somebody else moves."""
    made = vm(NAME, evictionStrategy="External")
    made["spec"]["template"]["spec"]["domain"]["devices"]["clientPassthrough"] = {}
    namespace.apply(made)
    return namespace.running(NAME)


def talk(conversation: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WITHIN):
            await conversation

    asyncio.run(bounded())


def path(namespace: Namespace, subresource: str) -> str:
    base = f"/apis/subresources.kubevirt.io/v1/namespaces/{namespace.name}"
    return f"{base}/virtualmachineinstances/{NAME}/{subresource}"


def client() -> Client:
    return Client(Config.from_kubeconfig(str(layout.KUBECONFIG)), component="e2e")


def test_a_picture_of_the_screen(namespace: Namespace, seen: Object, tmp_path: Path) -> None:
    file = tmp_path / "screen.png"
    namespace.virtctl("vnc", "screenshot", NAME, "--file", str(file), "--move-cursor")
    assert file.read_bytes().startswith(PNG)


def test_what_the_guest_uses_is_counted(namespace: Namespace, seen: Object) -> None:
    [handler] = [
        pod
        for pod in component_pods("virt-handler")
        if pod["spec"]["nodeName"] == seen["status"]["nodeName"]
    ]
    wanted = (
        "cpu_usage_seconds_total",
        "memory_resident_bytes",
        "memory_usable_bytes",
        "vcpu_seconds_total",
        "node_cpu_affinity",
        'storage_read_traffic_bytes_total{drive="root"',
        'network_receive_packets_total{interface="default"',
    )

    def told() -> bool:
        lines = [
            line
            for line in metrics(handler).splitlines()
            if f'name="{NAME}",namespace="{namespace.name}"' in line and not line.endswith(" 0.0")
        ]
        return all(any(f"kubevirt_vmi_{each}" in line for line in lines) for each in wanted)

    eventually(told, "the guest's metrics", 90)


def test_a_display_is_shared_by_those_who_want_to(namespace: Namespace, seen: Object) -> None:
    async def look() -> None:
        display, together = path(namespace, "vnc"), {"shared": "true"}
        async with (
            client() as opened,
            opened.websocket(display, query=together) as first,
            opened.websocket(display, query=together) as second,
        ):
            for each in (first, second):
                assert await each.receive_bytes() == b"RFB 003.008\n"
            ends = asyncio.gather(first.receive(), second.receive())
            async with opened.websocket(display) as alone:
                assert {end.type for end in await ends} == {WSMsgType.CLOSE}
                assert await alone.receive_bytes() == b"RFB 003.008\n"

    talk(look())


def test_four_usb_devices_and_no_more(namespace: Namespace, seen: Object) -> None:
    async def plug() -> None:
        slot = path(namespace, "usbredir")
        async with (
            client() as opened,
            opened.websocket(slot) as first,
            opened.websocket(slot) as second,
            opened.websocket(slot) as third,
            opened.websocket(slot) as fourth,
        ):
            for each in (first, second, third, fourth):
                assert b"qemu usb-redir guest" in await each.receive_bytes()
            with pytest.raises(ApiError) as refused:
                async with opened.websocket(slot):
                    pass
            assert refused.value.status == 503

    talk(plug())


def test_a_move_is_asked_for_and_called_off(namespace: Namespace, seen: Object) -> None:
    pod = namespace.launcher(seen)["metadata"]["name"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace.name},
    }
    raw = f"/api/v1/namespaces/{namespace.name}/pods/{pod}/eviction"
    with pytest.raises(Refused):
        kubectl("create", "--raw", raw, "--filename", "-", stdin=json.dumps(eviction))
    node = seen["status"]["nodeName"]
    namespace.wait(
        "vmi", NAME, lambda vmi: vmi["status"].get("evacuationNodeName") == node, "is to leave"
    )
    cancel = path(namespace, "evacuate/cancel")
    kubectl("replace", "--raw", cancel, "--filename", "-", stdin="{}")
    assert "evacuationNodeName" not in namespace.get("vmi", NAME)["status"]
    migrate = cancel.replace("virtualmachineinstances", "virtualmachines")
    migrate = migrate.replace("evacuate/cancel", "migrate")
    with pytest.raises(Refused, match="Cannot migrate VMI"):
        kubectl("replace", "--raw", migrate, "--filename", "-", stdin="{}")


def test_what_is_not_there_yet_is_told(namespace: Namespace, seen: Object, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="Cannot migrate VMI, Reason:"):
        namespace.virtctl("migrate", NAME)
    with pytest.raises(Refused, match=f"Found no migration to cancel for {NAME}"):
        namespace.virtctl("migrate-cancel", NAME)
    said = namespace.virtctl("evacuate-cancel", "vm", NAME)
    assert said == f"VM {namespace.name}/{NAME} was canceled evacuation\n"
    file = str(tmp_path / "disk")
    with pytest.raises(Refused, match="nothing serves exports here"):
        namespace.virtctl("vmexport", "download", "mine", "--vm", NAME, "--output", file)
    assert namespace.items("vmexport") == []
    with pytest.raises(Refused, match="virt-template is not installed"):
        namespace.virtctl("template", "process", "mine")


def test_a_pods_port_is_reached_through_the_api_server() -> None:
    """As vmexport --port-forward does it."""
    [pod, *_] = component_pods("virt-api")

    async def conversation() -> None:
        key = Key(SYSTEM, pod["metadata"]["name"])
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with client() as opened, forwarded(opened, key, 8443) as port:
            for _ in range(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
                writer.close()

    talk(conversation())
