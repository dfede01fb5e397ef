"""The guest's NUMA cells are those of the CPUs that it was given, with memory of the same node.

https://libvirt.org/formatdomain.html#numa-node-tuning
"""

from __future__ import annotations

from collections.abc import Iterator

from virtpod.api.traits import vcpus
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import DeviceMissing, Guest
from virtpod.domain.quantity import bytes_of
from virtpod.domain.xml import E, Element
from virtpod.features.contract import Feature

MIB = 2**20


def asked(vmi: VMI) -> bool:
    cpu = vmi.spec.domain.cpu
    return bool(cpu and cpu.numa and cpu.numa.guest_mapping_passthrough is not None)


def cells(vmi: VMI, facts: Guest) -> Iterator[tuple[int, list[int], int]]:
    """The node of the machine, virtual CPUs and bytes of each cell of the guest's. Raises
    DeviceMissing where there are fewer CPUs than virtual ones."""
    own = facts.cpus[: vcpus(vmi)] or tuple(range(vcpus(vmi)))
    if len(own) < vcpus(vmi):
        raise DeviceMissing(
            f"the pod has {len(own)} CPUs of its own, its guest wants {vcpus(vmi)}: does the "
            "kubelet run with the static CPU manager policy?"
        )
    found = []
    for node, cpus in sorted(facts.nodes.items() or ((0, own),)):
        if here := [index for index, cpu in enumerate(own) if cpu in cpus]:
            found.append((node, here))
    memory = vmi.spec.domain.memory
    assert memory is not None
    assert memory.guest is not None
    page = bytes_of(memory.hugepages.page_size or "") if memory.hugepages else MIB
    pages, rest = divmod(bytes_of(memory.guest), page)
    each, over = divmod(pages, len(found))
    for number, (node, here) in enumerate(found):
        size = (each + (number < over)) * page + (rest if number == 0 else 0)
        yield node, here, size


def tune(part: bool, vmi: VMI, facts: Guest, domain: Element) -> None:
    cpu = domain.find("cpu")
    assert cpu is not None
    drawn = list(cells(vmi, facts))
    cpu.append(
        E(
            "numa",
            *(
                E("cell", id=number, cpus=_list(here), memory=size, unit="b")
                for number, (_, here, size) in enumerate(drawn)
            ),
        )
    )
    nodes = _list([node for node, _, _ in drawn])
    bound = (
        E("memnode", cellid=number, mode="strict", nodeset=node)
        for number, (node, _, _) in enumerate(drawn)
    )
    tuned = E("numatune", E("memory", mode="strict", nodeset=nodes), *bound)
    domain.insert(list(domain).index(cpu), tuned)


def _list(numbers: list[int]) -> str:
    return ",".join(str(number) for number in numbers)


FEATURE = Feature(name="numa", owns=("domain.cpu.numa",), asked=asked, tune=tune)
