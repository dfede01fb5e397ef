"""Interfaces (what the guest sees) and networks (what they are joined to), matched by name."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import AtomicList, Int32, Wire
from virtpod.api.hostdevices import ClaimRequest


class DHCPPrivateOptions(Wire):
    value: str
    """Value of the option."""
    option: Int32
    """Number of the option, 224 to 254."""


class DHCPOptions(Wire):
    boot_file_name: str | None = None
    """File that the guest boots from the network (option 67)."""
    ntp_servers: list[str] | None = None
    """Addresses of time servers (option 42)."""
    private_options: list[DHCPPrivateOptions] | None = None
    """Options for private use."""
    tftp_server_name: str | None = None
    """Server of the boot file (option 66)."""


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
    """Name of the binding in the KubeVirt object."""


class Port(Wire):
    port: Int32
    """Number of the port."""
    name: str | None = None
    """Name of the port."""
    protocol: str | None = None
    """TCP (default) or UDP."""


class PortRange(Wire):
    start: Int32
    """First port."""
    protocol: str
    """TCP or UDP."""
    end: Int32
    """Last port."""


class Interface(Wire):
    name: str
    """Name of the interface and of its network."""
    acpi_index: Int32 | None = None
    """Number by which the guest names the interface, such as 1 for `eno1`."""
    binding: PluginBinding | None = None
    """A binding that somebody else supplies."""
    boot_order: Int32 | None = None
    """Place in the order of booting, from 1."""
    bridge: InterfaceBridge | None = None
    """The guest has the pod's address, by a bridge."""
    dhcp_options: DHCPOptions | None = None
    """What DHCP tells the guest beside its address."""
    mac_address: str | None = None
    """MAC address that the guest sees."""
    macvtap: DeprecatedInterfaceMacvtap | None = None
    """Gone from the reference; refused."""
    masquerade: InterfaceMasquerade | None = None
    """The guest has an address of its own behind the pod's, by NAT."""
    model: str | None = None
    """virtio (default), e1000, e1000e, igb, ne2k_pci, pcnet or rtl8139."""
    passt: DeprecatedInterfacePasst | None = None
    """Gone from the reference; refused."""
    passt_binding: InterfacePasstBinding | None = None
    """The guest shares the pod's address, by passt."""
    pci_address: str | None = None
    """Address on the guest's PCI bus."""
    port_ranges: AtomicList[PortRange] | None = None
    """Ranges of ports that reach the guest."""
    ports: list[Port] | None = None
    """Ports that reach the guest; all by default."""
    slirp: DeprecatedInterfaceSlirp | None = None
    """Gone from the reference; refused."""
    sriov: InterfaceSRIOV | None = None
    """A virtual function of the node's network card."""
    state: str | None = None
    """up (default), down or absent: the link, or that the interface is to be taken away."""
    tag: str | None = None
    """Tag that the guest reads in its metadata."""


class MultusNetwork(Wire):
    network_name: str
    """NetworkAttachmentDefinition, as `name` or `namespace/name`."""
    default: bool | None = None
    """Whether it is the pod's own network in place of the cluster's."""


class PodNetwork(Wire):
    vm_ipv6_network_cidr: str | None = field(default=None, name="vmIPv6NetworkCIDR")
    """IPv6 range of the guest with masquerade; fd10:0:2::/120 by default."""
    vm_network_cidr: str | None = field(default=None, name="vmNetworkCIDR")
    """IPv4 range of the guest with masquerade; 10.0.2.0/24 by default."""


class Network(Wire):
    name: str
    """Name that interfaces refer to."""
    multus: MultusNetwork | None = None
    """A network that Multus attaches."""
    pod: PodNetwork | None = None
    """The pod's network."""
    resource_claim: ClaimRequest | None = None
    """A network device of a claim of the spec's resourceClaims."""
