"""Health, metrics, debug, and a certificate that is replaced while we serve."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from virtpod.kube import log, serve
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.errors import Forbidden, NotFound, Unavailable
from virtpod.kube.metrics import metered
from virtpod.kube.serve import Certificate, Server


async def test_it_tells_how_it_is() -> None:
    well = True
    ours = Server(
        "127.0.0.1",
        0,
        ready=lambda: well,
        leader=lambda: True,
        debug={"decisions": lambda: [{"why": "pod is gone"}]},
    )
    queue = metered("a-test")
    queue.add("a")
    async with ours as server:
        host, port = server.address
        async with Client(Config(f"http://{host}:{port}"), "test") as client:
            assert (await client.request("GET", "/healthz")).body == b"ok"
            assert (await client.request("GET", "/readyz")).status == 200
            well = False
            with pytest.raises(Unavailable):
                async with client.stream("GET", "/readyz"):
                    pass
            leader = (await client.request("GET", "/leader")).json()
            assert leader == {"apiserver": {"leader": "true"}}
            metrics = (await client.request("GET", "/metrics")).body.decode()
            assert 'kubevirt_workqueue_adds_total{name="a-test"} 1.0' in metrics
            assert 'kubevirt_workqueue_longest_running_processor_seconds{name="a-test"}' in metrics
            decisions = (await client.request("GET", "/debug/decisions")).json()
            assert decisions == [{"why": "pod is gone"}]
            with pytest.raises(NotFound, match="decisions"):
                await client.request("GET", "/debug/none")


async def test_debug_is_for_the_pod_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_is_loopback", lambda address: False)
    async with Server("127.0.0.1", 0, debug={"decisions": list}) as server:
        host, port = server.address
        async with Client(Config(f"http://{host}:{port}"), "test") as client:
            with pytest.raises(Forbidden):
                await client.request("GET", "/debug/decisions")


@pytest.mark.parametrize(
    ("address", "so"), [("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), (None, False)]
)
def test_loopback(address: str | None, so: bool) -> None:
    assert serve._is_loopback(address) is so


def issue(authority: trustme.CA, folder: Path, name: str, at: int) -> None:
    pair = authority.issue_cert("127.0.0.1", common_name=name)
    for file, pem in (
        ("tls.crt", pair.cert_chain_pems[0].bytes()),
        ("tls.key", pair.private_key_pem.bytes()),
    ):
        (folder / file).write_bytes(pem)
        os.utime(folder / file, (at, at))


async def name_of_server(address: tuple[str, int], context: ssl.SSLContext) -> str:
    _, writer = await asyncio.open_connection(*address, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    certificate = x509.load_der_x509_certificate(der)
    attribute = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0]
    return str(attribute.value)


async def test_a_replaced_certificate_is_served_to_the_next_who_comes(tmp_path: Path) -> None:
    authority = trustme.CA()
    client = ssl.create_default_context()
    authority.configure_trust(client)
    issue(authority, tmp_path, "first", 1)
    certificate = Certificate(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"))
    async with Server("127.0.0.1", 0, certificate=certificate) as server:
        assert await name_of_server(server.address, client) == "first"
        issue(authority, tmp_path, "second", 2)
        assert await name_of_server(server.address, client) == "second"
        (tmp_path / "tls.key").write_text("half a file")
        assert await name_of_server(server.address, client) == "second"
        issue(authority, tmp_path, "third", 3)
        assert await name_of_server(server.address, client) == "third"


async def test_clients_are_verified_by_the_authority_in_force(tmp_path: Path) -> None:
    ours, other = trustme.CA(), trustme.CA()
    issue(ours, tmp_path, "server", 1)
    (tmp_path / "ca.crt").write_bytes(ours.cert_pem.bytes())
    os.utime(tmp_path / "ca.crt", (1, 1))
    certificate = Certificate(
        str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"), str(tmp_path / "ca.crt"), True
    )
    async with Server("127.0.0.1", 0, certificate=certificate) as server:
        host, port = server.address

        async def answered(authority: trustme.CA | None) -> bool:
            config = Config(f"https://{host}:{port}", ca_data=ours.cert_pem.bytes().decode())
            if authority:
                pair = authority.issue_cert("virt-api")
                config.certificate = pair.cert_chain_pems[0].bytes().decode()
                config.key = pair.private_key_pem.bytes().decode()
            async with Client(config, "virt-api") as client:
                try:
                    await client.request("POST", "/healthz")
                except Unavailable:
                    return False
                except Exception as error:
                    return getattr(error, "status", 0) == 405
            return True

        assert not await answered(None)
        assert not await answered(other)
        assert await answered(ours)
        (tmp_path / "ca.crt").write_bytes(other.cert_pem.bytes())
        assert await answered(other), "the authority was replaced"
        assert not await answered(ours)


def test_log_lines_carry_their_fields() -> None:
    record = logging.makeLogRecord(
        {"msg": "decided", "levelname": "INFO", "created": 0.0, "msecs": 1.0}
    )
    record.key, record.why = "default/vm", 'pod "a" is gone'
    line = log.Text("virt-api").format(record)
    assert line == (
        '1970-01-01T00:00:00.001Z INFO virt-api decided key=default/vm why="pod \\"a\\" is gone"'
    )
    assert '"key": "default/vm"' in log.Json("virt-api").format(record)
