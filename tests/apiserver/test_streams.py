"""Console and VNC end to end over real TLS websockets; port-forward into a real socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from tests.apiserver.site import Handler, Running, put_vm, put_vmi, running
from virtpod.kube.resources import VMIS

PROTOCOLS = ("plain.kubevirt.io",)


async def test_a_console_carries_bytes_both_ways(api: Running) -> None:
    put_vmi(api)
    async with (
        api.session() as session,
        session.ws_connect(
            api.path("virtualmachineinstances", "demo", "console"), protocols=PROTOCOLS
        ) as console,
    ):
        assert console.protocol == "plain.kubevirt.io"
        await console.send_bytes(b"root\n")
        assert await console.receive_bytes(timeout=10) == b"echo:root\n"
    where = "/v1/namespaces/default/virtualmachineinstances/demo/console"
    assert api.handler.streams == [(where, {})]
    assert api.handler.client_names == ["kubevirt.io:system:client:virt-handler"]


async def test_a_client_without_a_subprotocol_is_served_too(api: Running) -> None:
    put_vmi(api)
    url = api.path("virtualmachineinstances", "demo", "console")
    async with api.session() as session, session.ws_connect(url) as console:
        await console.send_bytes(b"x")
        assert await console.receive_bytes(timeout=10) == b"echo:x"


async def test_a_large_answer_waits_for_a_slow_reader(tmp_path: Path) -> None:
    """64 MiB do not fit in any buffer on the way: the node's sending stops, and goes on."""
    stalled = asyncio.Event()
    piece = bytes(1024 * 1024)

    async def talk(socket: web.WebSocketResponse) -> None:
        for _ in range(64):
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(socket.send_bytes(piece))
                done, _ = await asyncio.wait([sending], timeout=1)
                if not done:
                    stalled.set()

    async with running(tmp_path, Handler(talk=talk)) as api:
        put_vmi(api)
        url = api.path("virtualmachineinstances", "demo", "console")
        async with (
            api.session() as session,
            session.ws_connect(url, protocols=PROTOCOLS, max_msg_size=0) as console,
            asyncio.timeout(60),
        ):
            await stalled.wait()
            received = 0
            async for message in console:
                received += len(message.data)
            assert received == 64 * len(piece)


async def test_the_end_of_the_guest_closes_the_client_cleanly(tmp_path: Path) -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b"bye")

    async with running(tmp_path, Handler(talk=talk)) as api:
        put_vmi(api)
        url = api.path("virtualmachineinstances", "demo", "console")
        async with api.session() as session, session.ws_connect(url) as console:
            assert await console.receive_bytes(timeout=10) == b"bye"
            assert (await console.receive(timeout=10)).type is WSMsgType.CLOSE
            assert console.close_code == 1000


async def test_the_end_of_the_client_closes_the_node_s_stream(api: Running) -> None:
    put_vmi(api)
    url = api.path("virtualmachineinstances", "demo", "console")
    async with api.session() as session, session.ws_connect(url) as console:
        await console.send_bytes(b"x")
        await console.receive_bytes(timeout=10)
    async with asyncio.timeout(10):
        assert await api.handler.ended.get() == 1000


@pytest.mark.parametrize("wish", ["preserveSession", "shared"])
async def test_vnc_hands_on_what_is_wished(api: Running, wish: str) -> None:
    put_vmi(api)
    url = api.path("virtualmachineinstances", "demo", "vnc")
    async with api.session() as session, session.ws_connect(f"{url}?{wish}=true&x=y") as vnc:
        await vnc.send_bytes(b"RFB")
        assert await vnc.receive_bytes(timeout=10) == b"echo:RFB"
    assert api.handler.streams[0][1] == {wish: "true"}


async def test_a_screenshot_is_the_node_s_picture(api: Running) -> None:
    put_vmi(api)
    url = api.path("virtualmachineinstances", "demo", "vnc/screenshot")
    async with api.session() as session, session.get(f"{url}?moveCursor=true") as reply:
        assert (reply.status, reply.content_type) == (200, "image/png")
        assert await reply.read() == b"a picture"
    assert api.handler.streams[0][1] == {"moveCursor": "true"}


async def test_a_usb_device_wants_a_slot(api: Running) -> None:
    stored = put_vmi(api)
    code, message = await _refusal(api, "virtualmachineinstances", "demo", "usbredir")
    assert (code, "clientPassthrough is missing" in message) == (409, True)
    stored["spec"]["domain"]["devices"] = {"clientPassthrough": {}}
    api.fake.put(VMIS, stored)
    url = api.path("virtualmachineinstances", "demo", "usbredir")
    async with api.session() as session, session.ws_connect(url) as device:
        await device.send_bytes(b"usb")
        assert await device.receive_bytes(timeout=10) == b"echo:usb"


async def test_a_vsock_wants_a_port_and_a_guest_that_has_one(api: Running) -> None:
    stored = put_vmi(api)

    async def refusal(query: str) -> tuple[int, str]:
        url = api.path("virtualmachineinstances", "demo", f"vsock{query}")
        async with api.session() as session, session.get(url) as reply:
            return reply.status, (await reply.json())["message"]

    assert await refusal("?port=5000") == (400, "VSOCK is not attached.")
    for query in ("", "?port=0", "?port=x", "?port=4294967295", "?port=5&tls=maybe"):
        assert (await refusal(query))[0] == 400, query
    stored["spec"]["domain"]["devices"] = {"autoattachVSOCK": True}
    stored["status"]["VSOCKCID"] = 1234
    api.fake.put(VMIS, stored)
    url = api.path("virtualmachineinstances", "demo", "vsock?port=5000")
    async with api.session() as session, session.ws_connect(url) as guest:
        await guest.send_bytes(b"hi")
        assert await guest.receive_bytes(timeout=10) == b"echo:hi"
    assert api.handler.streams[0][1] == {"port": "5000", "tls": "true"}


async def _refusal(api: Running, kind: str, name: str, subresource: str) -> tuple[int, str]:
    url = api.path(kind, name, subresource)
    async with api.session() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url)
        async with session.get(url) as reply:
            assert reply.status == refused.value.status
            status = await reply.json()
            assert status["kind"] == "Status"
            return reply.status, status["message"]


@pytest.mark.parametrize("subresource", ["console", "vnc", "portforward/80"])
async def test_a_missing_instance_is_not_found(api: Running, subresource: str) -> None:
    assert await _refusal(api, "virtualmachineinstances", "nobody", subresource) == (
        404,
        'virtualmachineinstance.kubevirt.io "nobody" not found',
    )


async def test_an_instance_without_the_device_says_so(api: Running) -> None:
    stored = put_vmi(api)
    stored["spec"]["domain"]["devices"] = {
        "autoattachSerialConsole": False,
        "autoattachGraphicsDevice": False,
    }
    api.fake.put(VMIS, stored)
    kind = "virtualmachineinstances"
    assert await _refusal(api, kind, "demo", "console") == (
        400,
        "No serial consoles are present.",
    )
    assert await _refusal(api, kind, "demo", "vnc") == (400, "No graphics devices are present.")
    assert await _refusal(api, kind, "demo", "vnc/screenshot") == (
        400,
        "No graphics devices are present.",
    )


async def test_a_failed_instance_has_no_console(api: Running) -> None:
    put_vmi(api, phase="Failed")
    code, message = await _refusal(api, "virtualmachineinstances", "demo", "console")
    assert code == 409
    assert message.endswith("VMI is in failed status")


async def test_an_instance_that_does_not_run_yet_names_its_phase(api: Running) -> None:
    put_vmi(api, phase="Scheduling")
    url = api.path("virtualmachineinstances", "demo", "console")
    async with api.session() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url)
    assert refused.value.status == 400


async def test_a_plain_get_opens_no_stream(api: Running) -> None:
    put_vmi(api)
    url = api.path("virtualmachineinstances", "demo", "console")
    async with api.session() as session, session.get(url) as reply:
        assert reply.status == 400
    assert api.handler.streams == []


async def test_a_component_that_is_not_virt_handler_is_not_believed(tmp_path: Path) -> None:
    """CVE-2025-64434: any certificate of the CA passed."""
    async with running(tmp_path, handler_name="virt-controller.kubevirt.svc") as api:
        put_vmi(api)
        url = api.path("virtualmachineinstances", "demo", "console")
        async with api.session() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(url)
        assert refused.value.status == 500
        assert api.handler.streams == []


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1024):
        writer.write(data.upper())
        await writer.drain()
    writer.close()


async def test_a_forwarded_port_reaches_the_guest(
    api: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    from virtpod.apiserver.subresources import portforward

    monkeypatch.setattr(portforward, "_address", lambda vmi: vmi.status.interfaces[0].ip_address)
    put_vm(api, created=True)
    put_vmi(api, interfaces=[{"ipAddress": "127.0.0.1"}])
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with server, api.session() as session:
        port = server.sockets[0].getsockname()[1]
        for kind in ("virtualmachineinstances", "virtualmachines"):
            url = api.path(kind, "demo", f"portforward/{port}/tcp")
            async with session.ws_connect(url, protocols=PROTOCOLS) as tunnel:
                await tunnel.send_bytes(b"hello")
                assert await tunnel.receive_bytes(timeout=10) == b"HELLO"


async def test_a_guest_that_refuses_is_told_before_the_upgrade(
    api: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    from virtpod.apiserver.subresources import portforward

    monkeypatch.setattr(portforward, "_address", lambda vmi: vmi.status.interfaces[0].ip_address)
    put_vmi(api, interfaces=[{"ipAddress": "127.0.0.1"}])
    async with api.session() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(api.path("virtualmachineinstances", "demo", "portforward/1"))
    assert refused.value.status == 500


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", None])
async def test_an_address_that_is_no_guest_s_is_not_dialled(
    api: Running, address: str | None
) -> None:
    put_vmi(api, interfaces=[{"ipAddress": address}] if address else [])
    assert await _refusal(api, "virtualmachineinstances", "demo", "portforward/80") == (
        400,
        "no network interfaces are present",
    )


async def test_a_vm_that_is_not_started_has_no_ports(api: Running) -> None:
    put_vm(api, strategy="Halted")
    code, message = await _refusal(api, "virtualmachines", "demo", "portforward/80")
    assert code == 409
    assert message.endswith("VMI is not started")
