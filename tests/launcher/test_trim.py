"""A guest's log stays short, and who follows it misses nothing that comes after a cut."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from virtpod.launcher import trim as module
from virtpod.launcher.trim import LARGEST, trim


async def test_a_log_that_grows_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.01)
    path = tmp_path / "log"
    task = asyncio.create_task(trim(str(path)))
    try:
        with path.open("ab", buffering=0) as guest:
            guest.write(b"x" * LARGEST)
            await asyncio.sleep(0.05)
            assert path.stat().st_size == LARGEST, "as much may lie there"
            guest.write(b"y")
            async with asyncio.timeout(10):
                while path.stat().st_size:  # noqa: ASYNC110 - nobody tells of it
                    await asyncio.sleep(0.01)
            guest.write(b"after")
        assert path.read_bytes() == b"after"
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
