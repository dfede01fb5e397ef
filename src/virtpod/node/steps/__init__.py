"""Carrying out `domain.steps` in a pod's network namespace; one file per kind of step.

Each step makes the state that it names, whatever was there of its own making before, so a
virt-handler that was restarted halfway does the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from virtpod.domain.steps import Bridge, HostStep, Nft, Sysctl, Tap
from virtpod.node.steps import links, nft, sysctl

PERFORM: Mapping[type[Any], Callable[[Any], None]] = {
    Bridge: links.bridge,
    Tap: links.tap,
    Sysctl: sysctl.write,
    Nft: nft.replace,
}


def perform(steps: Sequence[HostStep]) -> None:
    """In order, in the calling thread's network namespace. Raises OSError, nft.NftFailed."""
    for step in steps:
        PERFORM[type(step)](step)
