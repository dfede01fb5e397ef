"""Addresses that are to stay the same over restarts: the annotations that ask for them, and in
whose words an address is asked of which IPAM (docs/adrs/0013).

Sources: https://docs.tigera.io/calico/latest/networking/ipam/use-specific-ip, .../pod-mac-address,
https://kubeovn.github.io/docs/stable/en/guide/static-ip-mac/,
https://github.com/antrea-io/antrea/blob/main/docs/antrea-ipam.md,
https://www.cni.dev/docs/conventions/ (capability `ips`)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_interface

import msgspec

from virtpod.features.contract import Cause

KEEP = "virtpod.io/keep-addresses"
"""Of a VM's template, "true": the addresses that its guest has are asked for at each start."""
ASKED = "virtpod.io/addresses"
"""Of a VM: what is asked for, {network: [address]}; of a VMI: what was, when it was made."""
GIVEN = "virtpod.io/given-addresses"
"""Of a VMI: what its pod's networks gave, {network: [address]}."""
LONGEST = 16 * 1024
"""Characters of such an annotation."""

Addresses = dict[str, list[str]]


def keeps(annotations: Mapping[str, str] | None) -> bool:
    return (annotations or {}).get(KEEP) == "true"


def read(annotations: Mapping[str, str] | None, name: str = ASKED) -> Addresses:
    """Nothing where it cannot be read; who may change the object may have written it."""
    try:
        return _parsed((annotations or {}).get(name, "{}"))
    except ValueError:
        return {}


def written(addresses: Addresses) -> str:
    return msgspec.json.encode(addresses, order="sorted").decode()


def plain(address: str) -> str:
    """Without the length of its network's prefix, in the usual way of writing."""
    return str(ip_interface(address).ip)


def causes(annotations: Mapping[str, str] | None) -> Iterator[Cause]:
    """What is wrong with them; fields begin with metadata."""
    given = annotations or {}
    if KEEP in given and given[KEEP] not in ("true", "false"):
        yield Cause(
            f"metadata.annotations[{KEEP}]",
            f"metadata.annotations[{KEEP}]: {given[KEEP]!r} must be true or false",
        )
    try:
        _parsed(given.get(ASKED, "{}"))
    except ValueError as error:
        where = f"metadata.annotations[{ASKED}]"
        yield Cause(
            where, f'{where}: {error}; it is JSON like {{"default": ["10.0.0.7", "fd00::7"]}}'
        )


def _parsed(text: str) -> Addresses:
    """Raises ValueError."""
    if len(text) > LONGEST:
        raise ValueError(f"it has more than {LONGEST} characters")
    found = msgspec.json.decode(text, type=Addresses)
    for network, addresses in found.items():
        families = [ip_interface(address).version for address in addresses]
        if len(set(families)) < len(families):
            raise ValueError(f"network {network} can have one address of each family")
    return found


def of_ipams(addresses: list[str]) -> dict[str, str]:
    """How the pod's own network is asked: each IPAM reads its own annotation and no other, so that
    nobody need say which one there is."""
    bare = [plain(address) for address in addresses]
    four = [address for address in bare if ":" not in address]
    asked = {
        "cni.projectcalico.org/ipAddrs": msgspec.json.encode(bare).decode(),
        "ovn.kubernetes.io/ip_address": ",".join(bare),
        "ipam.antrea.io/pod-ips": ",".join(four),  # it knows no IPv6
    }
    return {name: value for name, value in asked.items() if value}


def of_cnis(mac: str) -> dict[str, str]:
    """How the pod's own network is asked for the MAC address of its link, by the same token."""
    return {"cni.projectcalico.org/hwAddr": mac, "ovn.kubernetes.io/mac_address": mac}
