"""What a guest does by itself, and what its storage does to it, in a real launcher."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.guest.pod import QEMU, Container, Serial, connected, logged_in
from virtpod.domain import paths
from virtpod.launcher.launcher import FIRST_RETRY
from virtpod.wire.messages import Done, Pause, Shutdown, Unpause


@pytest.mark.shows("startStrategy", "domain.devices.panicDevices.model")
async def test_a_guest_starts_paused_reboots_by_itself_and_panics(
    box: Container, vmi: dict[str, Any], cache: dict[str, bytes]
) -> None:
    vmi["spec"]["startStrategy"] = "Paused"
    vmi["spec"]["domain"]["devices"]["panicDevices"] = [{"model": "pvpanic"}]
    box.launch()
    async with connected(box, cache) as handler:
        assert isinstance(await handler.sync(vmi), Done)
        assert [(handler.last.state, handler.last.reason)] == [("Paused", "User")]
        serial = await Serial.of(box)
        assert isinstance(await handler.ask(lambda n: Unpause(id=n)), Done)
        await serial.until("login:")
        qemu = box.processes(QEMU)

        await serial.log_in()
        serial.say("reboot -f")
        await serial.until("login:")
        assert box.processes(QEMU) == qemu
        assert (handler.last.state, handler.last.reason) == ("Running", "Unknown")

        await serial.log_in()
        serial.say("modprobe pvpanic_pci; echo c >/proc/sysrq-trigger")
        end = await handler.domain("Shutoff", "Crashed")
        assert (end.state, end.reason) == ("Crashed", "Panicked")
        assert end.message == "the guest's kernel panicked"
        await handler.release()
        assert await box.exit_code(within=5) == 1
        assert box.last_words() == f"the guest ended: Panicked: {end.message}"


@pytest.mark.shows("domain.rebootPolicy")
async def test_a_guest_may_have_its_reboot_be_its_end(
    box: Container, vmi: dict[str, Any], cache: dict[str, bytes]
) -> None:
    vmi["spec"]["domain"]["rebootPolicy"] = "Terminate"
    async with logged_in(box, cache, vmi) as (handler, serial):
        serial.say("reboot -f")
        end = await handler.domain("Shutoff", "Crashed")
        assert (end.state, end.reason) == ("Shutoff", "Shutdown")
        await handler.release()
        assert await box.exit_code(within=5) == 0


@pytest.mark.shows("domain.devices.watchdog.name", "domain.devices.watchdog.i6300esb.action")
async def test_a_watchdog_that_is_not_fed_ends_the_guest_and_says_so(
    box: Container, vmi: dict[str, Any], cache: dict[str, bytes]
) -> None:
    dog = {"name": "dog", "i6300esb": {"action": "poweroff"}}
    vmi["spec"]["domain"]["devices"]["watchdog"] = dog
    async with logged_in(box, cache, vmi) as (handler, serial):
        serial.say("modprobe i6300esb; watchdog -T 2 -t 60 /dev/watchdog")
        end = await handler.domain("Shutoff", "Crashed")
        assert end.state == "Crashed"
        assert end.message == "the guest's watchdog was not fed and powered it off"


async def test_a_guest_waits_for_room_on_its_storage_and_goes_on(
    box: Container, vmi: dict[str, Any], cache: dict[str, bytes]
) -> None:
    with small(box.inside(paths.EPHEMERAL)) as place:
        box.launch()
        async with connected(box, cache) as handler:
            await handler.sync(vmi)
            serial = await Serial.of(box)
            await serial.until("login:")
            await serial.log_in()
            serial.say("dd if=/dev/urandom of=/dev/vda bs=1M seek=2 count=12; sync; echo wri''tten")
            full = await handler.domain("Paused")
            assert full.reason == "IOError"
            assert "disk root: no space left" in full.message

            # The user's pause counts more than the guest's trouble.
            assert isinstance(await handler.ask(lambda n: Pause(id=n)), Done)
            assert handler.last.reason == "User"
            await asyncio.sleep(FIRST_RETRY + 1)
            assert isinstance(await handler.ask(lambda n: Unpause(id=n)), Done)
            if handler.last.reason != "IOError":  # it may have been told before the answer
                await handler.until(lambda m: getattr(m, "reason", "") == "IOError")

            told = len(handler.events)
            _make_room(place)
            began = time.monotonic()
            await handler.domain("Running", within=FIRST_RETRY + 5)
            assert time.monotonic() - began > FIRST_RETRY / 2
            assert len(handler.events) == told + 1
            await serial.until("written")


@pytest.mark.shows("domain.features.acpi.enabled")
async def test_a_guest_that_does_not_heed_is_ended_at_its_time(
    box: Container, empty: dict[str, Any], cache: dict[str, bytes]
) -> None:
    """Without ACPI its agent is asked, which is not there."""
    empty["spec"]["domain"]["features"] = {"acpi": {"enabled": False}}
    box.launch()
    async with connected(box, cache) as handler:
        await handler.sync(empty)
        began = time.monotonic()
        await handler.ask(lambda n: Shutdown(id=n, grace=3))
        assert (await handler.domain("Shutoff", "Crashed")).reason == "Destroyed"
        assert abs(time.monotonic() - began - 3) < 1


def _make_room(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=100m", place], check=True)


@contextmanager
def small(folder: Path) -> Iterator[Path]:
    """A file system of a few MiB in the launcher's folder."""
    options = f"size=6m,mode=755,uid={paths.QEMU_UID},gid={paths.QEMU_UID}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
