"""Device plugins against a kubelet's side of the protocol, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from virtpod.api.kubevirt import KubeVirt, KubeVirtConfiguration, KubeVirtSpec
from virtpod.api.meta import ObjectMeta
from virtpod.domain import paths
from virtpod.features.disks import lun
from virtpod.node.devices.shared import RESERVATIONS, Device, Shared
from virtpod.node.inotify import Inotify
from virtpod.wire import deviceplugin_pb2 as api

WITHIN = 10.0
TUN = Device("tun", "net/tun")


class Kubelet:
    """Takes registrations, and asks plugins as a kubelet does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registered: asyncio.Queue[Any] = asyncio.Queue()
        self.refuses = ""
        """With these words it takes nobody."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A kubelet that starts empties its folder first."""
        for path in self.folder.iterdir():
            path.unlink()
        server = grpc.aio.server()
        register = grpc.unary_unary_rpc_method_handler(
            self._register, api.RegisterRequest.FromString, api.Empty.SerializeToString
        )
        handler = grpc.method_handlers_generic_handler(
            "v1beta1.Registration", {"Register": register}
        )
        server.add_generic_rpc_handlers((handler,))
        server.add_insecure_port(f"unix://{self.folder}/kubelet.sock")
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)

    async def _register(self, request: Any, context: Any) -> Any:
        if self.refuses:
            await context.abort(grpc.StatusCode.UNKNOWN, self.refuses)
        await self.registered.put(request)
        return api.Empty()

    @contextlib.asynccontextmanager
    async def plugin(self) -> AsyncIterator[tuple[Any, grpc.aio.Channel]]:
        """The next plugin that registers, and a way to call it."""
        request = await asyncio.wait_for(self.registered.get(), WITHIN)
        async with grpc.aio.insecure_channel(f"unix://{self.folder}/{request.endpoint}") as channel:
            yield request, channel


def lists(channel: grpc.aio.Channel) -> Any:
    call = channel.unary_stream(
        "/v1beta1.DevicePlugin/ListAndWatch",
        request_serializer=api.Empty.SerializeToString,
        response_deserializer=api.ListAndWatchResponse.FromString,
    )
    # Ready: a server's late farewell takes the socket of its successor, which then makes another.
    return aiter(call(api.Empty(), timeout=WITHIN, wait_for_ready=True))


async def health(told: Any) -> list[str]:
    response = await asyncio.wait_for(anext(told), WITHIN)
    return sorted({device.health for device in response.devices})


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    dev = tmp_path / "dev"
    dev.mkdir()
    return dev


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "device-plugins"
    folder.mkdir()
    return folder


@contextlib.asynccontextmanager
async def running(plugin: Shared) -> AsyncIterator[None]:
    task = asyncio.create_task(plugin.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_registers_lists_and_allocates(folder: Path, dev: Path) -> None:
    (dev / "net").mkdir()
    (dev / "net/tun").touch()
    kubelet = Kubelet(folder)
    with Inotify() as inotify:
        plugin = Shared(TUN, folder, dev, inotify)
        async with kubelet.running(), running(plugin), kubelet.plugin() as (request, channel):
            assert request.version == "v1beta1"
            assert request.resource_name == "devices.kubevirt.io/tun"
            assert request.endpoint == "kubevirt-tun.sock"
            devices = (await asyncio.wait_for(anext(lists(channel)), WITHIN)).devices
            assert len({device.ID for device in devices}) == 1000
            assert {device.health for device in devices} == {"Healthy"}
            allocate = channel.unary_unary(
                "/v1beta1.DevicePlugin/Allocate",
                request_serializer=api.AllocateRequest.SerializeToString,
                response_deserializer=api.AllocateResponse.FromString,
            )
            one = api.ContainerAllocateRequest(devices_ids=["tun7"])
            answer = await allocate(api.AllocateRequest(container_requests=[one]), timeout=WITHIN)
            (container,) = answer.container_responses
            (device,) = container.devices
            assert (device.host_path, device.container_path, device.permissions) == (
                "/dev/net/tun",
                "/dev/net/tun",
                "mrw",
            )


async def test_health_follows_the_device_and_even_its_folder(folder: Path, dev: Path) -> None:
    kubelet = Kubelet(folder)
    with Inotify() as inotify:
        plugin = Shared(TUN, folder, dev, inotify)
        async with kubelet.running(), running(plugin), kubelet.plugin() as (_, channel):
            told = lists(channel)
            assert await health(told) == ["Unhealthy"]
            (dev / "net").mkdir()
            (dev / "net/tun").touch()
            assert await health(told) == ["Healthy"]
            (dev / "net/tun").unlink()
            assert await health(told) == ["Unhealthy"]


async def test_registers_again_with_a_new_kubelet(folder: Path, dev: Path) -> None:
    changes: list[bool] = []
    kubelet = Kubelet(folder)
    with Inotify() as inotify:
        plugin = Shared(TUN, folder, dev, inotify, lambda: changes.append(plugin.registered))
        async with running(plugin):
            async with kubelet.running(), kubelet.plugin():
                pass
            async with kubelet.running(), kubelet.plugin() as (request, channel):
                assert request.endpoint == "kubevirt-tun.sock"
                assert await health(lists(channel)) == ["Unhealthy"]
    assert changes[0] is True
    assert False in changes[1:]


async def test_waits_for_a_kubelet_that_is_not_there_yet(folder: Path, dev: Path) -> None:
    kubelet = Kubelet(folder)
    with Inotify() as inotify:
        plugin = Shared(TUN, folder, dev, inotify)
        async with running(plugin):
            await asyncio.sleep(0)
            assert not plugin.registered
            async with kubelet.running(), kubelet.plugin() as (request, _):
                assert request.resource_name == "devices.kubevirt.io/tun"


async def test_a_service_of_the_node_is_given_with_the_folder_of_its_socket(
    folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "pr"
    place.mkdir()
    kubelet = Kubelet(folder)
    with Inotify() as inotify:
        plugin = Shared(RESERVATIONS, folder, place, inotify)
        async with kubelet.running(), running(plugin), kubelet.plugin() as (request, channel):
            assert request.resource_name == lun.RESOURCE
            told = lists(channel)
            assert await health(told) == ["Unhealthy"]
            (place / "pr-helper.sock").touch()
            assert await health(told) == ["Healthy"]
            allocate = channel.unary_unary(
                "/v1beta1.DevicePlugin/Allocate",
                request_serializer=api.AllocateRequest.SerializeToString,
                response_deserializer=api.AllocateResponse.FromString,
            )
            one = api.ContainerAllocateRequest(devices_ids=["pr-helper7"])
            answer = await allocate(api.AllocateRequest(container_requests=[one]), timeout=WITHIN)
            (container,) = answer.container_responses
            assert not container.devices
            (mount,) = container.mounts
            assert (mount.host_path, mount.container_path) == (paths.PR_HELPER, paths.PR_HELPER)


@pytest.mark.configures("configuration.virtualMachineInstancesPerNode")
async def test_the_kubelet_is_told_how_many_guests_a_node_may_have(folder: Path, dev: Path) -> None:
    def allowing(count: int | None) -> KubeVirt:
        config = KubeVirtConfiguration(virtual_machine_instances_per_node=count)
        return KubeVirt(metadata=ObjectMeta(), spec=KubeVirtSpec(configuration=config))

    kubelet = Kubelet(folder)
    with Inotify() as inotify:
        stock = Shared(TUN, folder, dev, inotify)
        async with kubelet.running(), running(stock), kubelet.plugin() as (_, channel):
            told = lists(channel)

            async def count() -> int:
                return len((await asyncio.wait_for(anext(told), WITHIN)).devices)

            assert await count() == 1000
            stock.configured(allowing(3))
            assert await count() == 3
            stock.configured(None)
            stock.configured(allowing(None))
            assert await count() == 1000
