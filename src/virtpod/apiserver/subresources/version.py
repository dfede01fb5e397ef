"""GET version: which build answers, told to any user."""

from __future__ import annotations

from aiohttp import web

from virtpod import build
from virtpod.apiserver.status import json


async def get(_request: web.Request) -> web.Response:
    """Needs no right beyond reaching virt-api."""
    return json(build.info())
