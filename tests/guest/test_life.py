"""One guest's life in a real launcher, told by what the guest itself says on its console."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.guest.pod import QEMU, UID, Container, Serial, connected, logged_in
from virtpod.domain import paths
from virtpod.wire.messages import DomainChanged, Done, Failed, Kill, Pause, Shutdown, Unpause


@pytest.mark.shows(
    "domain.devices.disks.name",
    "domain.devices.disks.disk.bus",
    "volumes.name",
    "volumes.containerDisk.image",
    "volumes.cloudInitNoCloud.userData",
    "domain.devices.interfaces.name",
    "domain.devices.interfaces.masquerade",
    "networks.name",
)
async def test_a_guest_boots_to_its_login_and_is_powered_off_with_the_pod(
    box: Container, vmi: dict[str, Any], cache: dict[str, bytes]
) -> None:
    box.launch()
    async with connected(box, cache) as handler:
        assert isinstance(await handler.sync(vmi), Done)
        running = handler.last
        assert (running.state, running.started, running.target_devices) == (
            "Running",
            True,
            {"root": "vda", "cloudinit": "vdb"},
        )
        serial = await Serial.of(box)
        await serial.until("from-cloud-init login:")
        await serial.log_in()
        # The guest may be asking for its address anew.
        address = "until ip -4 addr show dev eth0 | grep inet; do sleep 1; done"
        assert "10.0.2.2/24" in await serial.answer(address)

        box.terminate()
        end = await handler.domain("Shutoff", "Crashed")
        assert (end.state, end.reason) == ("Shutoff", "Shutdown")
        assert len(handler.stopping) == 1
        await handler.release()
        assert await box.exit_code(within=5) == 0


async def test_a_guest_that_powers_itself_off_ends_its_launcher_with_success(
    box: Container, vmi: dict[str, Any], cache: dict[str, bytes]
) -> None:
    async with logged_in(box, cache, vmi) as (handler, serial):
        serial.say("poweroff")
        end = await handler.domain("Shutoff", "Crashed")
        assert (end.state, end.reason) == ("Shutoff", "Shutdown")
        await handler.release()
        assert await box.exit_code(within=5) == 0


async def test_syncing_a_running_guest_again_changes_nothing(
    box: Container, empty: dict[str, Any], cache: dict[str, bytes]
) -> None:
    box.launch()
    async with connected(box, cache) as handler:
        await handler.sync(empty)
        (qemu,) = box.processes(QEMU)
        before = handler.last
        assert isinstance(await handler.sync(empty), Done)
        assert box.processes(QEMU) == [qemu]
        assert handler.last == before


async def test_with_the_nodes_cache_libvirt_does_not_ask_qemu_again(
    box: Container, empty: dict[str, Any], cache: dict[str, bytes]
) -> None:
    box.launch()
    async with connected(box, cache) as handler:
        assert isinstance(await handler.sync(empty), Done)
        kept = box.inside(f"{paths.PRIVATE}/libvirt/qemu/cache/capabilities")
        # A cache that libvirt does not believe is written anew.
        assert {file.name: file.read_bytes() for file in kept.iterdir()} == cache


async def test_a_new_virt_handler_is_told_at_once_what_runs(
    box: Container, empty: dict[str, Any], cache: dict[str, bytes]
) -> None:
    box.launch()
    async with connected(box, cache) as handler:
        await handler.sync(empty)
        last = handler.last
    async with connected(box, cache) as another:
        assert await another.domain("Running") == last
        assert isinstance(await another.ask(lambda n: Pause(id=n)), Done)
        assert (await another.domain("Paused")).reason == "User"
        assert isinstance(await another.ask(lambda n: Unpause(id=n)), Done)


async def test_a_libvirt_that_dies_comes_back_and_the_guest_does_not_notice(
    box: Container, vmi: dict[str, Any], cache: dict[str, bytes]
) -> None:
    box.launch()
    async with connected(box, cache) as handler:
        await handler.sync(vmi)
        serial = await Serial.of(box)
        await serial.until("login:")
        (qemu,) = box.processes(QEMU)
        (libvirtd,) = box.processes("libvirtd")
        os.kill(libvirtd, signal.SIGKILL)

        # Answered by the next libvirt.
        assert isinstance(await handler.ask(lambda n: Pause(id=n)), Done)
        assert isinstance(await handler.ask(lambda n: Unpause(id=n)), Done)
        assert box.processes(QEMU) == [qemu]
        await serial.log_in()
        serial.say("poweroff")
        assert (await handler.domain("Shutoff", "Crashed")).reason == "Shutdown"


async def test_a_guest_that_ends_while_libvirt_is_away_has_ended_all_the_same(
    box: Container, empty: dict[str, Any], cache: dict[str, bytes]
) -> None:
    box.launch()
    async with connected(box, cache) as handler:
        await handler.sync(empty)
        (qemu,) = box.processes(QEMU)
        (libvirtd,) = box.processes("libvirtd")
        os.kill(libvirtd, signal.SIGSTOP)
        os.kill(qemu, signal.SIGTERM)  # QEMU ends in good order
        await box.gone(qemu)
        os.kill(libvirtd, signal.SIGKILL)
        end = await handler.domain("Shutoff", "Crashed")
        assert (end.state, end.reason) == ("Shutoff", "Shutdown")


async def test_a_qemu_that_is_killed_is_a_crash(
    box: Container, empty: dict[str, Any], cache: dict[str, bytes]
) -> None:
    box.launch()
    async with connected(box, cache) as handler:
        await handler.sync(empty)
        (qemu,) = box.processes(QEMU)
        os.kill(qemu, signal.SIGKILL)
        end = await handler.domain("Shutoff", "Crashed", within=5)
        assert (end.state, end.message) == ("Crashed", "QEMU was ended by SIGKILL")
        await handler.release()
        assert await box.exit_code(within=5) == 1
        assert box.last_words() == f"the guest ended: {end.reason}: {end.message}"


async def test_a_guest_that_does_not_hear_is_ended_when_its_time_is_over(
    box: Container, empty: dict[str, Any], cache: dict[str, bytes]
) -> None:
    box.launch()
    async with connected(box, cache) as handler:
        await handler.sync(empty)
        await handler.ask(lambda n: Shutdown(id=n, grace=600))
        await handler.ask(lambda n: Shutdown(id=n, grace=1))  # the user has lost patience
        end = await handler.domain("Shutoff", "Crashed", within=10)
        assert (end.state, end.reason) == ("Shutoff", "Destroyed")
        await handler.release()
        assert await box.exit_code(within=5) == 0


async def test_a_guest_is_killed_when_asked(
    box: Container, empty: dict[str, Any], cache: dict[str, bytes]
) -> None:
    box.launch()
    async with connected(box, cache) as handler:
        early = await handler.ask(lambda n: Kill(id=n))
        assert isinstance(early, Failed)
        assert "does not run" in early.message
        await handler.sync(empty)
        assert isinstance(await handler.ask(lambda n: Kill(id=n)), Done)
        assert (await handler.domain("Shutoff", "Crashed")).reason == "Destroyed"


async def test_an_image_without_a_disk_is_told_and_can_be_put_right(
    box: Container, vmi: dict[str, Any], cache: dict[str, bytes]
) -> None:
    disk = box.inside(paths.image_volume(0)) / "disk" / "disk.qcow2"
    aside = disk.parent.parent / "aside"
    disk.rename(aside)
    box.launch()
    async with connected(box, cache) as handler:
        failed = await handler.sync(vmi)
        assert isinstance(failed, Failed)
        assert (failed.reason, failed.final) == ("ContainerDiskInvalid", True)
        assert "volume root must hold exactly one file in /disk, it has 0" in failed.message
        assert not [event for event in handler.events if isinstance(event, DomainChanged)]
        aside.rename(disk)
        assert isinstance(await handler.sync(vmi), Done)


async def test_what_libvirt_refuses_is_told_in_its_words(
    box: Container, empty: dict[str, Any], cache: dict[str, bytes]
) -> None:
    empty["spec"]["domain"]["machine"] = {"type": "no-such-board"}
    box.launch()
    async with connected(box, cache) as handler:
        failed = await handler.sync(empty)
        assert isinstance(failed, Failed)
        assert failed.reason == "DomainRefused"
        assert failed.message


async def test_another_vmi_is_not_run_here(
    box: Container, empty: dict[str, Any], cache: dict[str, bytes]
) -> None:
    empty["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555"
    box.launch()
    async with connected(box, cache) as handler:
        failed = await handler.sync(empty)
        assert isinstance(failed, Failed)
        assert (failed.reason, failed.final) == ("NotMine", True)
        assert UID in failed.message


async def test_a_launcher_without_a_guest_ends_at_once_when_told(box: Container) -> None:
    box.launch()
    async with connected(box, {}):
        box.terminate()
        assert await box.exit_code(within=3) == 0


async def test_a_launcher_that_is_told_to_end_while_it_starts_does_so(box: Container) -> None:
    box.launch()
    assert await box.comes_up(), "Python begins with SIGTERM blocked"
    box.terminate()
    assert await box.exit_code(within=5) == 0


async def test_a_launcher_that_is_killed_takes_its_guest_along(
    box: Container, empty: dict[str, Any], cache: dict[str, bytes]
) -> None:
    box.launch()
    async with connected(box, cache) as handler:
        await handler.sync(empty)
        (qemu,) = box.processes(QEMU)
        os.kill(box.first, signal.SIGKILL)
        await box.gone(qemu)


async def test_a_launcher_that_nobody_calls_says_so_and_fails(box: Container) -> None:
    box.launch("--qemu-timeout", "1")
    assert await box.exit_code(within=10) == 1
    assert "no virt-handler came within 1 s" in box.last_words()
