"""passt: the guest shares the pod's address, without NAT and without privilege.

A process beside QEMU, which libvirt starts, speaks Ethernet with the guest and opens sockets in the
pod: what the guest sends comes from a process of the pod like any other, so that service meshes and
policies see what they know. Ports that are not forwarded do not reach the guest. Ping works, where
the pod's user may ping.

https://passt.top, https://libvirt.org/formatdomain.html#vhost-user-connection-with-passt-backend
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtpod.api.network import Interface, Network
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain import paths
from virtpod.domain.facts import Cluster, Guest, Host
from virtpod.domain.seccomp import PROFILE
from virtpod.domain.sharing import share_memory
from virtpod.domain.steps import HostStep, Sysctl
from virtpod.domain.xml import E, Element
from virtpod.features.contract import UNSUPPORTED, Cause, Feature, Json, PodPart
from virtpod.features.network import PRIMARY, at, card, joined, seen_as
from virtpod.wire.messages import DomainChanged

GATE = "PasstBinding"
LOG = "/var/run/kubevirt/passt.log"
OVERHEAD = 250 * 1024 * 1024
"""Bytes: what the reference reckons for it, mostly buffers of sockets."""

Part = tuple[int, Interface, Network]


def asked(vmi: VMI) -> Part | None:
    return next(((i, nic, net) for i, nic, net in joined(vmi) if nic.passt_binding), None)


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    index, nic, network = part
    where = f"spec.domain.devices.interfaces[{index}]"
    if GATE not in cluster.gates:
        yield Cause(f"{where}.passtBinding", f"{GATE} feature gate is not enabled", UNSUPPORTED)
    if not network.pod:
        yield Cause(f"{where}.name", "Passt interface only implemented with pod network")
    if nic.model not in (None, "", "virtio"):
        yield Cause(
            f"{where}.model",
            f"{where}.model: passt serves model virtio alone; masquerade has others",
            UNSUPPORTED,
        )


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    allowed = {"type": "Localhost", "localhostProfile": PROFILE}
    return PodPart(overhead=OVERHEAD, security={"seccompProfile": allowed})


def host(part: Part, vmi: VMI, facts: Host) -> Iterable[HostStep]:
    yield Sysctl("net.ipv4.ip_unprivileged_port_start", "0")
    yield Sysctl("net.ipv4.ping_group_range", f"{paths.QEMU_UID} {paths.QEMU_UID}")


def devices(part: Part, vmi: VMI, facts: Guest) -> Iterable[Element]:
    _, nic, network = part
    yield E(
        "interface",
        *card(vmi, nic),
        E("source", dev=at(facts, network).device or PRIMARY.pod),
        E("backend", type="passt", logFile=LOG),
        *_forwards(nic),
        type="vhostuser",
    )


def _forwards(nic: Interface) -> Iterator[Element]:
    """The ports that passt listens on; all, where none is listed."""
    listed = bool(nic.ports or nic.port_ranges)
    for protocol in ("tcp", "udp"):
        ranges = [
            E("range", start=port.port)
            for port in nic.ports or ()
            if (port.protocol or "TCP").lower() == protocol
        ]
        ranges += [
            E("range", start=span.start, end=span.end)
            for span in nic.port_ranges or ()
            if span.protocol.lower() == protocol
        ]
        if ranges or not listed:
            yield E("portForward", *ranges, proto=protocol)


def tune(part: Part, vmi: VMI, facts: Guest, domain: Element) -> None:
    share_memory(domain)


def observe(part: Part, vmi: VMI, domain: DomainChanged) -> Json:
    return {"interfaces": [seen_as(part[1], vmi, domain, PRIMARY.pod)]}


FEATURE = Feature(
    name="passt",
    owns=("domain.devices.interfaces.passtBinding",),
    asked=asked,
    validate=validate,
    pod=pod,
    host=host,
    devices=devices,
    tune=tune,
    observe=observe,
)
