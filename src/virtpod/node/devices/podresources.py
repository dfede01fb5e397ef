"""What the kubelet says that containers were given and can be given: asked over its own socket.

https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/#monitoring-device-plugin-resources
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import grpc.aio

from virtpod.wire import podresources_pb2 as api

log = logging.getLogger(__name__)

ANSWER_WITHIN = 5.0


async def pods(folder: Path) -> Any:
    """A ListPodResourcesResponse; None where no kubelet answers. `folder` has its socket."""
    return await _told(folder, "List", api.ListPodResourcesRequest(), api.ListPodResourcesResponse)


async def allocatable(folder: Path) -> Any:
    """An AllocatableResourcesResponse, or None, as `pods`."""
    request = api.AllocatableResourcesRequest()
    return await _told(folder, "GetAllocatableResources", request, api.AllocatableResourcesResponse)


async def _told(folder: Path, method: str, request: Any, response: Any) -> Any:
    async with grpc.aio.insecure_channel(f"unix://{folder}/kubelet.sock") as channel:
        call = channel.unary_unary(
            f"/v1.PodResourcesLister/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            return await call(request, timeout=ANSWER_WITHIN)
        except grpc.aio.AioRpcError as error:
            asked = {"asked": method, "error": error.details()}
            log.info("the kubelet does not tell its resources", extra=asked)
            return None
