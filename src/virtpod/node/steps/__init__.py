"""Carrying out `domain.steps` with privilege: the only code here that needs to be root.

Everything runs in one thread that has entered the pod's network namespace (`netns.inside`) where
there is anything to do in it, blocks, and can be repeated: a step makes the state it names and
leaves alone what is so already.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtpod.domain.steps import Bridge, Discard, HostStep, MakeOwn, Nft, Sysctl, TakeOver, Tap
from virtpod.node.peer import Peer
from virtpod.node.steps import files, links, nft, sysctl


def carry_out(steps: Iterable[HostStep], process: Peer | None = None) -> None:
    """In the calling thread's network namespace, and files in the container of `process`, in order.
    Raises `Failed` of the step's module, OSError."""
    for step in steps:
        match step:
            case Bridge():
                links.bridge(step)
            case Tap():
                links.tap(step)
            case TakeOver():
                links.take_over(step)
            case Discard():
                links.discard(step)
            case Sysctl():
                sysctl.write(step)
            case Nft():
                nft.replace(step)
            case MakeOwn():
                assert process is not None
                files.make_own(step, process)
