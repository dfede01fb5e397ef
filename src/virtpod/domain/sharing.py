"""Guest memory that a process beside QEMU has as well: what vhost-user devices work in."""

from __future__ import annotations

from virtpod.domain.xml import E, Element


def share_memory(domain: Element) -> None:
    """Whatever pages the drawn domain's memory is made of already."""
    backing = domain.find("memoryBacking")
    if backing is None:
        backing = E("memoryBacking")
        domain.insert([child.tag for child in domain].index("memory") + 1, backing)
    if backing.find("source") is None:
        backing.append(E("source", type="memfd"))
    if backing.find("access") is None:
        backing.append(E("access", mode="shared"))
