"""The launcher's places, in a folder of the test's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from virtpod.domain import paths
from virtpod.launcher import launcher


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # Not pytest's folder: a unix socket's path has room for 107 bytes.
    with tempfile.TemporaryDirectory(prefix="vl") as folder:
        for name in ("SOCKETS", "PRIVATE", "EPHEMERAL", "SECRETS"):
            place = Path(folder, name.lower())
            place.mkdir()
            monkeypatch.setattr(paths, name, str(place))
        monkeypatch.setattr(launcher, "TERMINATION_LOG", f"{folder}/termination-log")
        yield Path(folder)
