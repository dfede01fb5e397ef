"""Devices of the node that come and go while a guest runs, virt-handler's part: from the pod that
was given one into the launcher's container, from there into the guest, and back.

What the spec wants and which pods hold it, what is in the container, and what the guest has are
looked at, and nothing is remembered. A pod is ended when neither the guest nor the container has
its device: so the kubelet gives it to nobody who would find it in use.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from virtpod.controllers import attached_devices, conditions
from virtpod.controllers.conditions import Condition
from virtpod.render import attachment

ALL_PLUGGED = "HostDevicesPlugged"
"""Condition of a VMI: whether it has all devices that come while it runs, and no others."""
PENDING, LEAVING, FAILED = "AttachmentPodPending", "Detaching", "HotplugFailed"


@dataclass(frozen=True)
class Holder:
    """A pod that a device of this node is given to, on behalf of a launcher's."""

    uid: str
    name: str
    namespace: str
    launcher: str
    """The launcher's pod, by its uid."""
    device: str
    """Its name in the VMI's spec."""
    running: bool = False
    going: bool = False
    why: str = ""
    """What keeps it from running, as far as it tells."""


@dataclass(frozen=True)
class Loan:
    """A device and the pod that has it."""

    device: str
    pod: str
    """Its name; it is in the launcher's namespace."""
    resource: str


@dataclass(frozen=True)
class Plug:
    """Take what the guest has let go out of the container, bring these devices into it; then let
    the guest have them, and let `unplug` go."""

    pod_uid: str
    bring: tuple[Loan, ...] = ()
    unplug: tuple[str, ...] = ()
    take: tuple[str, ...] = ()


@dataclass(frozen=True)
class GiveBack:
    """End the pods whose devices nobody has any more, by their uids."""

    pod_uid: str
    pods: tuple[str, ...]


def concerned(vmi: Mapping[str, Any], holders: Sequence[Holder], guest: Collection[str]) -> bool:
    """Whether there is anything to look after. `guest`: devices that the domain has, further
    functions of one with a number behind its name (`DomainChanged.host_devices`)."""
    devices = (vmi["spec"].get("domain") or {}).get("devices") or {}
    named = {each["name"] for kind in ("hostDevices", "gpus") for each in devices.get(kind) or ()}
    strange = [each for each in guest if each not in named and each.rpartition("-")[0] not in named]
    return bool(holders or strange or attached_devices.wanted(vmi))


def at_hand(vmi: Mapping[str, Any], holders: Sequence[Holder]) -> dict[str, Loan]:
    """The devices that are wanted and that pods have which stay."""
    asked = attached_devices.wanted(vmi)
    return {
        each.device: Loan(each.device, each.name, asked[each.device])
        for each in holders
        if each.running and not each.going and _right(each, asked)
    }


def _right(holder: Holder, asked: Mapping[str, str]) -> bool:
    """Whether it holds what the spec asks for by that name."""
    resource = asked.get(holder.device)
    return resource is not None and holder.name == attachment.device_name(
        holder.launcher, holder.device, resource
    )


def work(
    vmi: Mapping[str, Any],
    pod_uid: str,
    holders: Sequence[Holder],
    there: Collection[str],
    guest: Collection[str],
) -> Plug | None:
    """What is to be done with the guest; None where it has what it shall. `there`: devices that
    came into the container while it runs; `guest`: those that the domain has."""
    loans = at_hand(vmi, holders)
    missing = [loan for name, loan in loans.items() if name not in there or name not in guest]
    surplus = [name for name in there if name in guest and name not in loans]
    take = [name for name in there if name not in guest and name not in loans]
    if not (missing or surplus or take):
        return None
    return Plug(pod_uid, tuple(missing), tuple(sorted(surplus)), tuple(sorted(take)))


def idle(
    vmi: Mapping[str, Any],
    holders: Sequence[Holder],
    there: Collection[str],
    guest: Collection[str],
) -> tuple[str, ...]:
    """The pods that run for nothing, by their uids."""
    busy = {*at_hand(vmi, holders), *there, *guest}
    return tuple(each.uid for each in holders if each.running and each.device not in busy)


def condition(
    vmi: Mapping[str, Any],
    holders: Sequence[Holder],
    there: Collection[str],
    guest: Collection[str],
    failure: str,
) -> Condition | None:
    """None where no device comes or goes. `failure`: why the last try did not get on."""
    asked = attached_devices.wanted(vmi)
    if not (asked or holders or there):
        return None
    coming = [name for name in asked if name not in guest]
    going = [name for name in there if name not in asked]
    if not coming and not going:
        said = f"The guest was given {', '.join(sorted(asked))} while it runs"
        return conditions.new(ALL_PLUGGED, "True", "", said) if asked else None
    if failure:
        return conditions.new(ALL_PLUGGED, "False", FAILED, failure)
    said = "; ".join([*_awaited(coming, holders), *(f"{each} is to go" for each in going)])
    return conditions.new(ALL_PLUGGED, "False", PENDING if coming else LEAVING, said)


def _awaited(coming: Sequence[str], holders: Sequence[Holder]) -> Iterator[str]:
    held = {each.device: each for each in holders}
    for name in coming:
        holder = held.get(name)
        if holder is None:
            yield f"{name} waits for the pod that is to be given it"
        elif holder.running and not holder.going:
            yield f"{name} is on its way into the guest"
        else:
            why = holder.why or ("it is being deleted" if holder.going else "it has not started")
            yield f"{name} waits for pod {holder.name}: {why}"
