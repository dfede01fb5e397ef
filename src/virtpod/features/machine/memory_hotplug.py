"""Memory that can be added while the guest runs: an empty virtio-mem device, as large as the rest.

https://libvirt.org/formatdomain.html#memory-devices
https://virtio-mem.gitlab.io/
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.traits import dedicated, vcpus
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.quantity import bytes_of
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature

WHERE = "spec.domain.memory.maxGuest"
BLOCK = 2 * 2**20
"""Bytes that memory comes and goes in: a large page of most architectures."""
ALIAS = "ua-hotplugged-memory"


def asked(vmi: VMI) -> bool:
    memory = vmi.spec.domain.memory
    return bool(memory and memory.max_guest is not None)


def sizes(vmi: VMI) -> tuple[int, int]:
    """Bytes at the start, and at most. Raises ValueError."""
    memory = vmi.spec.domain.memory
    assert memory is not None
    assert memory.max_guest is not None
    return bytes_of(memory.guest or "0"), bytes_of(memory.max_guest)


def block(vmi: VMI) -> int:
    """Bytes of one block, as large as the pages that it is made of."""
    memory = vmi.spec.domain.memory
    page = memory and memory.hugepages and memory.hugepages.page_size
    return max(BLOCK, bytes_of(page) if page else 0)


def validate(part: bool, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    try:
        guest, most = sizes(vmi)
        unit = block(vmi)
    except ValueError as error:
        yield Cause(WHERE, f"{WHERE}: {error}")
        return
    if most < guest:
        message = f"{WHERE} must not be less than spec.domain.memory.guest"
        yield Cause(WHERE, message)
    if most == guest:
        return
    for field, size in (("spec.domain.memory.guest", guest), (WHERE, most)):
        if size % unit:
            yield Cause(field, f"{field} must be a multiple of {unit // 2**20}Mi for hotplug")
    if vmi.spec.architecture == "s390x":
        yield Cause(WHERE, f"{WHERE}: memory cannot be added on s390x", UNSUPPORTED)
    for what, set_ in (
        ("launchSecurity", vmi.spec.domain.launch_security is not None),
        ("cpu.numa", bool(vmi.spec.domain.cpu and vmi.spec.domain.cpu.numa)),
        ("cpu.realtime", bool(vmi.spec.domain.cpu and vmi.spec.domain.cpu.realtime)),
        ("cpu.dedicatedCpuPlacement", dedicated(vmi)),
    ):
        if set_:
            yield Cause(WHERE, f"{WHERE} does not go with spec.domain.{what}", UNSUPPORTED)


def tune(part: bool, vmi: VMI, facts: Guest, domain: Element) -> None:
    guest, most = sizes(vmi)
    memory, cpu, devices = (domain.find(tag) for tag in ("memory", "cpu", "devices"))
    if most <= guest or memory is None or cpu is None or devices is None:
        return
    domain.insert(list(domain).index(memory), E("maxMemory", str(most), unit="b"))
    last = int(domain.findtext("vcpu") or vcpus(vmi)) - 1
    cell = E("cell", id=0, cpus=f"0-{last}" if last else "0", memory=guest, unit="b")
    cpu.append(E("numa", cell))
    devices.append(
        E(
            "memory",
            E(
                "target",
                E("size", str(most - guest), unit="b"),
                E("node", "0"),
                E("block", str(block(vmi)), unit="b"),
                E("requested", "0", unit="b"),
            ),
            E("alias", name=ALIAS),
            model="virtio-mem",
        )
    )


FEATURE = Feature(
    name="memory_hotplug",
    owns=("domain.memory.maxGuest",),
    asked=asked,
    validate=validate,
    tune=tune,
)
