"""Which devices resource claims were allotted: their drivers say it in files of this container.

A file is a stream of JSON objects that mean the same, newest version first. What no file tells the
node may know (`Sync.allotted`): the claim's driver need not write any. No guest gets a part of what
its request was allotted because a file cannot be read.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/ (device
metadata, KEP-5304), https://kubernetes.io/docs/reference/node/dra-standard-device-attributes/
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtpod.api.traits import Claimed, claimed
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.attributes import device
from virtpod.domain.facts import GivenDevice
from virtpod.launcher.given import described
from virtpod.launcher.log import log
from virtpod.wire.messages import Allotted

VERSIONS = ("metadata.resource.k8s.io/v1alpha1", "metadata.resource.k8s.io/v1beta1")
"""Those whose fields we know. Others are passed over."""
LARGEST = 1024 * 1024
"""Bytes of a file that are read."""
MOST = 64
"""More files than these no request has: one for each of its drivers."""


def devices(
    vmi: VMI,
    known: Sequence[Allotted],
    folder: Path = Path(paths.CLAIMED_DEVICES),
    sysfs: Path = Path("/sys"),
) -> dict[str, tuple[GivenDevice, ...]]:
    """By `Claimed.key`: the devices of each request, in the drivers' order. A request that nobody
    tells of is left out."""
    found = {}
    for asked in claimed(vmi):
        place = _place(vmi, asked, folder)
        told = _told(place, asked.request) if place else Told()
        those = told.devices
        if told.broken or told.nameless or not those:
            from_node = [
                (each.kind, each.address)
                for each in known
                if (each.claim, each.request) == (asked.claim, asked.request)
            ]
            those = from_node if told.broken else max(those, from_node, key=len)
        if those:
            found[asked.key] = tuple(
                described(kind, address, sysfs) for kind, address in dict.fromkeys(those)
            )
    return found


def _place(vmi: VMI, asked: Claimed, folder: Path) -> Path | None:
    """Where the request's files are. Claims made from a template have a name that nobody knows
    before; their folder is called as the pod calls them."""
    for claim in vmi.spec.resource_claims or ():
        if claim.name != asked.claim:
            continue
        if claim.resource_claim_name:
            return folder / "resourceclaims" / claim.resource_claim_name / asked.request
        return folder / "resourceclaimtemplates" / claim.name / asked.request
    return None


@dataclass
class Told:
    """What the files of a request say."""

    devices: list[tuple[str, str]] = field(default_factory=list)
    """Kind and address of each device that can be a guest's."""
    nameless: bool = False
    """There are others, of which no attribute says which they are."""
    broken: bool = False
    """A file says nothing, or nothing that makes sense; its driver may be about to write it."""


def _told(place: Path, request: str) -> Told:
    told = Told()
    for file in sorted(place.glob("*-metadata.json"))[:MOST]:
        try:
            with file.open("rb") as opened:
                metadata = _first(opened.read(LARGEST).decode())
            named = [
                device(one.get("attributes") or {})
                for each in metadata.get("requests") or []
                # One of several alternatives is called request/alternative.
                if str(each["name"]).partition("/")[0] == request
                for one in each.get("devices") or []
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log("cannot read a claim's metadata", file=str(file), error=repr(error))
            told.broken = True
        else:
            told.devices += [each for each in named if each]
            told.nameless = told.nameless or None in named
    return told


def _first(text: str) -> dict[str, Any]:
    """The first object of a version that we know. Raises ValueError."""
    decoder, seen = json.JSONDecoder(), []
    while text := text.lstrip():
        found, end = decoder.raw_decode(text)
        if found["apiVersion"] in VERSIONS:
            return dict(found)
        seen.append(found["apiVersion"])
        text = text[end:]
    raise ValueError(f"no version that we know; there are {', '.join(map(str, seen)) or 'none'}")
