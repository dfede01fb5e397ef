"""What all bindings have in common: pairing with a network, model, addresses, ports.

https://libvirt.org/formatdomain.html#network-interfaces
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from virtpod.api.network import (
    Interface,
    InterfaceBridge,
    InterfaceMasquerade,
    Network,
    PodNetwork,
)
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster
from virtpod.domain.xml import PCI_ADDRESS
from virtpod.features.contract import (
    DUPLICATE,
    NOT_FOUND,
    UNSUPPORTED,
    Cause,
    Feature,
    PodPart,
    always,
)
from virtpod.features.network import PRIMARY, SOURCES, WORKING, bindings, joined, names

MODELS = ("e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139", "virtio")
DISCONTINUED = ("slirp", "macvtap", "passt")
RESERVED_MAC = "02:00:00:00:00:00"
_NAME = re.compile(r"[A-Za-z0-9-_]{1,63}")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
STATES = (None, "", "up", "down", "absent")
MOST_ACPI_INDEX = 16383
MOST_RANGES = 10
PROTOCOLS = ("TCP", "UDP")
BASE = "spec.domain.devices.interfaces"


def attach(vmi: VMI, cluster: Cluster) -> None:
    """The pod's network for a guest that names none."""
    devices = vmi.spec.domain.devices
    if devices.interfaces or vmi.spec.networks or devices.autoattach_pod_interface is False:
        return
    network = cluster.config.network
    interface = Interface(name="default")
    if network and network.default_network_interface == "bridge":
        interface.bridge = InterfaceBridge()
    else:
        interface.masquerade = InterfaceMasquerade()
    devices.interfaces = [interface]
    vmi.spec.networks = [Network(name="default", pod=PodNetwork())]


def defaults(part: VMI, vmi: VMI, cluster: Cluster) -> None:
    attach(vmi, cluster)
    devices = vmi.spec.domain.devices
    if devices.autoattach_pod_interface is False:
        return
    for interface in devices.interfaces or ():
        for port in interface.ports or ():
            port.protocol = port.protocol or "TCP"


def validate(part: VMI, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    interfaces = vmi.spec.domain.devices.interfaces or []
    networks = vmi.spec.networks or []
    for what, field, items in (
        ("interfaces", BASE, interfaces),
        ("networks", "spec.networks", networks),
    ):
        if len(items) > 256:
            yield Cause(field, f"{field} must not have more than 256 items")
            return
        yield from _same_names(what, field, [item.name for item in items])
    names = {interface.name: interface for interface in interfaces}
    for index, network in enumerate(networks):
        where = f"spec.networks[{index}]"
        if network.name not in names:
            yield Cause(
                f"{where}.name",
                f"{where}.name '{network.name}' not found: add an interface of that name to "
                f"{BASE}, or take the network away",
                NOT_FOUND,
            )
        given = [kind for kind in SOURCES if getattr(network, kind) is not None]
        if len(given) > 1:
            yield Cause(where, f"{where} should have only one network type")
        elif not given:
            yield Cause(where, f"{where} should have a network type, such as pod: {{}}")
        elif network.resource_claim and (nic := names.get(network.name)) and not nic.sriov:
            yield Cause(
                f"{where}.resourceClaim",
                f"{where}.resourceClaim: the claim's device is the guest's own: interface "
                f"{nic.name} must have sriov: {{}}",
                UNSUPPORTED,
            )
    if sum(1 for network in networks if network.pod) > 1:
        yield Cause("spec.networks", "more than one interface is connected to a pod network")
    yield from _validate_boot(interfaces)
    known = {network.name for network in networks}
    for index, interface in enumerate(interfaces):
        if interface.name not in known:
            where = f"{BASE}[{index}].name"
            yield Cause(
                where,
                f"{where} '{interface.name}' not found: add a network of that name to "
                "spec.networks, or take the interface away",
                NOT_FOUND,
            )
        yield from _validate_interface(f"{BASE}[{index}]", interface)
        yield from _validate_absent(f"{BASE}[{index}].state", interface, networks)


def _validate_boot(interfaces: Sequence[Interface]) -> Iterable[Cause]:
    taken: set[int] = set()
    for index, interface in enumerate(interfaces):
        where, order = f"{BASE}[{index}]", interface.boot_order
        if order is None:
            continue
        if order < 1:
            yield Cause(f"{where}.bootOrder", f"{where} must have a boot order > 0, if supplied")
        elif order in taken:
            yield Cause(
                f"{where}.bootOrder",
                f"Boot order for {where}.bootOrder already set for a different device.",
                DUPLICATE,
            )
        taken.add(order)


def _same_names(what: str, field: str, names: list[str]) -> Iterable[Cause]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield Cause(
                f"{field}[{index}].name",
                f"Only one of the {what} can have the name {name!r}.",
                DUPLICATE,
            )
        seen.add(name)


def _validate_interface(where: str, interface: Interface) -> Iterable[Cause]:
    if not _NAME.fullmatch(interface.name):
        yield Cause(
            f"{where}.name",
            "Network interface name can only contain alphabetical characters, numbers, "
            "dashes (-) or underscores (_)",
        )
    given = bindings(interface)
    if len(given) != 1:
        yield Cause(where, f"{where} must have exactly one binding method or binding plugin")
    elif given[0] in DISCONTINUED:
        yield Cause(
            f"{where}.{given[0]}",
            f"{where}: binding {given[0]} is discontinued; use masquerade",
            UNSUPPORTED,
        )
    elif given[0] not in WORKING:
        yield Cause(
            where,
            f"{where}: binding {given[0].removesuffix('_binding')} cannot be made by this version; "
            "use masquerade",
            UNSUPPORTED,
        )
    if interface.model and interface.model not in MODELS:
        yield Cause(
            f"{where}.model",
            f"interface {where}.name uses model {interface.model} that is not supported; "
            f"one of {', '.join(MODELS)}",
            UNSUPPORTED,
        )
    if interface.mac_address:
        if not _MAC.fullmatch(interface.mac_address):
            yield Cause(
                f"{where}.macAddress",
                f"interface {where}.name has malformed MAC address ({interface.mac_address}); "
                "it is like 02:00:5e:00:00:07",
            )
        elif int(interface.mac_address[:2], 16) & 1:
            yield Cause(
                f"{where}.macAddress",
                f"interface {where}.name has a multicast MAC address ({interface.mac_address}); "
                "the first of its bytes must be even",
            )
        elif interface.masquerade and interface.mac_address.replace("-", ":") == RESERVED_MAC:
            yield Cause(
                f"{where}.macAddress",
                "The requested MAC address is reserved for the in-pod bridge. "
                "Please choose another one.",
            )
    if interface.pci_address and not PCI_ADDRESS.fullmatch(interface.pci_address):
        yield Cause(
            f"{where}.pciAddress",
            f"interface {where}.name has malformed PCI address ({interface.pci_address}); "
            "it is like 0000:81:01.0",
        )
    if interface.acpi_index is not None and not 0 < interface.acpi_index <= MOST_ACPI_INDEX:
        yield Cause(f"{where}.acpiIndex", f"{where}.acpiIndex must be from 1 to {MOST_ACPI_INDEX}")
    if interface.state not in STATES:
        yield Cause(
            f"{where}.state",
            f"{where}.state {interface.state!r} is not known; one of up, down, absent",
            UNSUPPORTED,
        )
    elif interface.state == "absent" and not (interface.bridge or interface.sriov):
        yield Cause(
            f"{where}.state",
            f"{where}.state absent: an interface with binding bridge can be taken away, and no "
            "other; use down",
        )
    yield from _validate_ports(where, interface)


def _validate_absent(
    where: str, interface: Interface, networks: Sequence[Network]
) -> Iterable[Cause]:
    joins = next((each for each in networks if each.name == interface.name), None)
    if interface.bridge and interface.state == "absent" and joins and names(joins) == PRIMARY:
        yield Cause(
            where,
            f"{where} absent: the interface of the pod network cannot be taken away; use down",
        )


def _validate_ports(where: str, interface: Interface) -> Iterable[Cause]:
    names: set[str] = set()
    for index, port in enumerate(interface.ports or ()):
        at = f"{where}.ports[{index}]"
        if not 0 < port.port < 65536:
            yield Cause(at, "Port field must be in range 0 < x < 65536.")
        if port.protocol not in (None, "", *PROTOCOLS):
            yield Cause(f"{at}.protocol", "Unknown protocol, only TCP or UDP allowed", UNSUPPORTED)
        if port.name:
            if not _PORT_NAME.fullmatch(port.name):
                yield Cause(f"{at}.name", f"Invalid name of the port: {port.name}")
            if port.name in names:
                yield Cause(f"{at}.name", f"Duplicate name of the port: {port.name}", DUPLICATE)
            names.add(port.name)
    if interface.port_ranges and not (interface.masquerade or interface.passt_binding):
        at = f"{where}.portRanges"
        yield Cause(at, f"{at}: ranges of ports can be had with masquerade and passt", UNSUPPORTED)
    if len(interface.port_ranges or ()) > MOST_RANGES:
        yield Cause(f"{where}.portRanges", f"{where}.portRanges must not have more than 10 items")
    for index, span in enumerate(interface.port_ranges or ()):
        at = f"{where}.portRanges[{index}]"
        if not 0 < span.start <= span.end < 65536:
            yield Cause(at, f"{at}: start and end must be from 1 to 65535, start not above end")
        if span.protocol not in PROTOCOLS:
            yield Cause(f"{at}.protocol", "Unknown protocol, only TCP or UDP allowed", UNSUPPORTED)


def pod(part: VMI, vmi: VMI, cluster: Cluster) -> PodPart:
    pairs = list(joined(vmi))
    if not pairs:
        return PodPart()
    devices = {"devices.kubevirt.io/tun": "1"}
    developer = cluster.config.developer_configuration
    emulated = bool(developer and developer.use_emulation)
    if not emulated and any(i.model in (None, "", "virtio") for _, i, _ in pairs):
        devices["devices.kubevirt.io/vhost-net"] = "1"
    return PodPart(limits=devices)


FEATURE = Feature(
    name="interface",
    owns=(
        "networks.name",
        "domain.devices.autoattachPodInterface",
        "domain.devices.interfaces.name",
        "domain.devices.interfaces.model",
        "domain.devices.interfaces.macAddress",
        "domain.devices.interfaces.bootOrder",
        "domain.devices.interfaces.acpiIndex",
        "domain.devices.interfaces.pciAddress",
        "domain.devices.interfaces.state",
        *(f"domain.devices.interfaces.{binding}" for binding in DISCONTINUED),
    ),
    asked=always,
    defaults=defaults,
    validate=validate,
    pod=pod,
)
