"""The guest's names: host name, subdomain, and how the pod looks names up.

https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import msgspec

from virtpod.api.traits import hostname
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster
from virtpod.features.contract import REQUIRED, UNSUPPORTED, Cause, Feature, PodPart, always

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
SEARCHES, SEARCH_LENGTH = 6, 256
"""Domains, and characters with a blank after each: what a resolver takes at least."""
POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")


def validate(part: VMI, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    spec = vmi.spec
    if spec.hostname and not LABEL.fullmatch(spec.hostname):
        yield Cause(
            "spec.hostname", "spec.hostname does not conform to the kubernetes DNS_LABEL rules"
        )
    if spec.subdomain and not (len(spec.subdomain) < 254 and SUBDOMAIN.fullmatch(spec.subdomain)):
        yield Cause(
            "spec.subdomain",
            "spec.subdomain does not conform to the kubernetes DNS_SUBDOMAIN rules",
        )
    if spec.dns_policy and spec.dns_policy not in POLICIES:
        yield Cause(
            "spec.dnsPolicy",
            f"spec.dnsPolicy {spec.dns_policy!r} is not known; one of {', '.join(POLICIES)}",
            UNSUPPORTED,
        )
    servers = (spec.dns_config and spec.dns_config.nameservers) or []
    if spec.dns_policy == "None" and not servers:
        yield Cause(
            "spec.dnsConfig.nameservers",
            "spec.dnsConfig must provide at least one DNS nameserver when `dnsPolicy` is None",
        )
    if len(servers) > 3:
        yield Cause(
            "spec.dnsConfig.nameservers", "spec.dnsConfig must not have more than 3 nameservers"
        )
    for index, server in enumerate(servers):
        try:
            ip_address(server)
        except ValueError:
            yield Cause(
                f"spec.dnsConfig.nameservers[{index}]", f"{server!r} must be a valid IP address"
            )

    config = spec.dns_config
    searches = (config and config.searches) or []
    if len(searches) > SEARCHES or sum(map(len, searches)) + len(searches) > SEARCH_LENGTH:
        yield Cause(
            "spec.dnsConfig.searches",
            f"spec.dnsConfig.searches must not have more than {SEARCHES} domains and "
            f"{SEARCH_LENGTH} characters",
        )
    for index, option in enumerate((config and config.options) or ()):
        if not option.name:
            where = f"spec.dnsConfig.options[{index}].name"
            yield Cause(where, f"{where} must not be empty", REQUIRED)


def pod(part: VMI, vmi: VMI, cluster: Cluster) -> PodPart:
    spec = vmi.spec
    passed: dict[str, Any] = {
        "hostname": hostname(vmi),
        "subdomain": spec.subdomain,
        "dnsPolicy": spec.dns_policy,
        "dnsConfig": spec.dns_config,
    }
    return PodPart(
        spec={name: msgspec.to_builtins(value) for name, value in passed.items() if value},
        labels={"vm.kubevirt.io/name": hostname(vmi)},
    )


FEATURE = Feature(
    name="naming",
    owns=("hostname", "subdomain", "dnsPolicy", "dnsConfig"),
    asked=always,
    validate=validate,
    pod=pod,
)
