"""What the KubeVirt object wants of every process: how often it asks, and which TLS it speaks."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

from tests.kube.fake import FakeCluster
from virtpod.api.kubevirt import KubeVirt
from virtpod.installation import obeyed
from virtpod.kube import tls
from virtpod.kube.client import Client
from virtpod.kube.limiter import Limiter
from virtpod.kube.resources import NODES
from virtpod.kube.serve import Certificate, Server

CLIENTS = ("apiConfiguration", "controllerConfiguration", "handlerConfiguration")


def kubevirt(**configuration: Any) -> KubeVirt:
    return msgspec.convert({"metadata": {}, "spec": {"configuration": configuration}}, KubeVirt)


@pytest.mark.configures(
    "configuration.apiConfiguration.*",
    "configuration.controllerConfiguration.*",
    "configuration.handlerConfiguration.*",
)
@pytest.mark.parametrize("name", CLIENTS)
async def test_requests_are_held_back_to_the_rate_that_is_configured(
    fake: FakeCluster, name: str
) -> None:
    field = name.replace("Configuration", "_configuration")
    bucket = {"qps": 20, "burst": 2}
    limited = kubevirt(
        **{name: {"restClient": {"rateLimiter": {"tokenBucketRateLimiter": bucket}}}}
    )
    held: list[float] = []
    async with fake.client("test") as client:
        client.observe = lambda seen: held.append(seen.held)

        async def asked(count: int) -> float:
            began = time.monotonic()
            await asyncio.gather(*(client.list(NODES) for _ in range(count)))
            return time.monotonic() - began

        obeyed(limited, client, "virt_api", field)
        assert await asked(8) >= 6 / 20
        assert sum(each > 0 for each in held) == 6
        obeyed(None, client, "virt_api", field)
        obeyed(kubevirt(), client, "virt_api", field)
        held.clear()
        await asked(8)
        assert not any(held)


async def test_a_guarded_twin_has_the_same_limit(fake: FakeCluster) -> None:
    async with fake.client("test") as client:
        assert client.guarded(lambda: None).limiter is client.limiter
        assert isinstance(client, Client)


async def test_a_bucket_fills_with_time_and_no_further() -> None:
    now = 0.0
    limiter = Limiter(lambda: now)
    limiter.limit(1000.0, 3)
    assert [await limiter.take() for _ in range(3)] == [0.0] * 3
    assert await limiter.take() == pytest.approx(0.001)
    now = 60.0
    assert [await limiter.take() for _ in range(3)] == [0.0] * 3
    assert await limiter.take() > 0


@pytest.fixture
def usual() -> Any:
    yield
    tls.require("", ())


async def spoken(address: tuple[str, int], trust: trustme.CA, most: ssl.TLSVersion) -> str:
    """The suite that a client of at most this version and the server agree on; "" for none."""
    context = ssl.create_default_context()
    context.maximum_version = most
    trust.configure_trust(context)
    try:
        _, writer = await asyncio.open_connection(*address, ssl=context)
    except (ssl.SSLError, ConnectionError):
        return ""
    cipher: str = writer.get_extra_info("cipher")[0]
    writer.close()
    return cipher


@pytest.mark.configures("configuration.tlsConfiguration.*")
async def test_servers_speak_the_tls_that_is_configured_while_they_listen(
    fake: FakeCluster, tmp_path: Path, usual: None
) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    pair = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    (tmp_path / "crt").write_bytes(pair.cert_chain_pems[0].bytes())
    (tmp_path / "key").write_bytes(pair.private_key_pem.bytes())
    certificate = Certificate(str(tmp_path / "crt"), str(tmp_path / "key"))
    old, new = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    suite = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    async with (
        Server("127.0.0.1", 0, certificate=certificate) as server,
        fake.client("x") as client,
    ):
        assert await spoken(server.address, authority, old) == "ECDHE-ECDSA-AES256-GCM-SHA384"

        def configured(**asked: Any) -> None:
            obeyed(kubevirt(tlsConfiguration=asked), client, "virt_api", "api_configuration")

        configured(minTLSVersion="VersionTLS12", ciphers=[suite])
        assert await spoken(server.address, authority, old) == "ECDHE-ECDSA-AES128-GCM-SHA256"
        configured(minTLSVersion="VersionTLS13")
        assert await spoken(server.address, authority, old) == ""
        assert await spoken(server.address, authority, new) == "TLS_AES_256_GCM_SHA384"
        configured()
        assert await spoken(server.address, authority, old) == "ECDHE-ECDSA-AES256-GCM-SHA384"
    tls.require("", ("nonsense",))
