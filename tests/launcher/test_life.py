"""The launcher's conversation and its end, with a hypervisor that only remembers."""

from __future__ import annotations

import asyncio
import copy
import os
import signal
import stat
from pathlib import Path

import pytest

from tests.launcher.fakes import UID, VMI, launcher
from virtpod.domain import paths
from virtpod.launcher import launcher as under_test
from virtpod.launcher.hypervisor import Refused
from virtpod.wire.messages import (
    DomainChanged,
    Done,
    Failed,
    Kill,
    Pause,
    Reset,
    Shutdown,
    SoftReboot,
    Stopping,
    Unpause,
)

pytestmark = pytest.mark.usefixtures("places")


async def test_the_daemon_starts_when_virt_handler_is_there_with_the_nodes_cache() -> None:
    async with launcher() as running, running.handler():
        assert running.fake.asked == ["serve"]
        assert running.fake.capabilities == {"a.xml": b"<a/>"}
        assert running.fake.name == "default_vm"


async def test_the_socket_is_complete_when_it_has_its_name(places: Path) -> None:
    async with launcher() as running, running.handler():
        (socket,) = Path(paths.SOCKETS).iterdir()
        assert socket.name == "launcher-sock"
        assert stat.S_ISSOCK(socket.stat().st_mode)


async def test_a_guest_is_started_once() -> None:
    async with launcher() as running, running.handler() as handler:
        assert isinstance(await handler.sync(), Done)
        assert isinstance(await handler.sync(), Done)
        assert running.fake.asked == ["serve", "create"]
        assert f"<name>{running.fake.name}</name>" in running.fake.xml
        assert Path(paths.PRIVATE, UID).is_dir()


async def test_a_start_that_failed_is_told_and_may_be_tried_again() -> None:
    async with launcher() as running, running.handler() as handler:
        running.fake.trouble = Refused("no room")
        failed = await handler.sync()
        assert failed == Failed(id=1, reason="DomainRefused", message="no room")
        running.fake.trouble = None
        assert isinstance(await handler.sync(), Done)


async def test_another_vmi_is_refused() -> None:
    other = copy.deepcopy(VMI)
    other["metadata"]["uid"] = "another"
    async with launcher() as running, running.handler() as handler:
        failed = await handler.sync(other)
        assert isinstance(failed, Failed)
        assert (failed.reason, failed.final) == ("NotMine", True)
        assert "create" not in running.fake.asked


async def test_a_bug_is_told_and_does_not_end_the_conversation() -> None:
    async with launcher() as running, running.handler() as handler:
        running.fake.trouble = KeyError("oops")
        failed = await handler.sync()
        assert isinstance(failed, Failed)
        assert failed.reason == "InternalError"
        running.fake.trouble = None
        assert isinstance(await handler.sync(), Done)


async def test_each_request_reaches_the_guest() -> None:
    async with launcher() as running, running.handler() as handler:
        await handler.sync()
        assert isinstance(await handler.ask(lambda n: Pause(id=n)), Done)
        assert isinstance(await handler.ask(lambda n: Unpause(id=n)), Done)
        assert isinstance(await handler.ask(lambda n: Reset(id=n)), Done)
        assert isinstance(await handler.ask(lambda n: SoftReboot(id=n)), Done)
        assert running.fake.asked[2:] == ["suspend", "resume", "reset", "reboot"]


async def test_a_second_virt_handler_hears_the_last_state_and_both_the_next() -> None:
    async with launcher() as running, running.handler() as one:
        await one.sync()
        async with running.handler() as two:
            assert await two.domain("Running") == running.fake.last
            running.fake.tell("Paused", "User")
            assert (await two.domain("Paused")).seq == 2
            assert (await one.domain("Paused")).seq == 2


@pytest.mark.parametrize(
    "bytes_", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02{]", b'\x00\x00\x00\x10{"type":"attack"}']
)
async def test_nonsense_ends_the_conversation_and_no_more(bytes_: bytes) -> None:
    async with launcher() as running:
        async with running.handler() as handler:
            handler.writer.write(bytes_)
            async with asyncio.timeout(5):
                assert await handler.reader.read() == b""
        async with running.handler() as handler:
            assert isinstance(await handler.sync(), Done)


async def test_without_a_guest_the_end_of_the_pod_is_at_once() -> None:
    async with launcher() as running, running.handler():
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running.code() == 0


async def test_a_launcher_that_is_let_go_before_it_had_a_guest_ends() -> None:
    async with launcher() as running, running.handler() as handler:
        await handler.release()
        assert await running.code() == 0


async def test_the_end_of_the_pod_is_told_and_handed_on_to_the_guest() -> None:
    async with launcher(grace=33) as running, running.handler() as handler:
        await handler.sync()
        os.kill(os.getpid(), signal.SIGTERM)
        assert (await handler.domain("Shutoff")).reason == "Shutdown"
        assert [m for m in handler.came if isinstance(m, Stopping)] == [Stopping(grace=33)]
        await handler.release()
        assert await running.code() == 0
        assert "destroy" not in running.fake.asked


async def test_a_deaf_guest_is_asked_again_then_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "ASK_AGAIN", 0.02)
    async with launcher() as running, running.handler() as handler:
        await handler.sync()
        running.fake.deaf = True
        await handler.ask(lambda n: Shutdown(id=n, grace=1))
        assert (await handler.domain("Shutoff")).reason == "Destroyed"
        assert running.fake.asked.count("shutdown") > 2
        await handler.release()
        assert await running.code() == 0


async def test_a_later_request_can_hasten_the_end_but_not_delay_it() -> None:
    async with launcher(grace=600) as running, running.handler() as handler:
        await handler.sync()
        running.fake.deaf = True
        await handler.ask(lambda n: Shutdown(id=n, grace=600))
        await handler.ask(lambda n: Shutdown(id=n, grace=0))
        os.kill(os.getpid(), signal.SIGTERM)
        assert (await handler.domain("Shutoff")).reason == "Destroyed"


async def test_no_grace_is_no_question() -> None:
    async with launcher() as running, running.handler() as handler:
        await handler.sync()
        await handler.ask(lambda n: Shutdown(id=n, grace=0))
        assert (await handler.domain("Shutoff")).reason == "Destroyed"
        assert "shutdown" not in running.fake.asked


async def test_a_guest_may_be_started_paused() -> None:
    paused = {**VMI, "spec": {**VMI["spec"], "startStrategy": "Paused"}}
    async with launcher() as running, running.handler() as handler:
        assert isinstance(await handler.sync(paused), Done)
        assert (await handler.domain("Paused")).reason == "User"


async def test_a_guest_without_storage_is_let_go_on_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(under_test, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(under_test, "LONGEST_RETRY", 0.02)
    async with launcher() as running, running.handler() as handler:
        await handler.sync()
        running.fake.tell("Paused", "IOError")
        async with asyncio.timeout(5):
            await running.fake.retried.acquire()
            await running.fake.retried.acquire()
        running.fake.mended = True
        await handler.until(lambda m: isinstance(m, DomainChanged) and m.seq == 3)
        assert running.fake.last
        assert running.fake.last.state == "Running"
        tries = running.fake.asked.count("retry")
        await asyncio.sleep(0.1)
        assert running.fake.asked.count("retry") == tries


async def test_a_guest_that_the_user_paused_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "FIRST_RETRY", 0.05)
    async with launcher() as running, running.handler() as handler:
        await handler.sync()
        running.fake.tell("Paused", "IOError")
        running.fake.tell("Paused", "User")
        await asyncio.sleep(0.15)
        assert "retry" not in running.fake.asked


async def test_a_guest_that_is_not_there_cannot_be_killed() -> None:
    async with launcher() as running, running.handler() as handler:
        failed = await handler.ask(lambda n: Kill(id=n))
        assert failed == Failed(id=1, reason="Refused", message="the guest does not run")


async def test_a_crash_is_the_launchers_failure(places: Path) -> None:
    async with launcher() as running, running.handler() as handler:
        await handler.sync()
        running.fake.tell("Crashed", "Panicked")
        await handler.release()
        assert await running.code() == 1
    assert (places / "termination-log").read_text() == "the guest ended: Panicked"


async def test_the_end_waits_for_virt_handler_to_come_back_and_see_it() -> None:
    async with launcher() as running:
        async with running.handler() as handler:
            await handler.sync()
        running.fake.tell("Shutoff", "Shutdown")
        async with running.handler() as handler:
            await handler.domain("Shutoff")
            await handler.release()
        assert await running.code() == 0


async def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "SEEN_TIMEOUT", 0.05)
    monkeypatch.setattr(under_test, "UNSEEN_TIMEOUT", 0.05)
    async with launcher() as running, running.handler() as handler:
        await handler.sync()
        running.fake.tell("Shutoff", "Shutdown")
        assert await running.code() == 0


async def test_a_launcher_that_nobody_needs_ends_with_the_reason(places: Path) -> None:
    async with launcher(start_timeout=0) as running:
        assert await running.code() == 1
    assert "no virt-handler came" in (places / "termination-log").read_text()
