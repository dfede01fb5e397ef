"""A kubelet's pod-resources API, over a socket as the kubelet's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from virtpod.wire import podresources_pb2 as api


@asynccontextmanager
async def kubelet(
    folder: Path, pods: Sequence[Any] = (), cpus: Sequence[int] = ()
) -> AsyncIterator[None]:
    """Tells `pods` as they are when it is asked, and the CPUs that it gives away."""

    async def given(_request: Any, _context: Any) -> Any:
        return api.ListPodResourcesResponse(pod_resources=pods)

    async def allocatable(_request: Any, _context: Any) -> Any:
        return api.AllocatableResourcesResponse(cpu_ids=cpus)

    service = {
        "List": grpc.unary_unary_rpc_method_handler(
            given,
            api.ListPodResourcesRequest.FromString,
            api.ListPodResourcesResponse.SerializeToString,
        ),
        "GetAllocatableResources": grpc.unary_unary_rpc_method_handler(
            allocatable,
            api.AllocatableResourcesRequest.FromString,
            api.AllocatableResourcesResponse.SerializeToString,
        ),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("v1.PodResourcesLister", service),)
    )
    folder.mkdir(exist_ok=True)
    server.add_insecure_port(f"unix://{folder}/kubelet.sock")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


def pod(name: str, namespace: str = "default", **compute: Any) -> Any:
    """A PodResources of one container, `compute`: what that one was given."""
    container = api.ContainerResources(name="compute", **compute)
    return api.PodResources(name=name, namespace=namespace, containers=[container])


def plugged(resource: str, *ids: str) -> dict[str, Any]:
    """What a device plugin gave, for `pod`."""
    return {"devices": [api.ContainerDevices(resource_name=resource, device_ids=ids)]}


def claimed(claim: str, *devices: Any, namespace: str = "default") -> dict[str, Any]:
    """What drivers of a resource claim gave, for `pod`; `devices` are ClaimResources."""
    dynamic = api.DynamicResource(
        claim_name=claim, claim_namespace=namespace, claim_resources=devices
    )
    return {"dynamic_resources": [dynamic]}
