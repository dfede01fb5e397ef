"""The profiler of a component: what it sees, that it ends, and whom it answers."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from base64 import b64decode
from pathlib import Path

import aiohttp
import pytest
import trustme

from virtpod.kube import profile
from virtpod.kube.profile import Profiler
from virtpod.kube.serve import Certificate, Server


def churn(until: threading.Event) -> list[bytes]:
    kept = []
    while not until.is_set():
        kept.append(bytes(1000))
        sum(range(1000))
    return kept


def test_it_sees_who_works_and_who_takes_memory() -> None:
    profiler, until = Profiler(), threading.Event()
    worker = threading.Thread(target=churn, args=(until,), name="worker")
    profiler.start(memory=True)
    worker.start()
    try:
        time.sleep(0.5)
        profiler.stop()
    finally:
        until.set()
        worker.join()
    files = profiler.told()
    stacks = dict(line.rsplit(" ", 1) for line in files["cpu.folded"].decode().splitlines())
    found = [int(count) for stack, count in stacks.items() if stack.startswith("worker;")]
    assert sum(found) > 5
    assert any("test_profile.churn" in stack for stack in stacks)
    assert "test_profile.py" in files["memory.txt"].decode()


def test_it_ends_by_itself() -> None:
    profiler = Profiler(longest=0.05)
    profiler.start()
    for _ in range(200):
        if not profiler.running:
            return
        time.sleep(0.02)
    raise AssertionError("it goes on")


def test_it_never_takes_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "STACKS", 0)
    profiler = Profiler()
    profiler.start()
    time.sleep(0.2)
    profiler.stop()
    assert profiler.told()["cpu.folded"].startswith(b"(others) ")


async def test_it_answers_virt_api_alone(tmp_path: Path) -> None:
    ca, stranger = trustme.CA(), trustme.CA()
    files = {name: tmp_path / name for name in ("crt", "key", "ca")}
    served = ca.issue_cert("127.0.0.1")
    files["crt"].write_bytes(served.cert_chain_pems[0].bytes())
    files["key"].write_bytes(served.private_key_pem.bytes())
    files["ca"].write_bytes(ca.cert_pem.bytes())
    certificate = Certificate(*(str(files[name]) for name in ("crt", "key", "ca")))

    def caller(common_name: str | None, authority: trustme.CA = ca) -> ssl.SSLContext:
        context = ssl.create_default_context()
        ca.configure_trust(context)
        if common_name:
            authority.issue_cert("c.invalid", common_name=common_name).configure_cert(context)
        return context

    more = profile.routes(Profiler())
    async with Server("127.0.0.1", 0, certificate=certificate, more=more) as server:

        async def ask(what: str, context: ssl.SSLContext) -> tuple[int, dict[str, str]]:
            url = f"https://127.0.0.1:{server.address[1]}/{what}-profiler"
            async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as reply:
                told = await reply.json() if reply.status == 200 else {}
                return reply.status, told.get("pprofData", {})

        for name in (None, "kubevirt.io:system:node:virt-handler", "virt-api.kubevirt.svc"):
            assert (await ask("dump", caller(name)))[0] == 403
        with pytest.raises(aiohttp.ClientError):
            await ask("dump", caller(profile.CLIENT, stranger))
        mine = caller(profile.CLIENT)
        assert (await ask("start", mine))[0] == 200
        await asyncio.sleep(0.1)
        assert (await ask("stop", mine))[0] == 200
        status, told = await ask("dump", mine)
        assert status == 200
        assert b"MainThread;" in b64decode(told["cpu.folded"])
