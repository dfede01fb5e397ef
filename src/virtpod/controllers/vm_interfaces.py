"""Network interfaces of a VM that change while its instance runs: the template's are its own.

Cables (`state: up|down`) of all interfaces; cards of secondary networks by bridge or SR-IOV, that
come when they are in the template and go when it says `state: absent`. What else differs waits for
the next start (`revision.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from virtpod.controllers.lifecycle import ON_NODE, phase_of
from virtpod.kube.plan import Patch
from virtpod.kube.plan import tests as tested
from virtpod.kube.resources import VMIS, Obj, going, key_of

UP = (None, "", "up")
STAGE = "Stage"
"""The strategy by which nothing of a machine that runs is changed."""


def actions(vm: Obj, vmi: Obj | None, strategy: str | None) -> list[Patch]:
    """The patch that brings the template into the instance."""
    if vmi is None or strategy == STAGE or phase_of(vmi) not in ON_NODE:
        return []
    if going(vmi):
        return []
    template = (vm["spec"].get("template") or {}).get("spec") or {}
    interfaces, networks = _interfaces(vmi["spec"]), _networks(vmi["spec"])
    wanted = {nic["name"]: nic for nic in _interfaces(template)}
    after = [_followed(nic, wanted.get(nic["name"]), networks) for nic in interfaces]
    have = {nic["name"] for nic in interfaces}
    given = {network["name"]: network for network in _networks(template)}
    coming = [
        nic
        for name, nic in wanted.items()
        if name not in have and not _absent(nic) and comes_and_goes(nic, given.get(name))
    ]
    if after == interfaces and not coming:
        return []
    body = tested(vmi, "/metadata/uid", "/spec/networks", "/spec/domain/devices/interfaces")
    path = "/spec/domain/devices/interfaces"
    body.append({"op": "add", "path": path, "value": [*after, *coming]})
    if coming:
        joined = [*networks, *(given[nic["name"]] for nic in coming)]
        body.append({"op": "add", "path": "/spec/networks", "value": joined})
    return [Patch(VMIS, key_of(vmi), body, "json")]


def comes_and_goes(nic: Mapping[str, Any], network: Mapping[str, Any] | None) -> bool:
    """Whether a card can be plugged in and out of a guest that runs."""
    multus = (network or {}).get("multus")
    if not multus or multus.get("default"):
        return False
    return nic.get("bridge") is not None or nic.get("sriov") is not None


def permanent(spec: Mapping[str, Any]) -> Obj:
    """A template's spec without what can change: what is left needs a restart to."""
    networks = {network["name"]: network for network in _networks(spec)}
    moving = {
        nic["name"] for nic in _interfaces(spec) if comes_and_goes(nic, networks.get(nic["name"]))
    }
    domain = spec.get("domain") or {}
    devices = domain.get("devices") or {}
    if "interfaces" not in devices:
        return dict(spec)
    fixed = [
        {key: value for key, value in nic.items() if key != "state"}
        for nic in _interfaces(spec)
        if nic["name"] not in moving
    ]
    return {
        **spec,
        "networks": [network for name, network in networks.items() if name not in moving],
        "domain": {**domain, "devices": {**devices, "interfaces": fixed}},
    }


def _followed(nic: Obj, wanted: Mapping[str, Any] | None, networks: list[Obj]) -> Obj:
    if wanted is None or _state(nic) == _state(wanted):
        return nic
    network = next((each for each in networks if each["name"] == nic["name"]), None)
    if (_absent(wanted) or _absent(nic)) and not comes_and_goes(nic, network):
        return nic
    return {**nic, "state": _state(wanted)}


def _state(nic: Mapping[str, Any]) -> str:
    return "up" if nic.get("state") in UP else str(nic["state"])


def _absent(nic: Mapping[str, Any]) -> bool:
    return nic.get("state") == "absent"


def _interfaces(spec: Mapping[str, Any]) -> list[Obj]:
    return list(((spec.get("domain") or {}).get("devices") or {}).get("interfaces") or ())


def _networks(spec: Mapping[str, Any]) -> list[Obj]:
    return list(spec.get("networks") or ())
