"""A VMI's life on its node: a real conversation with a launcher, a fake API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from tests.node.world import POD_UID, RUNNING, World, pod, vmi, world
from virtpod.api.traits import PLUGGED_DEVICES
from virtpod.domain.facts import Cluster
from virtpod.kube.resources import PODS, VMIS
from virtpod.node import lending
from virtpod.node.steps import loans
from virtpod.render import attachment
from virtpod.wire.messages import (
    DomainChanged,
    Done,
    Failed,
    Hello,
    InterfaceSeen,
    OwnDevice,
    Plugged,
    Release,
    Shutdown,
    Stopping,
    Sync,
)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as found:
        yield found


def phase(wanted: str) -> Any:
    return lambda obj: obj["status"]["phase"] == wanted


async def _running(node: World) -> dict[str, Any]:
    """A guest that runs, from the pod's creation on."""
    node.put(vmi())
    node.put(pod())
    await node.launcher.listen()
    await node.launcher.until(Sync)
    node.launcher.say(RUNNING)
    node.put(pod(running=True))
    node.change("Scheduled")
    return await node.until(phase("Running"))


async def test_the_guest_is_started_before_the_api_says_scheduled(node: World) -> None:
    node.put(vmi())
    node.put(pod())
    await node.launcher.listen()
    sync = await node.launcher.until(Sync)
    assert msgspec.json.decode(sync.vmi)["metadata"]["name"] == "demo"
    assert [link.tap for link in sync.links] == ["tap0"]
    assert sync.emulation
    assert len(node.prepared) == 1
    assert node.writes() == []


async def test_one_patch_and_one_event_say_that_it_runs(node: World) -> None:
    obj = await _running(node)
    await _settled(node)
    assert node.writes() == ["patch virtualmachineinstances", "create events"]
    assert node.events() == ["Started"]
    stamps = obj["status"]["phaseTransitionTimestamps"]
    assert [stamp["phase"] for stamp in stamps] == ["Scheduling", "Running"]
    known = {condition["type"]: condition["status"] for condition in obj["status"]["conditions"]}
    assert known == {"Ready": "True", "LiveMigratable": "False"}
    assert obj["status"]["interfaces"][0]["ipAddress"] == "10.1.0.7"
    assert obj["status"]["machine"] == {"type": "pc-q35"}


async def test_the_end_is_written_once_and_the_launcher_released(node: World) -> None:
    await _running(node)
    await _settled(node)
    node.cluster.writes.clear()
    node.launcher.say(DomainChanged(seq=2, state="Shutoff", reason="Shutdown", started=True))
    await node.until(phase("Succeeded"))
    await node.launcher.until(Release)
    await _settled(node)
    assert node.writes() == ["patch virtualmachineinstances", "create events"]
    assert node.events() == ["Started", "Stopped"]


async def test_a_panic_is_counted_until_its_instance_goes(node: World) -> None:
    def counted(metric: str, **labels: str) -> float | None:
        whose = {"namespace": "default", "name": "demo", **labels}
        return node.sync.counts.registry.get_sample_value(f"kubevirt_vmi_{metric}_total", whose)

    await _running(node)
    panics = partial(counted, "guest_os_panic", type="", bugcheck_code="")
    assert panics() is None
    node.launcher.say(DomainChanged(seq=2, state="Crashed", reason="Panicked", started=True))
    await node.until(phase("Failed"))
    await _settled(node)
    assert panics() == 1
    assert (counted("sync") or 0) >= 2
    node.cluster.remove(VMIS, ("default", "demo"))
    await _settled(node)
    assert panics() is counted("sync") is None


async def test_a_deleted_vmi_s_guest_is_asked_to_power_off_once(node: World) -> None:
    await _running(node)
    node.change("Running", deletionTimestamp="2026-01-01T00:00:00Z")
    asked = await node.launcher.until(Shutdown)
    assert asked.grace == 30
    node.launcher.say(DomainChanged(seq=2, state="ShuttingDown", started=True))
    node.launcher.say(DomainChanged(seq=3, state="Shutoff", reason="Shutdown", started=True))
    await node.until(phase("Succeeded"))
    await node.launcher.until(Release)
    await _settled(node)
    assert len(node.launcher.all(Shutdown)) == 1
    assert node.events() == ["Started", "ShuttingDown", "Stopped"]


async def test_a_launcher_that_dies_takes_its_guest_with_it(node: World) -> None:
    await _running(node)
    node.launcher.die()
    await node.until(phase("Failed"))


async def test_a_broken_connection_changes_nothing_and_is_made_again(node: World) -> None:
    before = await _running(node)
    node.launcher.hang_up()
    await node.launcher.until(Hello, times=2)
    await _settled(node)
    assert node.vmi()["status"] == before["status"]
    assert len(node.launcher.all(Sync)) == 1
    assert len(node.prepared) == 1


@pytest.mark.parametrize("busy", ["replugging", "rewiring", "growing", "dumping"])
async def test_what_was_under_way_as_a_connection_broke_is_begun_anew(
    node: World, busy: str
) -> None:
    await _running(node)
    attended = node.sync.of_pod(POD_UID)
    assert attended is not None
    under_way: dict[str, Any] = {busy: True}
    attended.guest = replace(attended.guest, **under_way)
    node.launcher.hang_up()
    await node.launcher.until(Hello, times=2)
    await node.until(lambda _vmi: attended.launcher is not None)
    assert not getattr(attended.guest, busy)


async def test_a_restarted_virt_handler_leaves_guests_alone(tmp_path: Path) -> None:
    async with world(tmp_path / "one") as node:
        node.put(vmi("Running", conditions=[]))
        node.put(pod(running=True))
        node.launcher.domain = RUNNING
        await node.launcher.listen()
        await node.launcher.until(Hello)
        await node.until(lambda obj: "machine" in obj["status"])
        await _settled(node)
        assert node.launcher.all(Sync) == []
        assert node.prepared == []
        assert node.events() == []


async def test_a_guest_that_ended_while_nobody_looked(node: World) -> None:
    node.put(vmi("Running"))
    node.put(pod(ended=0))
    await node.until(phase("Succeeded"))


async def test_why_it_cannot_start_is_said_once(node: World) -> None:
    node.launcher.answer = lambda request: (
        Failed(id=request.id, reason="NoDisk", message="there is no disk in it", final=True)
        if isinstance(request, Sync)
        else None
    )
    node.put(vmi())
    node.put(pod())
    await node.launcher.listen()
    await node.launcher.until(Sync)
    node.change("Scheduled")
    obj = await node.until(lambda obj: "conditions" in obj["status"])
    await _settled(node)
    [condition] = obj["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Synchronized", "False")
    assert (condition["reason"], condition["message"]) == ("NoDisk", "there is no disk in it")
    assert node.events() == ["SyncFailed"]
    assert node.writes() == ["patch virtualmachineinstances", "create events"]


async def test_pause_and_interfaces_are_followed(node: World) -> None:
    await _running(node)
    node.launcher.say(DomainChanged(seq=2, state="Paused", reason="User", started=True))
    obj = await node.until(_has("Paused"))
    assert _condition(obj, "Paused")["reason"] == "PausedByUser"
    seen = InterfaceSeen(name="default", mac="02:00:00:00:00:07")
    node.launcher.say(DomainChanged(seq=3, state="Running", started=True, interfaces=[seen]))
    obj = await node.until(lambda obj: not _has("Paused")(obj))
    assert obj["status"]["interfaces"][0]["mac"] == "02:00:00:00:00:07"


async def test_unchanged_news_are_not_written(node: World) -> None:
    await _running(node)
    await _settled(node)
    node.cluster.writes.clear()
    node.launcher.say(RUNNING)
    node.put(pod(running=True))
    await _settled(node)
    assert node.writes() == []


async def test_labels_do_not_make_a_launcher(node: World) -> None:
    """CVE-2025-64435: only the owner reference counts."""
    node.put(vmi("Scheduled"))
    node.put(pod(running=True, ownerReferences=[]))
    await node.launcher.listen()
    await _settled(node)
    assert node.launcher.got == []


async def test_a_conflict_is_no_trouble(node: World) -> None:
    node.cluster.fail("patch", VMIS, status=409, reason="Conflict")
    await _running(node)
    await _settled(node)
    assert node.events() == ["Started"]


async def test_nothing_is_left_of_a_pod_that_is_gone(node: World) -> None:
    await _running(node)
    node.cluster.remove(PODS, ("default", "virt-launcher-demo-abcde"))
    async with asyncio.timeout(5):
        while node.sync.attended("default", "demo"):  # noqa: ASYNC110 # nothing tells it
            await asyncio.sleep(0.005)
    await _settled(node)
    assert node.vmi()["status"]["phase"] == "Running"


async def test_a_launcher_whose_vmi_was_taken_away_ends(node: World) -> None:
    """Finalizers that somebody cut: the guest is asked to go, and an event on the pod says why."""
    await _running(node)
    node.cluster.remove(VMIS, ("default", "demo"))
    assert (await node.launcher.until(Shutdown)).grace == 30
    node.launcher.say(DomainChanged(seq=2, state="Shutoff", reason="Shutdown", started=True))
    await node.launcher.until(Release)
    assert len(node.launcher.all(Shutdown)) == 1
    await _settled(node)
    assert "VirtualMachineInstanceGone" in node.events()


async def test_no_guest_starts_beside_a_launcher_that_outlives_its_pod(node: World) -> None:
    """A pod taken away by force: its processes go on until the kubelet ends them."""
    await _running(node)
    node.cluster.remove(PODS, ("default", "virt-launcher-demo-abcde"))
    old, node.launcher.process, node.launcher.domain = node.launcher.process, None, None
    assert old is not None
    heir = vmi()
    heir["metadata"]["uid"] = "heir"
    node.put(heir)
    await node.launcher.listen()  # another launcher, with a process of its own
    child = pod()
    child["metadata"]["ownerReferences"][0]["uid"] = "heir"
    node.put(child)
    try:
        await node.launcher.until(Hello, times=2)
        await _settled(node)
        assert len(node.launcher.all(Sync)) == 1
    finally:
        old.kill()
        old.wait()
    await node.launcher.until(Sync, times=2)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x02{}",
        b"\x00\x00\x00\x14" + b'{"type":"nonsense"}!',
        b"\x00\x00\x00\x05{{{{{",
        b"\x00\x00\xff\xff[",
    ],
    ids=["huge", "no type", "unknown type", "no JSON", "half a frame"],
)
async def test_a_launcher_that_speaks_nonsense_is_dialled_again(
    node: World, nonsense: bytes
) -> None:
    before = await _running(node)
    node.launcher.write(nonsense)
    if nonsense.endswith(b"["):
        node.launcher.hang_up()
    await node.launcher.until(Hello, times=2)
    await _settled(node)
    assert node.vmi()["status"] == before["status"]


async def test_an_old_launcher_s_answer_to_nobody_is_no_trouble(node: World) -> None:
    await _running(node)
    node.launcher.say(Done(id=4711))
    node.launcher.say(Failed(id=4712, reason="X", message="y"))
    node.launcher.say(Stopping(grace=30))
    node.launcher.say(DomainChanged(seq=2, state="Paused", reason="User", started=True))
    await node.until(_has("Paused"))


async def test_somebody_else_s_vmi_of_that_name_is_not_started(node: World) -> None:
    obj = vmi()
    obj["metadata"]["uid"] = "another"
    node.put(obj)
    node.put(pod())
    await node.launcher.listen()
    await node.launcher.until(Hello)
    await _settled(node)
    assert node.launcher.all(Sync) == []


def _condition(obj: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(each for each in obj["status"]["conditions"] if each["type"] == kind)


def _has(kind: str) -> Any:
    return lambda obj: any(each["type"] == kind for each in obj["status"].get("conditions", ()))


async def _settled(node: World) -> None:
    """All that was told has been decided upon: the loop has been idle for a while."""
    queue = node.sync.loop.queue
    idle = 0
    async with asyncio.timeout(10):
        while idle < 20:
            await asyncio.sleep(0.01)
            busy = len(queue) or queue.processing()
            idle = 0 if busy else idle + 1


CARD = "example.com/card"


def _asks(node: World, *names: str) -> None:
    """The spec has devices that are to come while the guest runs."""
    obj = node.vmi()
    obj["metadata"]["annotations"] = {PLUGGED_DEVICES: ",".join(names)}
    devices = [{"name": name, "deviceName": CARD} for name in names]
    obj["spec"]["domain"]["devices"]["hostDevices"] = devices
    node.put(obj)


def _holder(device: str) -> dict[str, Any]:
    launcher = pod(running=True)
    made = attachment.device_pod(launcher, device, CARD, Cluster(launcher_image="launcher"))
    made["metadata"]["uid"] = "holder"
    status = {"phase": "Running", "containerStatuses": [{"name": "x", "state": {"running": {}}}]}
    return {**made, "status": status}


async def test_a_function_of_a_network_card_is_a_device_of_the_node_too(node: World) -> None:
    await _running(node)
    assert not node.sync.has_devices()
    own = OwnDevice(name="fast", kind="pci", address="0000:5e:02.0")
    node.launcher.say(structs.replace(RUNNING, seq=2, devices=(own,)))
    async with asyncio.timeout(10):
        while not node.sync.has_devices():  # noqa: ASYNC110 # nobody tells
            await asyncio.sleep(0.005)


async def test_a_device_comes_and_goes_while_the_guest_runs(
    node: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    container: set[str] = set()
    ended: list[str] = []

    async def lend(name: str, nodes: Mapping[str, int], *_: Any) -> None:
        assert nodes == {"vfio/12": 7}
        container.add(name)

    async def take_back(name: str, *_: Any) -> None:
        container.remove(name)

    async def given(namespace: str, name: str, resource: str) -> lending.Lent:
        assert (namespace, resource) == ("default", CARD)
        assert name == _holder("card")["metadata"]["name"]
        return lending.Lent((("pci", "0000:01:10.0"),), {"vfio/12": 7})

    async def give_back(pod_uid: str) -> None:
        ended.append(pod_uid)

    monkeypatch.setattr(loans, "lend", lend)
    monkeypatch.setattr(loans, "take_back", take_back)
    monkeypatch.setattr(loans, "lent", lambda _process: frozenset(container))
    monkeypatch.setattr(lending, "give_back", give_back)
    node.sync.ways = replace(node.sync.ways, lent=given)
    await _running(node)

    _asks(node, "card")
    await node.until(lambda obj: _plugged(obj)[0] == "False")
    node.put(_holder("card"))
    plug = await node.launcher.until(Sync, 2)
    assert plug.plugged == [Plugged(name="card", kind="pci", address="0000:01:10.0")]
    node.launcher.say(structs.replace(RUNNING, seq=2, host_devices={"card": "0000:01:10.0"}))
    obj = await node.until(lambda obj: _plugged(obj)[0] == "True")
    assert _plugged(obj)[1] == "The guest was given card while it runs"
    await _told(node, "HostDevicesPlugged")
    assert container == {"card"}
    assert node.sync.vmi_of_pod("default", _holder("card")["metadata"]["name"]) == "demo"

    _asks(node)
    unplug = await node.launcher.until(Sync, 3)
    assert (unplug.plugged, unplug.unplugged) == ([], ["card"])
    assert not ended, "the guest has it"
    node.launcher.say(structs.replace(RUNNING, seq=3))
    async with asyncio.timeout(10):
        while not ended:  # noqa: ASYNC110 # nobody tells
            await asyncio.sleep(0.005)
    assert ended[0] == "holder"
    assert not container
    await node.until(lambda obj: not _plugged(obj)[0])


async def test_a_guest_that_has_ended_holds_no_device(
    node: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()

    async def give_back(pod_uid: str) -> None:
        assert pod_uid == "holder"
        ended.set()

    monkeypatch.setattr(lending, "give_back", give_back)
    monkeypatch.setattr(loans, "lent", lambda _process: frozenset({"card"}))
    await _running(node)
    _asks(node, "card")
    node.put(_holder("card"))
    node.launcher.say(DomainChanged(seq=2, state="Shutoff", reason="Shutdown", started=True))
    await node.until(phase("Succeeded"))
    async with asyncio.timeout(10):
        await ended.wait()
        await node.launcher.until(Release)


def _plugged(obj: dict[str, Any]) -> tuple[str, str]:
    for each in obj["status"].get("conditions", ()):
        if each["type"] == "HostDevicesPlugged":
            return each["status"], each["message"]
    return "", ""


async def _told(node: World, reason: str) -> None:
    async with asyncio.timeout(10):
        while reason not in node.events():  # noqa: ASYNC110 # the fake has no event for it
            await asyncio.sleep(0.005)
