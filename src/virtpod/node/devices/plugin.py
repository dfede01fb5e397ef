"""A device plugin: what the kubelet and we say to each other about one resource.

A kubelet that comes up anew forgets its plugins and makes its socket again; then we register again.

https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from virtpod.node.inotify import Inotify
from virtpod.wire import deviceplugin_pb2 as api
from virtpod.wire import grpc

log = logging.getLogger(__name__)

VERSION = "v1beta1"
EVERYTHING = "mrw"
ANSWER_WITHIN = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
PATIENCE = 1.0
"""Seconds that a kubelet may need to begin, before its refusal is one."""
PREFIX = "devices.kubevirt.io/"
LONGEST_NAME = 48


@dataclass(frozen=True)
class Unit:
    """One of what a resource counts."""

    id: str
    healthy: bool = True
    numa: int | None = None


@dataclass(frozen=True)
class Grant:
    """What a container gets: device nodes, environment variables, and folders of the node under
    their own names."""

    nodes: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()


def endpoint(resource: str) -> str:
    """The name of a plugin's socket: short enough for a socket's path, whatever the resource."""
    name = resource.removeprefix(PREFIX).replace("/", "-")
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 9]}-{sha256(resource.encode()).hexdigest()[:8]}"
    return f"kubevirt-{name}.sock"


class Stock(Protocol):
    """What is offered under the name of one resource."""

    @property
    def resource(self) -> str: ...
    @property
    def particular(self) -> bool:
        """Whether it makes a difference which units one gets."""

    def units(self) -> Sequence[Unit]: ...
    def grant(self, ids: Sequence[str]) -> Grant:
        """Raises KeyError where one is not there any more."""

    def prefer(self, available: Sequence[str], needed: Sequence[str], count: int) -> list[str]:
        """`count` of those that are available, `needed` among them; empty: no preference."""


class Plugin:
    """One resource's plugin. `run()` it in a task; `registered` tells whether the kubelet has it,
    `changed` is called when that changes; `refusal` says why it has not for some time, and what to
    do. Tell it of changes of the stock by `restocked()`."""

    def __init__(
        self,
        stock: Stock,
        folder: Path,
        inotify: Inotify,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.stock = stock
        self.registered = False
        self.refusal = ""
        self._folder = folder
        self._inotify = inotify
        self._changed = changed
        self._endpoint = endpoint(stock.resource)
        self._listeners: set[asyncio.Event] = set()

    async def run(self) -> None:
        """Until cancelled."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            async with self._inotify.watch(folder) as watch:
                while True:
                    if (kubelet := self._identity("kubelet.sock")) is None:
                        await watch.changed()
                        continue
                    (self._folder / self._endpoint).unlink(missing_ok=True)
                    async with grpc.serving(f"{self._folder}/{self._endpoint}", self.answer):
                        own = self._identity(self._endpoint)
                        if await self._register():
                            while (
                                self._identity("kubelet.sock") == kubelet
                                and self._identity(self._endpoint) == own
                            ):
                                await watch.changed()
                        self._set_registered(False)
        finally:
            self.registered = False
            os.close(folder)

    def _set_registered(self, registered: bool) -> None:
        if registered != self.registered:
            self.registered = registered
            self._changed()

    def _identity(self, name: str) -> tuple[int, int] | None:
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(self._folder / name)
            return found.st_ino, found.st_ctime_ns
        return None

    async def _register(self) -> bool:
        """False where this kubelet does not answer: it may be an old one's socket."""
        request = api.RegisterRequest(
            version=VERSION,
            endpoint=self._endpoint,
            resource_name=self.stock.resource,
            options=self._said(),
        )
        pause = FIRST_PAUSE
        while pause < LONGEST_PAUSE:
            try:
                await grpc.call(
                    f"{self._folder}/kubelet.sock",
                    f"/{VERSION}.Registration/Register",
                    request.SerializeToString(),
                    ANSWER_WITHIN,
                )
            except grpc.CallFailed as error:
                self._refused(str(error), late=pause > PATIENCE)
            else:
                self.refusal = ""
                self._set_registered(True)
                log.info("device plugin registered", extra={"resource": self.stock.resource})
                return True
            await asyncio.sleep(pause)
            pause *= 2
        return False

    def _refused(self, error: str, *, late: bool) -> None:
        resource = self.stock.resource
        extra = {"resource": resource, "error": error}
        if not late:
            log.info("kubelet does not take a device plugin yet", extra=extra)
            return
        refusal = (
            f"The kubelet does not take the device plugin of {resource} ({error}), so that no pod "
            "can have one: look at the kubelet's log, and at the resource's name where "
            "permittedHostDevices has it"
        )
        if refusal != self.refusal:
            log.warning("kubelet does not take a device plugin", extra=extra)
        self.refusal = refusal

    def restocked(self) -> None:
        """The kubelet is told what there is now."""
        for listener in self._listeners:
            listener.set()

    # What the kubelet calls

    async def answer(self, method: str, message: bytes) -> bytes | AsyncGenerator[bytes, None]:
        """`Answer` of gRPC."""
        match method.removeprefix(f"/{VERSION}.DevicePlugin/"):
            case "GetDevicePluginOptions":
                answer = self._said()
            case "ListAndWatch":
                return self._list()
            case "GetPreferredAllocation":
                answer = self._preferred(_read(api.PreferredAllocationRequest, message))
            case "Allocate":
                answer = self._allocate(_read(api.AllocateRequest, message))
            case "PreStartContainer":
                answer = api.PreStartContainerResponse()
            case _:
                raise grpc.unknown(method)
        return _written(answer)

    def _said(self) -> Any:
        return api.DevicePluginOptions(get_preferred_allocation_available=self.stock.particular)

    def _preferred(self, request: Any) -> Any:
        answers = []
        for asked in request.container_requests:
            chosen = self.stock.prefer(
                list(asked.available_deviceIDs),
                list(asked.must_include_deviceIDs),
                asked.allocation_size,
            )
            answers.append(api.ContainerPreferredAllocationResponse(deviceIDs=chosen))
        return api.PreferredAllocationResponse(container_responses=answers)

    async def _list(self) -> AsyncGenerator[bytes, None]:
        changed = asyncio.Event()
        self._listeners.add(changed)
        try:
            while True:
                devices = [_device(unit) for unit in self.stock.units()]
                yield _written(api.ListAndWatchResponse(devices=devices))
                await changed.wait()
                changed.clear()
        finally:
            self._listeners.discard(changed)

    def _allocate(self, request: Any) -> Any:
        """Raises CallFailed."""
        answers = []
        for asked in request.container_requests:
            try:
                grant = self.stock.grant(list(asked.devices_ids))
            except KeyError as error:
                told = f"{self.stock.resource}: {error.args[0]} is not on this node any more"
                raise grpc.CallFailed(told, grpc.Status.NOT_FOUND) from error
            nodes = [
                api.DeviceSpec(container_path=node, host_path=node, permissions=EVERYTHING)
                for node in grant.nodes
            ]
            mounts = [
                api.Mount(container_path=folder, host_path=folder) for folder in grant.folders
            ]
            answers.append(
                api.ContainerAllocateResponse(devices=nodes, mounts=mounts, envs=dict(grant.env))
            )
        return api.AllocateResponse(container_responses=answers)


def _read(kind: Any, message: bytes) -> Any:
    """Raises CallFailed."""
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise grpc.CallFailed(
            f"no {kind.DESCRIPTOR.name}: {error}", grpc.Status.INTERNAL
        ) from error


def _written(message: Any) -> bytes:
    written: bytes = message.SerializeToString()
    return written


def _device(unit: Unit) -> Any:
    health = "Healthy" if unit.healthy else "Unhealthy"
    nodes = [] if unit.numa is None else [api.NUMANode(ID=unit.numa)]
    topology = api.TopologyInfo(nodes=nodes) if nodes else None
    return api.Device(ID=unit.id, health=health, topology=topology)
