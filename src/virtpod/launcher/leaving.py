"""Devices on their way out of the guest, which lets them go in its own time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from virtpod.launcher.hypervisor import Refused

LET_GO_WITHIN = 10.0
"""Seconds; a guest that is still booting does not hear of it."""
LOOK_EVERY = 0.2


async def gone(
    names: Collection[str], have: Callable[[], Awaitable[Collection[str]]], kind: str
) -> None:
    """Waits until `have` shows none of them. Raises Refused."""
    deadline = asyncio.get_running_loop().time() + LET_GO_WITHIN
    while left := set(names).intersection(await have()):
        if asyncio.get_running_loop().time() > deadline:
            raise Refused(f"the guest does not let {kind} {', '.join(sorted(left))} go")
        await asyncio.sleep(LOOK_EVERY)
