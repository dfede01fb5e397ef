"""Carrying out `domain.steps` with privilege: the only code here that needs to be root.

Everything runs in one thread that has entered the pod's network namespace (`netns.inside`), blocks,
and can be repeated: a step makes the state it names and leaves alone what is so already.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.domain.steps import Bridge, HostStep, Nft, Sysctl, TakeOver, Tap
from virtpod.node.steps import links, nft, sysctl


def carry_out(steps: Iterable[HostStep]) -> None:
    """In the calling thread's network namespace, in order. Raises `Failed` of the step's module."""
    for step in steps:
        match step:
            case Bridge():
                links.bridge(step)
            case Tap():
                links.tap(step)
            case TakeOver():
                links.take_over(step)
            case Sysctl():
                sysctl.write(step)
            case Nft():
                nft.replace(step)
