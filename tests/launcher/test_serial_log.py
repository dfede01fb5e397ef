"""What the container `guest-console-log` runs: it follows the guest's log, and ends when told."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from virtpod.features.devices.serial_log import FOLLOW

WITHIN = 10.0
LONG = b"x" * 2**16 + b"\n"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a container's first process: by root")


@contextmanager
def follower(log: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """As the first process of its namespace, to which the kernel sends no signal that it does not
    catch; and its number outside."""
    command = ["unshare", "--pid", "--fork", "/bin/sh", "-c", FOLLOW, str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        first = 0
        deadline = time.monotonic() + WITHIN
        while not first and time.monotonic() < deadline:
            first = int((children.read_text().split() or ["0"])[0])
        try:
            yield process, first
        finally:
            if process.poll() is None and first:
                os.kill(first, signal.SIGKILL)


def test_it_follows_a_log_that_is_cut_and_ends_when_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with follower(log) as (process, first):
        assert process.stdout is not None
        with log.open("ab", buffering=0) as guest:
            guest.write(LONG)
            assert process.stdout.readline() == LONG
            os.truncate(log, 0)
            guest.write(b"two, after a cut\n")
            assert process.stdout.readline() == b"two, after a cut\n"
        os.kill(first, signal.SIGTERM)
        assert process.wait(WITHIN) == 0


def test_it_ends_though_there_never_was_a_log(tmp_path: Path) -> None:
    with follower(tmp_path / "never") as (process, first):
        time.sleep(0.3)
        os.kill(first, signal.SIGTERM)
        assert process.wait(WITHIN) == 0
