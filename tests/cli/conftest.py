"""`server`: what virtctl talks to; `fake`: an API server that keeps objects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cli.server import Server, running
from tests.kube.conftest import apiserver, fake

__all__ = ["apiserver", "fake", "server"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running(tmp_path) as running_server:
        yield running_server
