"""Devices of the node that a VM's template gets and loses while its instance runs.

Those that were in the template at the start came with the pod, which keeps them until it ends.
What is new comes by a pod of its own (`attached_devices.py`), and can go again; the instance's
annotation `PLUGGED_DEVICES` tells them apart. A claim's device and a GPU wait for the next start
(`revision.py`), and so does another device of a name that the pod brought.

A device of the same name and another resource is another device: the old one goes first, and the
new one comes when the guest has let go of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from virtpod.api.traits import PLUGGED_DEVICES, plugged
from virtpod.controllers.lifecycle import ON_NODE, phase_of
from virtpod.controllers.vm_interfaces import STAGE
from virtpod.kube.plan import Patch, pointer
from virtpod.kube.plan import tests as tested
from virtpod.kube.resources import VMIS, Obj, going, key_of

PATH = "/spec/domain/devices/hostDevices"
NAME = re.compile(r"[A-Za-z0-9_-]+")
"""What libvirt takes for a device's alias, by which it is found again."""


def actions(vm: Obj, vmi: Obj | None, strategy: str | None) -> list[Patch]:
    """The patch that brings the template into the instance."""
    if vmi is None or strategy == STAGE or phase_of(vmi) not in ON_NODE:
        return []
    if going(vmi):
        return []
    template = (vm["spec"].get("template") or {}).get("spec") or {}
    wanted = {each["name"]: each for each in _devices(template)}
    have = _devices(vmi["spec"])
    annotations = vmi["metadata"].get("annotations") or {}
    late = plugged(annotations)
    staying = [
        each for each in have if each["name"] not in late or wanted.get(each["name"]) == each
    ]
    there = {each["name"] for each in have}
    coming = [each for name, each in wanted.items() if name not in there and comes_and_goes(each)]
    after = [*staying, *coming]
    if after == have:
        return []
    names = [each["name"] for each in after if each["name"] in late or each in coming]
    where = pointer("metadata", "annotations", PLUGGED_DEVICES)
    body = tested(vmi, "/metadata/uid", PATH, where)
    body.append({"op": "add", "path": PATH, "value": after})
    if not annotations:
        body.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    body.append({"op": "add", "path": where, "value": ",".join(names)})
    return [Patch(VMIS, key_of(vmi), body, "json")]


def comes_and_goes(device: Mapping[str, Any]) -> bool:
    """Whether a pod of its own can bring it."""
    named = NAME.fullmatch(device.get("name") or "") and device.get("deviceName")
    return bool(named) and not device.get("claimName")


def permanent(spec: Mapping[str, Any], started: Mapping[str, Any]) -> Obj:
    """A template's spec without the devices that have come since the one that the instance was
    `started` from: what is left needs a restart to change."""
    if "hostDevices" not in ((spec.get("domain") or {}).get("devices") or {}):
        return dict(spec)
    first = {each["name"] for each in _devices(started)}
    left = [each for each in _devices(spec) if each["name"] in first or not comes_and_goes(each)]
    domain = spec["domain"]
    devices = {**domain["devices"], "hostDevices": left}
    filled = {key: value for key, value in devices.items() if value or key != "hostDevices"}
    return {**spec, "domain": {**domain, "devices": filled}}


def _devices(spec: Mapping[str, Any]) -> list[Obj]:
    return list(((spec.get("domain") or {}).get("devices") or {}).get("hostDevices") or ())
