"""Interfaces (what the guest sees) and networks (what they are joined to), matched by name."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Int32, Wire
from virtpod.api.hostdevices import ClaimRequest


class DHCPPrivateOptions(Wire):
    value: str
    option: Int32


class DHCPOptions(Wire):
    boot_file_name: str | None = None
    ntp_servers: list[str] | None = None
    private_options: list[DHCPPrivateOptions] | None = None
    tftp_server_name: str | None = None


class DeprecatedInterfaceMacvtap(Wire):
    pass


class DeprecatedInterfacePasst(Wire):
    pass


class DeprecatedInterfaceSlirp(Wire):
    pass


class InterfaceBridge(Wire):
    pass


class InterfaceMasquerade(Wire):
    pass


class InterfacePasstBinding(Wire):
    pass


class InterfaceSRIOV(Wire):
    pass


class PluginBinding(Wire):
    name: str


class Port(Wire):
    port: Int32
    name: str | None = None
    protocol: str | None = None


class PortRange(Wire):
    start: Int32
    protocol: str
    end: Int32


class Interface(Wire):
    name: str
    acpi_index: Int32 | None = None
    binding: PluginBinding | None = None
    boot_order: Int32 | None = None
    bridge: InterfaceBridge | None = None
    dhcp_options: DHCPOptions | None = None
    mac_address: str | None = None
    macvtap: DeprecatedInterfaceMacvtap | None = None
    masquerade: InterfaceMasquerade | None = None
    model: str | None = None
    passt: DeprecatedInterfacePasst | None = None
    passt_binding: InterfacePasstBinding | None = None
    pci_address: str | None = None
    port_ranges: AtomicList[PortRange] | None = None
    ports: list[Port] | None = None
    slirp: DeprecatedInterfaceSlirp | None = None
    sriov: InterfaceSRIOV | None = None
    state: str | None = None
    tag: str | None = None


class MultusNetwork(Wire):
    network_name: str
    default: bool | None = None


class PodNetwork(Wire):
    vm_ipv6_network_cidr: str | None = field(default=None, name="vmIPv6NetworkCIDR")
    vm_network_cidr: str | None = field(default=None, name="vmNetworkCIDR")


class Network(Wire):
    name: str
    multus: MultusNetwork | None = None
    pod: PodNetwork | None = None
    resource_claim: ClaimRequest | None = None
