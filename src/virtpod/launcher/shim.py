"""The side-car for users who have a script and no image: it runs `onDefineDomain` and
`preCloudInitIso` wherever they are on PATH, such as from a ConfigMap.

A script gets the machine and what it may change as arguments, and prints the changed thing.
https://kubevirt.io/user-guide/user_workloads/hook-sidecar/#sidecar-shim-image
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys

from virtpod.domain import paths
from virtpod.wire.grpc import CallFailed, serving, unknown
from virtpod.wire.protobuf import Malformed, decode, encode, text

VERSIONS = ("v1alpha1", "v1alpha2", "v1alpha3")
SCRIPTS = {"OnDefineDomain": "onDefineDomain", "PreCloudInitIso": "preCloudInitIso"}
WITHIN = 55.0
"""Seconds for a script: the launcher waits a little longer."""
WORDS = 2000


class Shim:
    """Answers the launcher's calls in one version of the hooks."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.over = asyncio.Event()

    async def answer(self, method: str, message: bytes) -> bytes:
        """`Answer` of gRPC."""
        if method == "/kubevirt.hooks.info.Info/Info":
            return self._info()
        prefix = f"/kubevirt.hooks.{self.version}.Callbacks/"
        hook = method.removeprefix(prefix) if method.startswith(prefix) else ""
        if hook == "Shutdown" and self.version == "v1alpha3":
            self.over.set()
            return b""
        if (script := SCRIPTS.get(hook)) is None:
            raise unknown(method)
        try:
            fields = decode(message)
        except Malformed as error:
            raise CallFailed(str(error)) from error
        field, option = (1, "--domain") if hook == "OnDefineDomain" else (3, "--cloud-init")
        return encode([(field, await _run(script, text(fields, 2), option, text(fields, field)))])

    def _info(self) -> bytes:
        wanted = [hook for hook, script in SCRIPTS.items() if shutil.which(script)]
        if self.version == "v1alpha1":
            wanted = [hook for hook in wanted if hook == "OnDefineDomain"]
        if self.version == "v1alpha3":
            wanted.append("Shutdown")
        points = [(3, encode([(1, hook)])) for hook in wanted]
        return encode([(1, "shim"), *points, (4, self.version)])


async def _run(script: str, vmi: bytes, option: str, given: bytes) -> bytes:
    try:
        child = await asyncio.create_subprocess_exec(
            *(script, "--vmi", vmi, option, given),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise CallFailed(f"{script} cannot be run: {error}") from error
    try:
        async with asyncio.timeout(WITHIN):
            out, words = await child.communicate()
    except TimeoutError:
        raise CallFailed(f"{script} did not end within {WITHIN:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    sys.stderr.write(words.decode(errors="replace"))
    if child.returncode:
        said = words.decode(errors="replace").strip()[-WORDS:]
        raise CallFailed(f"{script} ended with {child.returncode}: {said}")
    return out


async def run(version: str, folder: str = paths.HOOKS) -> None:
    """Serves until the launcher says that the guest is gone, or SIGTERM comes."""
    shim = Shim(version)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, shim.over.set)
    path = os.path.join(folder, "shim.sock")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    async with serving(path, shim.answer):
        await shim.over.wait()
        await asyncio.sleep(0.1)  # the answer goes out first


def main() -> int:
    parser = argparse.ArgumentParser("sidecar-shim", description=__doc__)
    parser.add_argument("--version", required=True, choices=VERSIONS, help="of the hooks")
    asyncio.run(run(parser.parse_args().version))
    return 0
