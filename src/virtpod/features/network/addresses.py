"""Addresses of the pod's networks that stay the same over restarts, for who asks for it.

A VM remembers what its guest had (`controllers/vm_addresses.py`), each instance is made with that,
and here its pod asks its own network for it; other networks are asked in `multus.py`. Why so, and
whom it helps: docs/adrs/0013.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster
from virtpod.features.contract import Cause, Feature, PodPart
from virtpod.features.network import PRIMARY, joined, names
from virtpod.features.network._addresses import ASKED, KEEP, causes, of_ipams, read

Part = dict[str, str]


def asked(vmi: VMI) -> Part:
    """Its annotations."""
    given = vmi.metadata.annotations or {}
    return {name: given[name] for name in (KEEP, ASKED) if name in given}


def validate(part: Part, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    return causes(part)


def pod(part: Part, vmi: VMI, cluster: Cluster) -> PodPart:
    """What a user asks of an IPAM by himself is his."""
    wanted = read(part)
    own = vmi.metadata.annotations or {}
    for _, _, network in joined(vmi):
        if network.pod and names(network) == PRIMARY and network.name in wanted:
            told = of_ipams(wanted[network.name])
            return PodPart(
                annotations={name: value for name, value in told.items() if name not in own}
            )
    return PodPart()


FEATURE = Feature(
    name="addresses",
    owns=(),
    asked=asked,
    validate=validate,
    pod=pod,
)
