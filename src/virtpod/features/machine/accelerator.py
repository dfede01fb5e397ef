"""KVM, or QEMU's own translator where the cluster says so.

https://libvirt.org/formatdomain.html#element-and-attribute-overview
"""

from __future__ import annotations

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, Guest
from virtpod.domain.xml import Element
from virtpod.features.contract import Feature, PodPart, always


def pod(part: VMI, vmi: VMI, cluster: Cluster) -> PodPart:
    developer = cluster.config.developer_configuration
    if developer and developer.use_emulation:
        return PodPart()
    return PodPart(limits={"devices.kubevirt.io/kvm": "1"})


def tune(part: VMI, vmi: VMI, facts: Guest, domain: Element) -> None:
    domain.set("type", "qemu" if facts.emulation else "kvm")


FEATURE = Feature(name="accelerator", owns=(), asked=always, pod=pod, tune=tune)
