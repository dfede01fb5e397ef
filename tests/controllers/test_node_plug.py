"""What virt-handler does about devices that come and go while a guest runs."""

from __future__ import annotations

from typing import Any

import pytest

from virtpod.controllers import node_plug
from virtpod.controllers.node_plug import Holder, Loan, Plug
from virtpod.kube.resources import Obj
from virtpod.render import attachment

CARD, DISK = "example.com/card", "example.com/disk"
LOANS = {
    name: Loan(name, attachment.device_name("l", name, resource), resource)
    for name, resource in (("card", CARD), ("disk", DISK))
}


def vmi(*plugged: str, cold: str = "") -> Obj:
    resources = {"card": CARD, "disk": DISK, "cold": CARD}
    names = [*plugged, *([cold] if cold else [])]
    devices = [{"name": name, "deviceName": resources[name]} for name in names]
    return {
        "metadata": {"annotations": {"virtpod.io/plugged-devices": ",".join(plugged)}},
        "spec": {"domain": {"devices": {"hostDevices": devices}}},
    }


def holder(device: str, **more: Any) -> Holder:
    resource = {"card": CARD, "disk": DISK}[device]
    name = attachment.device_name("l", device, resource)
    return Holder(f"uid-{device}", name, "default", "l", device, **{"running": True, **more})


def work(instance: Obj, holders: list[Holder], there: set[str], guest: set[str]) -> Plug | None:
    return node_plug.work(instance, "pod", holders, there, guest)


idle = node_plug.idle


def test_a_device_comes_when_its_pod_runs_and_goes_before_its_pod() -> None:
    wants, holders = vmi("card", cold="cold"), [holder("card")]
    assert work(wants, [], set(), {"cold"}) is None
    assert work(wants, [holder("card", running=False)], set(), {"cold"}) is None
    assert work(wants, holders, set(), {"cold"}) == Plug("pod", bring=(LOANS["card"],))
    assert work(wants, holders, {"card"}, {"cold"}) == Plug("pod", bring=(LOANS["card"],))
    has = {"cold", "card"}
    assert work(wants, holders, {"card"}, has) is None
    assert idle(wants, holders, {"card"}, has) == ()

    without = vmi(cold="cold")
    assert work(without, holders, {"card"}, has) == Plug("pod", unplug=("card",))
    assert idle(without, holders, {"card"}, has) == (), "the guest has it"
    assert work(without, holders, {"card"}, {"cold"}) == Plug("pod", take=("card",))
    assert idle(without, holders, {"card"}, {"cold"}) == (), "the container has it"
    assert work(without, holders, set(), {"cold"}) is None
    assert idle(without, holders, set(), {"cold"}) == ("uid-card",)
    assert idle(without, [holder("card", running=False)], set(), {"cold"}) == ()


@pytest.mark.parametrize("holders", [[], [holder("card", going=True)]])
def test_a_device_whose_pod_goes_leaves_the_guest(holders: list[Holder]) -> None:
    assert work(vmi("card"), holders, {"card"}, {"card"}) == Plug("pod", unplug=("card",))
    assert work(vmi("card"), holders, {"card"}, set()) == Plug("pod", take=("card",))
    assert bool(idle(vmi("card"), holders, set(), set())) is bool(holders)


def test_a_pod_with_another_device_of_that_name_goes_back() -> None:
    other = Holder("uid", "hp-device-other", "default", "l", "card", running=True)
    assert work(vmi("card"), [other], {"card"}, {"card"}) == Plug("pod", unplug=("card",))
    assert idle(vmi("card"), [other], set(), set()) == ("uid",)


def test_one_guest_loses_one_device_while_it_gets_another() -> None:
    plan = work(vmi("disk"), [holder("card"), holder("disk")], {"card"}, {"card"})
    assert plan == Plug("pod", bring=(LOANS["disk"],), unplug=("card",))


@pytest.mark.parametrize(
    ("instance", "holders", "guest", "concerned"),
    [
        (vmi(), [], set(), False),
        (vmi(cold="cold"), [], {"cold", "cold-1"}, False),
        (vmi("card"), [], set(), True),
        (vmi(), [holder("card")], set(), True),
        (vmi(cold="cold"), [], {"cold", "card"}, True),
    ],
)
def test_few_guests_are_concerned(
    instance: Obj, holders: list[Holder], guest: set[str], concerned: bool
) -> None:
    assert node_plug.concerned(instance, holders, guest) is concerned


def told(
    instance: Obj,
    holders: list[Holder],
    there: set[str],
    guest: set[str],
    failure: str = "",
) -> tuple[str, str, str] | None:
    found = node_plug.condition(instance, holders, there, guest, failure)
    return found and (found["status"], found.get("reason", ""), found["message"])


def test_the_condition_says_what_is_awaited() -> None:
    name = LOANS["card"].pod
    assert told(vmi(cold="cold"), [], set(), {"cold"}) is None
    assert told(vmi("card"), [], set(), set()) == (
        "False",
        "AttachmentPodPending",
        "card waits for the pod that is to be given it",
    )
    none = holder("card", running=False, why="0/1 nodes are available: 1 Insufficient card.")
    assert told(vmi("card"), [none], set(), set()) == (
        "False",
        "AttachmentPodPending",
        f"card waits for pod {name}: 0/1 nodes are available: 1 Insufficient card.",
    )
    assert told(vmi("card"), [holder("card")], {"card"}, set(), "no free port") == (
        "False",
        "HotplugFailed",
        "no free port",
    )
    assert told(vmi("card"), [holder("card")], {"card"}, {"card"}) == (
        "True",
        "",
        "The guest was given card while it runs",
    )
    assert told(vmi(), [holder("card")], {"card"}, {"card"}) == (
        "False",
        "Detaching",
        "card is to go",
    )
