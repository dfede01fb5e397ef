"""What DHCP tells the guest beside its address: boot file, time servers, private options.

https://www.iana.org/assignments/bootp-dhcp-parameters
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import AddressValueError, IPv4Address

from virtpod.api.network import DHCPOptions
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster
from virtpod.features.contract import DUPLICATE, Cause, Feature
from virtpod.features.network import joined

PRIVATE = range(224, 255)
LONGEST = 255
"""Bytes of an option."""
PLAIN = re.compile(r"[!-+\--~]{1,255}")
"""Printable, with neither blank nor comma, which separates a server's options."""

Part = list[tuple[str, DHCPOptions]]


def asked(vmi: VMI) -> Part:
    """By path."""
    return [
        (f"spec.domain.devices.interfaces[{index}].dhcpOptions", nic.dhcp_options)
        for index, nic, _ in joined(vmi)
        if nic.dhcp_options
    ]


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    for where, options in part:
        for name, value in (
            ("bootFileName", options.boot_file_name),
            ("tftpServerName", options.tftp_server_name),
        ):
            if value and not PLAIN.fullmatch(value):
                path = f"{where}.{name}"
                yield Cause(
                    path, f"{path} must have no blank, no comma and at most {LONGEST} bytes"
                )
        for index, server in enumerate(options.ntp_servers or ()):
            try:
                IPv4Address(server)
            except AddressValueError:
                path = f"{where}.ntpServers[{index}]"
                yield Cause(path, f"{path}: NTP servers must be IPv4 addresses, {server!r} is none")
        yield from _private(where, options)


def _private(where: str, options: DHCPOptions) -> Iterator[Cause]:
    seen: set[int] = set()
    for index, each in enumerate(options.private_options or ()):
        path = f"{where}.privateOptions[{index}]"
        if each.option not in PRIVATE:
            yield Cause(
                f"{path}.option",
                f"{path}.option: private DHCP options are {PRIVATE[0]} to {PRIVATE[-1]}",
            )
        if each.option in seen:
            yield Cause(f"{path}.option", f"{path}.option {each.option} is given twice", DUPLICATE)
        seen.add(each.option)
        if not 0 < len(each.value.encode()) <= LONGEST:
            yield Cause(f"{path}.value", f"{path}.value must have 1 to {LONGEST} bytes")


FEATURE = Feature(
    name="dhcp_options",
    owns=("domain.devices.interfaces.dhcpOptions",),
    asked=asked,
    validate=validate,
)
