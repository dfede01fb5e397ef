"""Addresses of a VM's guest that are asked for at each start: remembered in an annotation of the
VM, which its user may write as well (docs/adrs/0013).

What is remembered is never changed by what a start brings: a guest that got another address is told
of in the condition AddressesKept, and the next start asks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from virtpod.controllers import conditions, lifecycle
from virtpod.controllers.conditions import Condition
from virtpod.controllers.lifecycle import ON_NODE
from virtpod.features.network._addresses import (
    ASKED,
    GIVEN,
    Addresses,
    keeps,
    plain,
    read,
    written,
)
from virtpod.kube.plan import Event, Patch, Reference
from virtpod.kube.plan import tests as tested
from virtpod.kube.resources import VMS, Obj, key_of

KEPT = "AddressesKept"
CHANGED = "AddressChanged"
REMEDY = (
    f"Look whether the network's IPAM takes addresses that are asked for, or take the annotation "
    f"{ASKED} away from the VM, so that it remembers what it has now."
)


def asked(vm: Obj) -> dict[str, str]:
    """The annotation that the next instance is made with."""
    annotations = vm["metadata"].get("annotations") or {}
    return {ASKED: annotations[ASKED]} if _concerned(vm) and ASKED in annotations else {}


def actions(vm: Obj, vmi: Obj | None) -> list[Patch]:
    """The patch that has the VM remember what was given on networks that it remembers nothing of;
    and forget those that it has left."""
    if vmi is None or not _concerned(vm):
        return []
    before = _asked(vm)
    networks = [each["name"] for each in _template(vm).get("spec", {}).get("networks") or ()]
    after = {**_given(vmi), **before}
    after = {name: addresses for name, addresses in after.items() if name in networks}
    if after == before:
        return []
    body = tested(vm, "/metadata/uid", "/metadata/annotations")
    annotations = {**(vm["metadata"].get("annotations") or {}), ASKED: written(after)}
    body.append({"op": "add", "path": "/metadata/annotations", "value": annotations})
    return [Patch(VMS, key_of(vm), body, "json")]


def condition(vm: Obj, vmi: Obj | None) -> Condition | None:
    """Whether the guest has what was asked for; None: nobody wants to know, or it is not known."""
    if vmi is None or not _concerned(vm) or lifecycle.phase_of(vmi) not in ON_NODE:
        return None
    wanted, given = _asked(vm), _given(vmi)
    wrong = [
        f"network {name} gave {', '.join(given[name])} in place of {', '.join(addresses)}"
        for name, addresses in sorted(wanted.items())
        if name in given and not {plain(each) for each in addresses} <= set(given[name])
    ]
    if wrong:
        return conditions.new(KEPT, "False", CHANGED, f"{'; '.join(wrong)}. {REMEDY}")
    if not given:
        return None
    told = "; ".join(f"{name}: {', '.join(each)}" for name, each in sorted(given.items()))
    return conditions.new(KEPT, "True", KEPT, told)


def events(vm: Obj, vmi: Obj | None) -> list[Event]:
    """Once for each address that was not kept."""
    now = condition(vm, vmi)
    before = conditions.find(conditions.of(vm), KEPT)
    if now is None or now["status"] == "True" or (before and conditions.same(before, now)):
        return []
    what = now["message"].removesuffix(f". {REMEDY}")
    return [lifecycle.warning(Reference.to(vm, VMS), CHANGED, what, REMEDY)]


def _template(vm: Obj) -> Mapping[str, Any]:
    return vm["spec"].get("template") or {}


def _concerned(vm: Obj) -> bool:
    return keeps((_template(vm).get("metadata") or {}).get("annotations"))


def _asked(vm: Obj) -> Addresses:
    return read(vm["metadata"].get("annotations"))


def _given(vmi: Obj) -> Addresses:
    return read(vmi["metadata"].get("annotations"), GIVEN)
