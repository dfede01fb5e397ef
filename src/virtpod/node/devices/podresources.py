"""What the kubelet says that containers were given and can be given: asked over its own socket.

https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/#monitoring-device-plugin-resources
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from virtpod.wire import grpc
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
    path = f"{folder}/kubelet.sock"
    whole = f"/v1.PodResourcesLister/{method}"
    try:
        answer = await grpc.call(path, whole, request.SerializeToString(), ANSWER_WITHIN)
        return response.FromString(answer)
    except (grpc.CallFailed, DecodeError) as error:
        asked = {"asked": method, "error": str(error)}
        log.info("the kubelet does not tell its resources", extra=asked)
        return None
