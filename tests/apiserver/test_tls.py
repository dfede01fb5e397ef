"""Certificates are exchanged under a running server."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import aiohttp
import pytest
import trustme

from tests.apiserver.site import Running, put_vmi


async def _serial(api: Running) -> str:
    host, port = api.url.removeprefix("https://").split(":")
    context = ssl.create_default_context()
    api.pki.cluster.configure_trust(context)
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    certificate: dict[str, Any] = writer.get_extra_info("peercert")
    writer.close()
    serial: str = certificate["serialNumber"]
    return serial


async def test_a_rotated_certificate_is_served_and_open_streams_stay(api: Running) -> None:
    put_vmi(api)
    url = api.path("virtualmachineinstances", "demo", "console")
    async with api.session() as session, session.ws_connect(url) as console:
        before = await _serial(api)
        assert await _serial(api) == before
        api.pki.serve("localhost")
        assert await _serial(api) != before
        await console.send_bytes(b"still here")
        assert await console.receive_bytes(timeout=10) == b"echo:still here"


async def test_a_half_written_certificate_changes_nothing(api: Running) -> None:
    before = await _serial(api)
    (api.pki.folder / "kubevirt-virt-api-certs" / "tls.crt").write_text("-----BEGIN")
    assert await _serial(api) == before


async def test_a_new_front_proxy_ca_is_believed_and_the_old_one_no_more(api: Running) -> None:
    url = api.path("virtualmachineinstances", "nobody", "console")
    old = api.pki.caller()
    async with api.session(old) as session, session.get(url) as reply:
        assert reply.status == 404
    new = trustme.CA()
    api.front_proxy = api.pki.front_proxy(ca=new.cert_pem.bytes().decode())
    async with api.session(api.pki.caller(ca=new)) as session, session.get(url) as reply:
        assert reply.status == 404
    async with api.session(old) as session:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await session.get(url)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")  # that they are deprecated is the point
async def test_old_protocols_are_refused(api: Running) -> None:
    context = api.pki.caller(None)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with api.session(context, headers={}) as session:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await session.get(f"{api.url}/healthz")
