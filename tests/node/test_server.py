"""The console server over real TLS: who gets in, who keeps a screen, what buttons answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from virtpod.kube.serve import Certificate
from virtpod.node.server import CLIENT, Console, Declined, NoGuest
from virtpod.node.vsock import Guests
from virtpod.wire.messages import (
    AgentTold,
    Answer,
    AskAgent,
    Attest,
    Attested,
    Done,
    Freeze,
    GuestDisk,
    GuestFileSystem,
    GuestOS,
    GuestUser,
    Pictured,
    Request,
    Screenshot,
    Thaw,
)

WITHIN = 10.0
VMI = "/v1/namespaces/default/virtualmachineinstances/demo"


@dataclass
class Guest:
    """A guest whose screens echo what they are sent, in capitals."""

    uid: str = "u1"
    pressed: list[Request] = field(default_factory=list)
    error: Exception | None = None
    told: Answer = field(default_factory=lambda: Done(id=1))
    warned: list[tuple[str, str]] = field(default_factory=list)
    ends: list[socket.socket] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    screens: list[str] = field(default_factory=list)
    cid: int = 0

    def screen(self, file: str) -> socket.socket:
        if file == "virt-vnc" and self.error:
            raise self.error
        self.screens.append(file)
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        self.ends.append(theirs)
        return ours

    async def ask(self, make: Callable[[int], Request], within: float) -> Answer:
        self.pressed.append(make(1))
        if self.error:
            raise self.error
        return self.told

    def warn(self, reason: str, message: str) -> None:
        self.warned.append((reason, message))


@dataclass
class Place:
    """Where the server listens, and a client of each kind."""

    url: str
    ca: trustme.CA
    guest: Guest
    session: aiohttp.ClientSession

    def tls(self, name: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if name is not None:
            self.ca.issue_cert(common_name=name).configure_cert(context)
        return context

    def stream(
        self, path: str
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        return self.session.ws_connect(
            f"{self.url}{VMI}/{path}", protocols=("plain.kubevirt.io",), ssl=self.tls(CLIENT)
        )

    async def put(
        self, button: str, name: str | None = CLIENT, body: bytes = b""
    ) -> tuple[int, str]:
        url = f"{self.url}{VMI}/{button}"
        async with self.session.put(url, data=body, ssl=self.tls(name)) as response:
            return response.status, await response.text()

    async def get(self, what: str) -> Any:
        async with self.session.get(f"{self.url}{VMI}/{what}", ssl=self.tls(CLIENT)) as response:
            assert response.status == 200
            return await response.json()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    for name, pem in (("tls.crt", issued.cert_chain_pems[0]), ("tls.key", issued.private_key_pem)):
        pem.write_to_path(tmp_path / name)
    ca.cert_pem.write_to_path(tmp_path / "ca")
    certificate = Certificate(
        str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"), str(tmp_path / "ca"), True
    )
    guest = Guest()

    def find(namespace: str, name: str) -> Guest:
        if (namespace, name) != ("default", "demo"):
            raise NoGuest("not here")
        return guest

    def dial(cid: int, port: int) -> socket.socket:
        if port != 5000:
            raise ConnectionResetError(104, "Connection reset by peer")
        return guest.screen(f"vsock {cid}:{port}")

    guests = Guests(tmp_path / "tls.crt", tmp_path / "tls.key", dial)
    async with (
        Console(find, guests).serving("127.0.0.1", 0, certificate) as port,
        aiohttp.ClientSession() as session,
    ):
        yield Place(f"https://127.0.0.1:{port}", ca, guest, session)
        for writer in guest.writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def end_of(guest: Guest, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(sock=guest.ends[number])
    guest.writers.append(writer)
    return reader, writer


async def test_console_carries_bytes_both_ways(place: Place) -> None:
    async with asyncio.timeout(WITHIN), place.stream("console") as client:
        assert client.protocol == "plain.kubevirt.io"
        reader, writer = await end_of(place.guest, 0)
        await client.send_bytes(b"ls\n")
        assert await reader.read(100) == b"ls\n"
        await client.send_str("text is not part of the protocol")
        writer.write(b"\x00\xff lost+found")
        assert await client.receive_bytes() == b"\x00\xff lost+found"
        writer.close()
        assert (await client.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_the_guests_socket_is_closed_with_the_client(place: Place) -> None:
    async with asyncio.timeout(WITHIN):
        async with place.stream("console"):
            reader, _ = await end_of(place.guest, 0)
        assert await reader.read() == b""


async def test_a_newer_client_takes_the_screen_over(place: Place) -> None:
    async with asyncio.timeout(WITHIN), place.stream("vnc") as older:
        first, _ = await end_of(place.guest, 0)
        async with place.stream("vnc") as newer:
            assert (await older.receive()).type is aiohttp.WSMsgType.CLOSE
            assert await first.read() == b""
            reader, _ = await end_of(place.guest, 1)
            await newer.send_bytes(b"RFB")
            assert await reader.read(3) == b"RFB"


async def test_a_polite_client_is_turned_away(place: Place) -> None:
    async with asyncio.timeout(WITHIN), place.stream("vnc") as older:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with place.stream("vnc?preserveSession=true"):
                pass
        assert refused.value.status == 503
        reader, _ = await end_of(place.guest, 0)
        await older.send_bytes(b"still here")
        assert await reader.read(100) == b"still here"


async def test_a_polite_client_gets_a_free_screen(place: Place) -> None:
    async with asyncio.timeout(WITHIN):
        async with place.stream("vnc?preserveSession=true"):
            pass
        async with place.stream("vnc?preserveSession=true"):
            pass


async def test_those_who_share_a_display_see_it_together(place: Place) -> None:
    async with (
        asyncio.timeout(WITHIN),
        place.stream("vnc?shared=true") as first,
        place.stream("vnc?shared=true&preserveSession=true") as second,
    ):
        for number, client in enumerate((first, second)):
            reader, _ = await end_of(place.guest, number)
            await client.send_bytes(b"RFB")
            assert await reader.read(3) == b"RFB"
        ends = asyncio.gather(first.receive(), second.receive())
        async with place.stream("vnc") as alone:
            assert {end.type for end in await ends} == {aiohttp.WSMsgType.CLOSE}
            end = asyncio.ensure_future(alone.receive())
            async with place.stream("vnc?shared=true"):
                assert (await end).type is aiohttp.WSMsgType.CLOSE


async def test_each_usb_device_has_a_slot_of_its_own(place: Place) -> None:
    async with asyncio.timeout(WITHIN), contextlib.AsyncExitStack() as attached:
        for number in range(4):
            client = await attached.enter_async_context(place.stream("usbredir"))
            reader, _ = await end_of(place.guest, number)
            await client.send_bytes(b"x")
            assert await reader.read(1) == b"x"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with place.stream("usbredir"):
                pass
        assert refused.value.status == 503
        await client.close()
        assert await reader.read() == b""
        async with place.stream("usbredir"):
            pass
    assert place.guest.screens == [f"virt-usbredir-{slot}" for slot in (0, 1, 2, 3, 3)]


async def test_a_port_of_the_guest_by_vsock(place: Place) -> None:
    async def refusal(query: str) -> int:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with place.stream(f"vsock?{query}"):
                pass
        return refused.value.status

    async with asyncio.timeout(WITHIN):
        assert await refusal("port=5000&tls=false") == 400, "this guest has none"
        place.guest.cid = 77
        assert await refusal("port=0&tls=false") == 400
        assert await refusal("port=99999999999999&tls=false") == 400
        assert await refusal("port=5001&tls=false") == 500, "nobody listens there"
        async with place.stream("vsock?port=5000&tls=false") as client:
            reader, writer = await end_of(place.guest, 0)
            await client.send_bytes(b"ping")
            assert await reader.read(100) == b"ping"
            writer.write(b"pong")
            assert (await client.receive()).data == b"pong"
    assert place.guest.screens == ["vsock 77:5000"]


@pytest.mark.parametrize(("query", "wake"), [("", False), ("?moveCursor=true", True)])
async def test_a_screenshot(place: Place, query: str, wake: bool) -> None:
    place.guest.told = Pictured(id=1, png=b"a picture")
    url = f"{place.url}{VMI}/vnc/screenshot{query}"
    async with place.session.get(url, ssl=place.tls(CLIENT)) as response:
        assert response.content_type == "image/png"
        assert await response.read() == b"a picture"
    assert place.guest.pressed == [Screenshot(id=1, wake=wake)]


async def test_sev_is_asked_and_told_by_the_names_that_users_know(place: Place) -> None:
    facts = {"pdh": "cGRo", "cert-chain": "Y2VydA==", "cbitpos": 51}
    place.guest.told = Attested(id=1, facts=facts)
    url = f"{place.url}{VMI}/sev/"
    async with place.session.get(url + "fetchcertchain", ssl=place.tls(CLIENT)) as response:
        assert await response.json() == {"pdh": "cGRo", "certChain": "Y2VydA=="}
    place.guest.told = Attested(id=1, facts={"sev-measurement": "bQ==", "sev-api-major": 1})
    async with place.session.get(url + "querylaunchmeasurement", ssl=place.tls(CLIENT)) as response:
        assert await response.json() == {"measurement": "bQ==", "apiMajor": 1}
    secret, put = {"header": "aA==", "secret": "cw=="}, url + "injectlaunchsecret"
    async with place.session.put(put, json=secret, ssl=place.tls(CLIENT)) as response:
        assert response.status == 200
    assert place.guest.pressed[-1] == Attest(id=1, what="secret", **secret)
    async with place.session.put(put, json={"header": 1}, ssl=place.tls(CLIENT)) as response:
        assert response.status == 400


async def test_console_and_vnc_do_not_disturb_each_other(place: Place) -> None:
    async with asyncio.timeout(WITHIN), place.stream("vnc") as vnc, place.stream("console"):
        await vnc.send_bytes(b"x")
        reader, _ = await end_of(place.guest, 0)
        assert await reader.read(1) == b"x"


async def test_a_screen_out_of_reach_is_an_error_before_the_upgrade(place: Place) -> None:
    place.guest.error = FileNotFoundError("no socket")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with place.stream("vnc"):
            pass
    assert refused.value.status == 500


async def test_a_plain_get_of_a_stream(place: Place) -> None:
    async with place.session.get(f"{place.url}{VMI}/console", ssl=place.tls(CLIENT)) as response:
        assert response.status == 400
        assert (await response.json())["reason"] == "BadRequest"


@pytest.mark.parametrize("button", ["pause", "unpause", "reset", "softreboot"])
async def test_buttons(place: Place, button: str) -> None:
    assert (await place.put(button))[0] == 200
    assert [type(request).__name__.lower() for request in place.guest.pressed] == [button]


async def test_what_the_launcher_cannot_do_is_told(place: Place) -> None:
    place.guest.error = Declined("the domain is not running")
    status, body = await place.put("pause")
    assert status == 500
    assert "the domain is not running" in body
    place.guest.error = NoGuest("virt-launcher is out of reach")
    assert (await place.put("pause"))[0] == 503


@pytest.mark.parametrize(
    ("duration", "seconds"), [("5m", 300.0), ("1h0m1.5s", 3601.5), ("0s", 0.0), ("0", 0.0)]
)
async def test_freezing_says_when_to_thaw(place: Place, duration: str, seconds: float) -> None:
    body = f'{{"unfreezeTimeout": "{duration}"}}'.encode()
    assert await place.put("freeze", body=body) == (200, "")
    assert await place.put("unfreeze") == (200, "")
    assert place.guest.pressed == [Freeze(id=1, thaw_after=seconds), Thaw(id=1)]


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b'{"unfreezeTimeout": "soon"}', b"[" * 9000])
async def test_no_freeze_without_an_end(place: Place, body: bytes) -> None:
    assert (await place.put("freeze", body=body))[0] == 400
    assert place.guest.pressed == []


async def test_a_guest_that_cannot_freeze_has_an_event(place: Place) -> None:
    place.guest.error = Declined("the guest agent is not connected")
    status, body = await place.put("freeze", body=b'{"unfreezeTimeout": "5m"}')
    assert status == 500
    assert "freeze failed: the guest agent is not connected" in body
    ((reason, message),) = place.guest.warned
    assert reason == "FreezeError"
    assert "the guest agent is not connected" in message


async def test_what_the_agent_tells(place: Place) -> None:
    disk = GuestFileSystem(
        name="vda1", mount_point="/", type="ext4", used=1, total=2, disks=[GuestDisk(bus="virtio")]
    )
    place.guest.told = AgentTold(
        id=1,
        version="10.0.2",
        commands=["guest-ping"],
        hostname="vm",
        timezone="UTC, 0",
        frozen=True,
        os=GuestOS(id="debian", pretty_name="Debian 13"),
        users=[GuestUser(name="root", login_time=5.0)],
        filesystems=[disk],
    )
    user = {"userName": "root", "loginTime": 5.0}
    mounted = {
        "diskName": "vda1",
        "mountPoint": "/",
        "fileSystemType": "ext4",
        "usedBytes": 1,
        "totalBytes": 2,
        "disk": [{"busType": "virtio"}],
    }
    assert await place.get("guestosinfo") == {
        "kind": "VirtualMachineInstanceGuestAgentInfo",
        "apiVersion": "kubevirt.io/v1",
        "guestAgentVersion": "10.0.2",
        "supportedCommands": [{"name": "guest-ping", "enabled": True}],
        "hostname": "vm",
        "os": {"id": "debian", "prettyName": "Debian 13"},
        "timezone": "UTC, 0",
        "userList": [user],
        "fsInfo": {"disks": [mounted]},
        "fsFreezeStatus": "frozen",
    }
    assert (await place.get("userlist"))["items"] == [user]
    assert (await place.get("filesystemlist"))["items"] == [mounted]
    whats = [each.what for each in place.guest.pressed if isinstance(each, AskAgent)]
    assert whats == ["info", "users", "filesystems"]


async def test_a_guest_of_another_node(place: Place) -> None:
    url = f"{place.url}{VMI}x/pause"
    async with place.session.put(url, ssl=place.tls(CLIENT)) as response:
        assert response.status == 404


@pytest.mark.parametrize("name", ["kubevirt.io:system:node:virt-handler", "virt-api"])
async def test_another_component_of_the_same_ca_is_refused(place: Place, name: str) -> None:
    assert (await place.put("pause", name))[0] == 401
    assert place.guest.pressed == []


async def test_nobody_gets_in_without_a_certificate(place: Place) -> None:
    with pytest.raises(aiohttp.ClientError):
        await place.put("pause", None)


async def test_nobody_gets_in_with_another_cas_certificate(place: Place) -> None:
    stranger = place.tls(None)
    trustme.CA().issue_cert(common_name=CLIENT).configure_cert(stranger)
    with pytest.raises(aiohttp.ClientError):
        await place.session.put(f"{place.url}{VMI}/pause", ssl=stranger)
    assert place.guest.pressed == []
