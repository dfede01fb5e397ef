"""The node's end of guests' vsocks, over unix sockets: not every kernel has a loopback of vsock."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme

from virtpod.api.kubevirt import (
    DeveloperConfiguration,
    KubeVirt,
    KubeVirtConfiguration,
    KubeVirtSpec,
)
from virtpod.node import vsock
from virtpod.node.vsock import SERVICE, Authority, Guests
from virtpod.wire.protobuf import decode

NAME = "kubevirt.io:system:client:vsock"


def listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    made.setblocking(False)
    return made


def dialled(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(path))
    made.setblocking(False)
    return made


async def test_a_guest_sees_who_calls(tmp_path: Path) -> None:
    """A program in the guest that wants our CA's signature; its own certificate is anybody's."""
    ca, its_own = trustme.CA(), trustme.CA()
    ours = ca.issue_cert(common_name=NAME)
    ours.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    ours.private_key_pem.write_to_path(tmp_path / "tls.key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    its_own.issue_cert("guest").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    callers: list[object] = []

    async def program(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer.get_extra_info("peercert")["subject"])
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    dials: list[tuple[int, int]] = []

    def dial(cid: int, port: int) -> socket.socket:
        dials.append((cid, port))
        return dialled(tmp_path / "guest")

    entrance = listening(tmp_path / "guest")
    async with await asyncio.start_unix_server(program, sock=entrance, ssl=context):
        guests = Guests(tmp_path / "tls.crt", tmp_path / "tls.key", dial)
        reader, writer = await guests.connected(42, 9999, tls=True)
        writer.write(b"hello\n")
        assert await reader.read() == b"HELLO\n"
        writer.close()
    assert dials == [(42, 9999)]
    assert NAME in str(callers)


def test_a_kernel_without_such_guests_says_so() -> None:
    """No guest of that number is anywhere: an error for the user, and no socket is left."""
    with pytest.raises(OSError, match=r".+"):
        vsock.dial(4_000_000_000, 1024)


@pytest.mark.parametrize("size", [1, 127, 128, 20_000])
async def test_a_guest_reads_by_which_ca_it_knows_us(tmp_path: Path, size: int) -> None:
    """As a guest's gRPC client does, through what stands for the kernel's socket."""
    bundle = b"x" * size
    (tmp_path / "ca-bundle").write_bytes(bundle)
    offered = asyncio.Event()

    async def offer() -> None:
        offered.set()

    authority = Authority(tmp_path / "ca-bundle", offer, lambda: listening(tmp_path / "host"))
    task = asyncio.create_task(authority.run())
    try:
        authority.configured(None)
        authority.configured(kubevirt())
        await asyncio.sleep(0)
        assert not (tmp_path / "host").exists(), "the gate is shut"
        authority.configured(kubevirt("VSOCK"))
        async with asyncio.timeout(10), grpc.aio.insecure_channel(f"unix:{tmp_path}/host") as guest:
            ask = guest.unary_unary(f"/{SERVICE}/CABundle")
            assert decode(await ask(b"", wait_for_ready=True)) == {1: [bundle]}
            with pytest.raises(grpc.aio.AioRpcError, match="larger than 4096 bytes"):
                await ask(bytes(100_000))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await guest.unary_unary(f"/{SERVICE}/Other")(b"")
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert offered.is_set()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_without_the_kernels_help_the_rest_goes_on(tmp_path: Path) -> None:
    offered = asyncio.Event()

    async def offer() -> None:
        offered.set()

    def broken() -> socket.socket:
        raise OSError(97, "Address family not supported by protocol")

    authority = Authority(tmp_path / "ca-bundle", offer, broken)
    authority.configured(kubevirt("VSOCK"))
    async with asyncio.timeout(10):
        await authority.run()
    assert offered.is_set()


def kubevirt(*gates: str) -> KubeVirt:
    developer = DeveloperConfiguration(feature_gates=list(gates))
    configuration = KubeVirtConfiguration(developer_configuration=developer)
    return KubeVirt(spec=KubeVirtSpec(configuration=configuration))
