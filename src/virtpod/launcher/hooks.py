"""Hook side-cars: programs of the user's that may change the machine before it starts.

Each listens at a socket in its own folder below `paths.HOOKS`, tells which hooks it wants, and is
called for them, the highest priority first and then by name. What one returns is the next one's
input. https://kubevirt.io/user-guide/user_workloads/hook-sidecar/
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from virtpod.domain import paths
from virtpod.launcher.log import log
from virtpod.wire.protobuf import Malformed, Value, decode, encode, number, text, texts

COLLECT_WITHIN = 60.0
"""Seconds for all side-cars to listen and tell what they want."""
CALL_WITHIN = 60.0
"""Seconds for one call: KubeVirt's."""
TELL_WITHIN = 5.0
"""Seconds to say what it is, and to hear that the guest is gone."""
LOOK_AGAIN = 0.1
VERSIONS = ("v1alpha3", "v1alpha2", "v1alpha1")
"""The newest first."""
ON_DEFINE_DOMAIN, PRE_CLOUD_INIT_ISO, SHUTDOWN = "OnDefineDomain", "PreCloudInitIso", "Shutdown"
SINCE = {ON_DEFINE_DOMAIN: "v1alpha1", PRE_CLOUD_INIT_ISO: "v1alpha2", SHUTDOWN: "v1alpha3"}
CLOUD_INIT_LIMIT = 1024 * 1024


class HookFailed(Exception):
    """A side-car is not there, failed, or answered nonsense; the text is for users."""


@dataclass(frozen=True)
class SideCar:
    """One that answers."""

    name: str
    folder: str
    """hook-sidecar-0 and on: its container's name."""
    socket: str
    version: str
    priorities: Mapping[str, int]
    """By the hook that it wants."""

    async def call(self, hook: str, fields: list[tuple[int, Value]], within: float) -> Any:
        """The fields of its answer. Raises HookFailed."""
        from virtpod.wire.grpc import CallFailed, call

        method = f"/kubevirt.hooks.{self.version}.Callbacks/{hook}"
        try:
            return decode(await call(self.socket, method, encode(fields), within))
        except (CallFailed, Malformed) as error:
            raise HookFailed(f"{hook} of {self}: {error}") from error

    def __str__(self) -> str:
        return f"side-car {self.name} ({self.folder})"


class Hooks:
    """The side-cars of this machine, `expected` of them."""

    def __init__(self, expected: int, folder: str = paths.HOOKS) -> None:
        self._expected = expected
        self._folder = folder
        self._found: list[SideCar] = []

    async def collect(self) -> None:
        """Waits until all have told what they want. Raises HookFailed."""
        names = [paths.hook_folder(index, self._folder) for index in range(self._expected)]
        tasks = [asyncio.ensure_future(self._greet(name)) for name in names]
        try:
            async with asyncio.timeout(COLLECT_WITHIN):
                self._found = await asyncio.gather(*tasks)
        except TimeoutError:
            silent = [os.path.basename(n) for n, t in zip(names, tasks, strict=True) if not _ok(t)]
            raise HookFailed(
                f"{', '.join(silent)} did not listen within {COLLECT_WITHIN:g} s; "
                "the log of the container of that name says more"
            ) from None
        finally:
            for task in tasks:
                task.cancel()
        log("hook side-cars are there", side_cars=[str(each) for each in self._found])

    async def define_domain(self, xml: str, vmi: bytes) -> str:
        """The domain as the side-cars want it. Raises HookFailed."""
        async for each in self._wanting(ON_DEFINE_DOMAIN):
            answer = await each.call(ON_DEFINE_DOMAIN, [(1, xml.encode()), (2, vmi)], CALL_WITHIN)
            xml = _utf8(text(answer, 1), each)
            if not xml.strip():
                raise HookFailed(f"{ON_DEFINE_DOMAIN} of {each} returned no domain")
            log("a side-car has seen the domain", side_car=str(each))
        return xml

    async def cloud_init(self, told: dict[str, Any], vmi: bytes) -> dict[str, Any]:
        """What cloud-init is to read, by KubeVirt's names, as the side-cars want it."""
        async for each in self._wanting(PRE_CLOUD_INIT_ISO):
            older = {"userData": told.get("UserData"), "networkData": told.get("NetworkData")}
            answer = await each.call(
                PRE_CLOUD_INIT_ISO,
                [
                    (1, msgspec.json.encode({k: v for k, v in older.items() if v})),
                    (2, vmi),
                    (3, msgspec.json.encode(told)),
                ],
                CALL_WITHIN,
            )
            told = _cloud_init(told, text(answer, 3), text(answer, 1), each)
            log("a side-car has seen what cloud-init reads", side_car=str(each))
        return told

    async def shutdown(self) -> None:
        """Tells those who asked for it that the guest is gone. None can hold the launcher up."""
        async for each in self._wanting(SHUTDOWN):
            try:
                await each.call(SHUTDOWN, [], TELL_WITHIN)
            except HookFailed as error:
                log("a side-car did not hear of the end", error=str(error))

    async def _wanting(self, hook: str) -> AsyncIterator[SideCar]:
        wanting = [each for each in self._found if hook in each.priorities]
        for each in sorted(wanting, key=lambda c: (-c.priorities[hook], c.name, c.folder)):
            if each.version >= SINCE[hook]:
                yield each

    async def _greet(self, folder: str) -> SideCar:
        """Asks the first that listens in a folder. Who does not answer yet is asked again."""
        while True:
            for socket in _sockets(folder):
                if found := await _info(folder, socket):
                    return found
            await asyncio.sleep(LOOK_AGAIN)


def _ok(task: asyncio.Future[SideCar]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _sockets(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                each.path
                for each in entries
                if stat.S_ISSOCK(each.stat(follow_symlinks=False).st_mode)
            )
    except OSError:
        return []


async def _info(folder: str, socket: str) -> SideCar | None:
    """None: it does not answer yet. Raises HookFailed where it speaks no version of ours."""
    from virtpod.wire.grpc import CallFailed, call

    try:
        answer = decode(await call(socket, "/kubevirt.hooks.info.Info/Info", b"", TELL_WITHIN))
        points = [decode(each) for each in texts(answer, 3)]
    except CallFailed:
        return None
    except Malformed as error:
        raise HookFailed(f"{os.path.basename(folder)} answers nonsense: {error}") from error
    versions = [each.decode(errors="replace") for each in texts(answer, 4)]
    spoken = next((version for version in VERSIONS if version in versions), None)
    name = text(answer, 1).decode(errors="replace")[:256]
    if spoken is None:
        raise HookFailed(
            f"side-car {name} ({os.path.basename(folder)}) speaks {versions or 'no version'}, "
            f"none of {', '.join(VERSIONS)}"
        )
    priorities = {text(p, 1).decode(errors="replace"): number(p, 2) for p in points}
    return SideCar(name, os.path.basename(folder), socket, spoken, priorities)


def _cloud_init(told: dict[str, Any], new: bytes, older: bytes, side_car: SideCar) -> Any:
    """The answer, in the new form or the older one."""
    if len(new) + len(older) > CLOUD_INIT_LIMIT:
        raise HookFailed(f"{PRE_CLOUD_INIT_ISO} of {side_car} returned more than 1 MiB")
    try:
        if new:
            given = msgspec.json.decode(new, type=dict[str, Any])
            if given.get("UserData") or given.get("NetworkData"):
                return told | given
        given = msgspec.json.decode(older or b"{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise HookFailed(f"{PRE_CLOUD_INIT_ISO} of {side_car} returned no JSON: {error}") from error
    return told | {
        "UserData": given.get("userData") or "",
        "NetworkData": given.get("networkData") or "",
    }


def _utf8(content: bytes, side_car: SideCar) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise HookFailed(f"{ON_DEFINE_DOMAIN} of {side_car} returned no text: {error}") from error
