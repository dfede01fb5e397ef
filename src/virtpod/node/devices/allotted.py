"""Which devices of this node the resource claims of a pod were allotted: the launcher learns it
from the claim's driver, and from here where the driver tells nothing.

In this order: what the driver publishes of the device (ResourceSlice), and what the container was
given of it (CDI), which the kubelet names. Intel's driver for QAT publishes the services of its
functions only, and gives their VFIO groups.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/resource-claim-v1/
https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from virtpod.api.traits import claimed
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.controllers.node_seen import Pod
from virtpod.domain.attributes import SHAPES, device
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.resources import RESOURCE_CLAIMS, RESOURCE_SLICES, Key, Obj
from virtpod.node.devices import podresources
from virtpod.wire.messages import Allotted

log = logging.getLogger(__name__)

LARGEST = 4 * 1024 * 1024
"""Bytes of a CDI specification that are read."""
CDI = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""Where runtimes look for specifications; what is in the second goes first."""
GROUP = re.compile(r"/dev/vfio/([0-9]+)")
CDEV = re.compile(r"/dev/vfio/devices/(vfio[0-9]+)")
BRIDGES = "0x06"
VARIABLES = (
    (re.compile(r"MDEV_PCI_RESOURCE_\w+"), "mdev"),
    (re.compile(r"(PCI_RESOURCE|PCIDEVICE)_\w+|QAT[0-9]+"), "pci"),
)
"""In the environment of a container: what device plugins call the addresses, and DRA drivers too
that were made from them."""

Named = tuple[str, str]
"""Kind (pci or mdev) and address."""


@dataclass(frozen=True)
class Result:
    """A device that a request was allotted."""

    driver: str
    pool: str
    device: str


class Allotments:
    """Asked for a pod before its guest is started."""

    def __init__(
        self,
        client: Client,
        node: str,
        pod_resources: Path,
        sysfs: Path,
        cdi: tuple[Path, ...] = CDI,
    ) -> None:
        self._client = client
        self._node = node
        self._pod_resources = pod_resources
        self._sysfs = sysfs
        self._cdi = cdi

    async def of(self, vmi: VMI, pod: Pod) -> list[Allotted]:
        """What is known; a request of which nothing is known is left out. Nothing here fails: the
        launcher may know by itself."""
        wanted = claimed(vmi)
        if not wanted:
            return []
        names = {
            each.name: each.resource_claim_name or pod.claims.get(each.name, "")
            for each in vmi.spec.resource_claims or ()
        }
        found: list[Allotted] = []
        for name in dict.fromkeys(each.claim for each in wanted):
            try:
                claim = await self._client.get(RESOURCE_CLAIMS, Key(pod.namespace, names[name]))
                for request in dict.fromkeys(each.request for each in wanted if each.claim == name):
                    for result in results(claim, request):
                        for kind, address in await self._named(pod, names[name], result):
                            found.append(
                                Allotted(claim=name, request=request, kind=kind, address=address)
                            )
            except (errors.ApiError, KeyError) as error:
                log.warning(
                    "cannot look up what a resource claim was allotted",
                    extra={"claim": f"{pod.namespace}/{names.get(name)}", "error": str(error)},
                )
        return found

    async def _named(self, pod: Pod, claim: str, result: Result) -> list[Named]:
        fields = f"spec.nodeName={self._node},spec.driver={result.driver}"
        slices = await self._client.list(RESOURCE_SLICES, fields=fields)
        if named := published(slices.items, result):
            return [named]
        edits = specifications(self._cdi, await self._given(pod, claim, result))
        found: dict[Named, None] = {}
        for edit in edits:
            try:
                found |= dict.fromkeys(inside(edit, self._sysfs))
            except (AttributeError, TypeError) as error:
                log.warning(
                    "cannot understand a CDI specification",
                    extra={"device": result.device, "error": str(error)},
                )
        return list(found)

    async def _given(self, pod: Pod, claim: str, result: Result) -> list[str]:
        """The CDI names of what the kubelet has the container given for the device."""
        answer = await podresources.pods(self._pod_resources)
        if answer is None:
            return []
        return [
            cdi.name
            for each in answer.pod_resources
            if (each.namespace, each.name) == (pod.namespace, pod.name)
            for container in each.containers
            for dynamic in container.dynamic_resources
            if dynamic.claim_name == claim
            for one in dynamic.claim_resources
            if (one.driver_name, one.pool_name, one.device_name)
            == (result.driver, result.pool, result.device)
            for cdi in one.cdi_devices
        ]


def results(claim: Obj, request: str) -> list[Result]:
    """The devices that the request was allotted; one of several alternatives is called
    request/alternative."""
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return [
        Result(each["driver"], each["pool"], each["device"])
        for each in (allocation.get("devices") or {}).get("results") or ()
        if each["request"].partition("/")[0] == request
    ]


def published(slices: Iterable[Obj], result: Result) -> Named | None:
    """What the device's attributes say, in the pool's newest generation."""
    specs = [each["spec"] for each in slices if each["spec"]["pool"]["name"] == result.pool]
    newest = max((spec["pool"].get("generation") or 0 for spec in specs), default=0)
    for spec in specs:
        if (spec["pool"].get("generation") or 0) != newest or spec["driver"] != result.driver:
            continue
        for each in spec.get("devices") or ():
            if each["name"] == result.device:
                return device(each.get("attributes") or {})
    return None


def specifications(folders: Iterable[Path], names: Iterable[str]) -> list[Mapping[str, Any]]:
    """The edits of the container that each name (vendor/class=device) stands for."""
    wanted = list(names)
    found: dict[str, Mapping[str, Any]] = {}
    for folder in folders if wanted else ():
        for file in sorted(folder.glob("*")):
            if file.suffix not in (".json", ".yaml"):
                continue
            try:
                with file.open("rb") as opened:
                    spec = yaml.safe_load(opened.read(LARGEST))
                for each in spec.get("devices") or ():
                    found[f"{spec['kind']}={each['name']}"] = each.get("containerEdits") or {}
            except (
                OSError,
                ValueError,
                yaml.YAMLError,
                AttributeError,
                KeyError,
                TypeError,
                RecursionError,
            ):
                log.warning("cannot read a CDI specification", extra={"file": str(file)})
    return [found[name] for name in wanted if name in found]


def inside(edits: Mapping[str, Any], sysfs: Path) -> Iterator[Named]:
    """The devices that a container with these edits has. Raises AttributeError or TypeError of what
    are no edits."""
    for node in edits.get("deviceNodes") or ():
        path = str(node.get("hostPath") or node.get("path") or "")
        if group := GROUP.fullmatch(path):
            yield from _grouped(sysfs, group[1])
        elif cdev := CDEV.fullmatch(path):
            yield from _of_link(sysfs / "class/vfio-dev" / cdev[1] / "device")
    for said in edits.get("env") or ():
        name, _, value = str(said).partition("=")
        for pattern, kind in VARIABLES:
            if pattern.fullmatch(name):
                for each in value.lower().split(","):
                    if SHAPES[kind].fullmatch(each):
                        yield kind, each
                break


def _grouped(sysfs: Path, group: str) -> Iterator[Named]:
    """All of an IOMMU group; bridges are nobody's."""
    for each in sorted((sysfs / "kernel/iommu_groups" / group / "devices").glob("*")):
        kind = _kind(each.name)
        if kind and not _text(each / "class").startswith(BRIDGES):
            yield kind, each.name


def _of_link(link: Path) -> Iterator[Named]:
    try:
        name = link.readlink().name
    except OSError:
        return
    if kind := _kind(name):
        yield kind, name


def _kind(name: str) -> str:
    return next((kind for kind, shape in SHAPES.items() if shape.fullmatch(name)), "")


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")[:64]
    except OSError:
        return ""
