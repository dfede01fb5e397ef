"""What the launcher imports is paid for in every virtual machine's pod."""

from __future__ import annotations

import os
import subprocess
import sys

DOCUMENTS = ("virtpod.api.catalog", "virtpod.api.crd", "virtpod.api.lists", "virtpod.api.notes")
"""What writes documents loads all of the API, and reads its source."""
HEAVY = (
    *("aiohttp", "ssl", "yaml", "h2", "cryptography", "uvloop", "pyroute2", "logging.config"),
    *DOCUMENTS,
)
BEFORE_LISTENING = ("libvirt", "virtpod.render", "virtpod.features", "virtpod.api.vmi")


def imported(*modules: str) -> set[str]:
    program = f"import {', '.join(modules)}, sys; print(*sorted(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return set(answer.stdout.decode().split())


def test_only_what_listening_needs_comes_before_the_socket() -> None:
    found = imported("virtpod.launcher.__main__", "virtpod.launcher.launcher")
    assert not found & {*BEFORE_LISTENING}


def test_nothing_heavy_is_imported_at_all() -> None:
    program = ("virtpod.launcher.__main__", "virtpod.launcher.launcher", "virtpod.launcher.boot")
    found = imported(*program, "virtpod.launcher.steps")
    assert not found & ({*HEAVY} - {"ssl"})


def test_no_daemon_beside_guests_knows_all_of_the_api() -> None:
    assert not imported("virtpod.node.__main__", "virtpod.controller.__main__") & {*DOCUMENTS}
