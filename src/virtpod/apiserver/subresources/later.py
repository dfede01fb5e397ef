"""Subresources whose feature is not there yet: known by name, and answered with 501 and why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from virtpod.apiserver.call import Call
from virtpod.apiserver.status import Refusal

NOT_IMPLEMENTED = 501
BACKUP = "backups cannot be taken by this version"

VM_LATER: dict[tuple[str, str], str] = {}
VMI_LATER = {
    ("PUT", "backup"): BACKUP,
    ("PUT", "redefine-checkpoint"): BACKUP,
}
"""By method and path: what there is instead, or is not."""


def vm(text: str) -> Callable[[Call], Awaitable[web.Response]]:
    """Answers so of a VM that is there."""

    async def handle(call: Call) -> web.Response:
        await call.vm()
        raise Refusal(NOT_IMPLEMENTED, text)

    return handle


def vmi(text: str) -> Callable[[Call], Awaitable[web.Response]]:
    """Answers so of a VMI that is there."""

    async def handle(call: Call) -> web.Response:
        await call.vmi()
        raise Refusal(NOT_IMPLEMENTED, text)

    return handle
