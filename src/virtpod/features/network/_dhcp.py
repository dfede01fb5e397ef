"""The DHCP server that gives a guest its one address, as a process of the launcher."""

from __future__ import annotations

from collections.abc import Mapping

from virtpod.api.network import Interface
from virtpod.api.traits import hostname
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Guest, GuestLink
from virtpod.domain.steps import Announce, Run

ROUTER, HOSTNAME, MTU, SERVERS = "3", "12", "26", "6"
TIME_SERVERS, BOOT_SERVER, BOOT_FILE = "42", "66", "67"
SEARCHES, ROUTES = "119", "121"


def serve(
    vmi: VMI,
    nic: Interface,
    link: GuestLink,
    lease: tuple[str, str],
    options: Mapping[str, str],
    facts: Guest,
    *,
    only: str = "",
) -> Run:
    """`lease`: address and netmask; `options`: what the binding says of routes, by number.
    `only`: the MAC address that is answered, where others are heard as well."""
    told = {
        **options,
        SERVERS: ",".join(each for each in facts.nameservers if ":" not in each),
        HOSTNAME: hostname(vmi),
        MTU: str(link.mtu),
        SEARCHES: ",".join(domain for domain in facts.searches if domain.strip(".")),
        **_asked(nic),
    }
    address, mask = lease
    # Where others are heard, the bridge's own address is not of the guest's network either.
    strangers = (
        f"--shared-network={link.bridge},{address}",
        f"--dhcp-host={only},{address}",
        "--dhcp-ignore=tag:!known",
    )
    return Run(
        f"dhcp-{link.bridge}",
        (
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--log-facility=-",
            "--pid-file=",
            "--port=0",
            "--no-resolv",
            "--no-hosts",
            "--no-ping",
            "--leasefile-ro",
            "--bind-interfaces",
            f"--interface={link.bridge}",
            "--except-interface=lo",
            "--dhcp-authoritative",
            "--dhcp-broadcast",
            f"--dhcp-range={address},{address},{mask},infinite",
            *(strangers if only else ()),
            *(f"--dhcp-option-force={name},{value}" for name, value in told.items() if value),
        ),
    )


def announce(link: GuestLink, address: str, router: str, mac: str, facts: Guest) -> Announce:
    """`address`: the guest's of IPv6, CIDR notation; `router` and `mac`: the bridge's."""
    return Announce(
        link.bridge,
        announcer(link.bridge),
        router,
        mac,
        address,
        link.mtu,
        tuple(each for each in facts.nameservers if ":" in each),
        tuple(domain for domain in facts.searches if domain.strip(".")),
    )


def announcer(bridge: str) -> str:
    """The launcher's own tap device in a bridge."""
    return f"ra-{bridge.removeprefix('k6t-')}"


def _asked(nic: Interface) -> dict[str, str]:
    """The user's options; of the private ones the bytes, so that none is taken for a number."""
    given = nic.dhcp_options
    if given is None:
        return {}
    private = {
        str(each.option): ":".join(f"{byte:02x}" for byte in each.value.encode())
        if len(each.value.encode()) > 1
        else "".join(str(byte) for byte in each.value.encode())
        for each in given.private_options or ()
    }
    return {
        BOOT_SERVER: given.tftp_server_name or "",
        BOOT_FILE: given.boot_file_name or "",
        TIME_SERVERS: ",".join(given.ntp_servers or ()),
        **private,
    }
