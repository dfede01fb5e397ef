"""Devices by resource claims: Kubernetes allots them (DRA), the guest's devices name them.

The pod has the spec's claims, and its compute container what devices and networks ask for out of
them. Which device it became is told by the claim's driver (`launcher/allotted.py`).

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
https://github.com/kubevirt/enhancements/blob/main/veps/sig-compute/10-dra-devices/vep.md
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from virtpod.api.traits import Claimed, claimed
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.api.vmi import VirtualMachineInstanceResourceClaim as Claim
from virtpod.domain.facts import Cluster
from virtpod.features.contract import (
    DUPLICATE,
    NOT_FOUND,
    REQUIRED,
    UNSUPPORTED,
    Cause,
    Feature,
    Json,
    PodPart,
)

GATES = {
    "GPU": "GPUsWithDRA",
    "HostDevice": "HostDevicesWithDRA",
    "network": "NetworkDevicesWithDRA",
}
"""By what asks for a device: the feature gate without which it may not."""
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

Part = tuple[list[Claim], list[Claimed]]


def asked(vmi: VMI) -> Part | None:
    part = list(vmi.spec.resource_claims or ()), claimed(vmi)
    return part if any(part) else None


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    claims, devices = part
    known: set[str] = set()
    for index, claim in enumerate(claims):
        where = f"spec.resourceClaims[{index}]"
        yield from _validate_claim(where, claim)
        if claim.name in known:
            message = f"duplicate resourceClaims name {claim.name!r}: a claim is named once"
            yield Cause(f"{where}.name", message, DUPLICATE)
        known.add(claim.name)
    taken: dict[tuple[str, str, str], str] = {}
    shared = {claim.name: claim.resource_claim_name or "" for claim in claims}
    for device in devices:
        yield from _validate_device(device, known, cluster)
        if not (device.claim and device.request):
            continue
        # Two of the pod's names may be of one ResourceClaim.
        same = shared.get(device.claim, "")
        pair = (same, "" if same else device.claim, device.request)
        if first := taken.get(pair):
            message = (
                f"duplicate claimName/requestName pair {device.key!r}: {first} has this device "
                "already; add a request to the claim for another one"
            )
            yield Cause(device.where, message, DUPLICATE)
        taken.setdefault(pair, device.where)


def _validate_claim(where: str, claim: Claim) -> Iterable[Cause]:
    if not NAME.fullmatch(claim.name):
        message = f"{where}.name {claim.name!r} must be a DNS label, such as crypto"
        yield Cause(f"{where}.name", message, REQUIRED if not claim.name else "FieldValueInvalid")
    if bool(claim.resource_claim_name) == bool(claim.resource_claim_template_name):
        yield Cause(
            where,
            f"{where} must have exactly one of resourceClaimName, of a ResourceClaim in the "
            "namespace, and resourceClaimTemplateName, of a ResourceClaimTemplate",
        )


def _validate_device(device: Claimed, known: set[str], cluster: Cluster) -> Iterable[Cause]:
    gate = GATES[device.kind]
    if gate not in cluster.gates:
        message = f"{device.where} is a DRA {device.kind} but {gate} feature gate is not enabled"
        yield Cause(device.where, message, UNSUPPORTED)
        return
    for field, value in (("claimName", device.claim), ("requestName", device.request)):
        if not value:
            message = f"{field} is required for DRA {device.kind}"
            yield Cause(f"{device.where}.{field}", message, REQUIRED)
    if device.claim and device.claim not in known:
        yield Cause(
            "spec.resourceClaims",
            "spec.resourceClaims must specify all claims that devices and networks use: "
            f"{device.claim!r} of {device.where} is not there",
            NOT_FOUND,
        )


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    claims, devices = part
    spec = {"resourceClaims": [_in_pod(claim) for claim in claims]} if claims else {}
    return PodPart(
        spec=spec,
        claims=tuple({"name": device.claim, "request": device.request} for device in devices),
    )


def _in_pod(claim: Claim) -> Json:
    if claim.resource_claim_name:
        return {"name": claim.name, "resourceClaimName": claim.resource_claim_name}
    return {"name": claim.name, "resourceClaimTemplateName": claim.resource_claim_template_name}


FEATURE = Feature(
    name="resource_claims",
    owns=(
        "resourceClaims",
        "domain.devices.gpus.claimName",
        "domain.devices.gpus.requestName",
        "domain.devices.hostDevices.claimName",
        "domain.devices.hostDevices.requestName",
    ),
    asked=asked,
    validate=validate,
    pod=pod,
)
