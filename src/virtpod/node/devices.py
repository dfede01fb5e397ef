"""Device plugins: how the kubelet counts and hands out /dev/kvm, /dev/net/tun and /dev/vhost-net.

Any number of pods may use such a device, so each is offered many times over. It is offered always
and healthy only while the node has it: a node that loses its device takes no more guests, and one
that gains it needs nobody to restart anything. A kubelet that comes up anew forgets its plugins
and makes its socket again; then we register again.

https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from virtpod.node.inotify import Inotify
from virtpod.wire import deviceplugin_pb2 as api

log = logging.getLogger(__name__)

VERSION = "v1beta1"
PREFIX = "devices.kubevirt.io"
EVERYTHING = "mrw"
COUNT = 1000
ANSWER_WITHIN = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0


@dataclass(frozen=True)
class Device:
    """A device that pods ask for as devices.kubevirt.io/<name>."""

    name: str
    path: str
    """Below /dev."""

    @property
    def resource(self) -> str:
        return f"{PREFIX}/{self.name}"

    @property
    def node(self) -> str:
        return f"/dev/{self.path}"


DEVICES = (Device("kvm", "kvm"), Device("tun", "net/tun"), Device("vhost-net", "vhost-net"))


class Plugin:
    """One device's plugin. `run()` it in a task; `registered` tells whether the kubelet has it,
    `changed` is called when that changes."""

    def __init__(
        self,
        device: Device,
        folder: Path,
        dev: Path,
        inotify: Inotify,
        changed: Callable[[], None] = lambda: None,
        count: int = COUNT,
    ) -> None:
        self.device = device
        self.registered = False
        self._folder = folder
        self._dev = dev
        self._inotify = inotify
        self._changed = changed
        self._count = count
        self._endpoint = f"kubevirt-{device.name}.sock"
        self._listeners: set[asyncio.Event] = set()
        self._healthy = self._exists()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_device())
            tasks.create_task(self._follow_kubelet())

    # The kubelet

    async def _follow_kubelet(self) -> None:
        """Serves and registers, again with each new kubelet."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            async with self._inotify.watch(folder) as watch:
                while True:
                    if (kubelet := self._identity("kubelet.sock")) is None:
                        await watch.changed()
                        continue
                    async with self._serving():
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

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        socket = self._folder / self._endpoint
        socket.unlink(missing_ok=True)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self._handlers(),))
        server.add_insecure_port(f"unix://{socket}")
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)

    async def _register(self) -> bool:
        """False where this kubelet does not answer: it may be an old one's socket."""
        request = api.RegisterRequest(
            version=VERSION,
            endpoint=self._endpoint,
            resource_name=self.device.resource,
            options=api.DevicePluginOptions(),
        )
        pause = FIRST_PAUSE
        while pause < LONGEST_PAUSE:
            async with grpc.aio.insecure_channel(f"unix://{self._folder}/kubelet.sock") as channel:
                call = channel.unary_unary(
                    f"/{VERSION}.Registration/Register",
                    request_serializer=api.RegisterRequest.SerializeToString,
                    response_deserializer=api.Empty.FromString,
                )
                try:
                    await call(request, timeout=ANSWER_WITHIN)
                except grpc.aio.AioRpcError as error:
                    log.info(
                        "kubelet does not take a device plugin yet",
                        extra={"resource": self.device.resource, "error": error.details()},
                    )
                else:
                    self._set_registered(True)
                    log.info("device plugin registered", extra={"resource": self.device.resource})
                    return True
            await asyncio.sleep(pause)
            pause *= 2
        return False

    # The device

    def _exists(self) -> bool:
        return (self._dev / self.device.path).exists()

    async def _follow_device(self) -> None:
        while True:
            async with contextlib.AsyncExitStack() as stack:
                # The parent may come and go as well, so everything down to it is watched.
                folder, changes = self._dev, []
                for part in self.device.path.split("/"):
                    try:
                        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                    except (FileNotFoundError, NotADirectoryError):
                        break
                    stack.callback(os.close, opened)
                    watch = await stack.enter_async_context(self._inotify.watch(opened))
                    changes.append(asyncio.ensure_future(watch.changed()))
                    stack.callback(changes[-1].cancel)
                    folder = folder / part
                self._set_health(self._exists())
                if not changes:
                    return  # no /dev of the node is to be seen
                await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)

    def _set_health(self, healthy: bool) -> None:
        if healthy == self._healthy:
            return
        self._healthy = healthy
        log.info("device changed", extra={"device": self.device.node, "there": healthy})
        for listener in self._listeners:
            listener.set()

    # What the kubelet calls

    def _handlers(self) -> Any:
        def unary(behaviour: Any, request: Any, response: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                behaviour, request.FromString, response.SerializeToString
            )

        return grpc.method_handlers_generic_handler(
            f"{VERSION}.DevicePlugin",
            {
                "GetDevicePluginOptions": unary(self._options, api.Empty, api.DevicePluginOptions),
                "ListAndWatch": grpc.unary_stream_rpc_method_handler(
                    self._list, api.Empty.FromString, api.ListAndWatchResponse.SerializeToString
                ),
                "GetPreferredAllocation": unary(
                    self._preferred, api.PreferredAllocationRequest, api.PreferredAllocationResponse
                ),
                "Allocate": unary(self._allocate, api.AllocateRequest, api.AllocateResponse),
                "PreStartContainer": unary(
                    self._before_start, api.PreStartContainerRequest, api.PreStartContainerResponse
                ),
            },
        )

    async def _options(self, request: Any, context: Any) -> Any:
        return api.DevicePluginOptions()

    async def _preferred(self, request: Any, context: Any) -> Any:
        return api.PreferredAllocationResponse()

    async def _before_start(self, request: Any, context: Any) -> Any:
        return api.PreStartContainerResponse()

    async def _list(self, request: Any, context: Any) -> AsyncIterator[Any]:
        changed = asyncio.Event()
        self._listeners.add(changed)
        try:
            while True:
                health = "Healthy" if self._healthy else "Unhealthy"
                yield api.ListAndWatchResponse(
                    devices=[
                        api.Device(ID=f"{self.device.name}{number}", health=health)
                        for number in range(self._count)
                    ]
                )
                await changed.wait()
                changed.clear()
        finally:
            self._listeners.discard(changed)

    async def _allocate(self, request: Any, context: Any) -> Any:
        node = api.DeviceSpec(
            container_path=self.device.node, host_path=self.device.node, permissions=EVERYTHING
        )
        answer = api.ContainerAllocateResponse(devices=[node])
        return api.AllocateResponse(
            container_responses=[answer for _ in request.container_requests]
        )
