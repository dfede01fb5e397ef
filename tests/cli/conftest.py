"""`server`: what virtctl talks to; `fake`: an API server that keeps objects; `cluster`: virtctl
that talks to `fake`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.server import Server, running
from tests.kube.conftest import apiserver, fake
from tests.kube.fake import FakeCluster
from virtpod.cli import __main__ as cli

__all__ = ["apiserver", "cluster", "fake", "server"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running(tmp_path) as running_server:
        yield running_server


@dataclass
class Commands:
    """virtctl within this process, which spares its start."""

    kubeconfig: Path
    printed: pytest.CaptureFixture[str]

    async def run(self, *words: str, code: int = 0) -> tuple[str, str]:
        """Standard output and error."""
        given = [*words, "--kubeconfig", str(self.kubeconfig)]
        self.printed.readouterr()
        try:
            found = await asyncio.to_thread(cli.run, given)
        except SystemExit as end:
            found = int(end.code or 0)
        out, err = self.printed.readouterr()
        assert found == code, err
        return out, err


@pytest.fixture
def cluster(fake: FakeCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    """In namespace team."""
    config = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "c", "namespace": "team"}}],
        "clusters": [{"name": "c", "cluster": {"server": fake.server}}],
    }
    path = tmp_path / "fake.kubeconfig"
    path.write_text(json.dumps(config))
    return Commands(path, capsys)
