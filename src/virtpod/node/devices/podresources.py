"""What the kubelet says that containers were given: asked over its own socket.

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
    async with grpc.aio.insecure_channel(f"unix://{folder}/kubelet.sock") as channel:
        call = channel.unary_unary(
            "/v1.PodResourcesLister/List",
            request_serializer=api.ListPodResourcesRequest.SerializeToString,
            response_deserializer=api.ListPodResourcesResponse.FromString,
        )
        try:
            return await call(api.ListPodResourcesRequest(), timeout=ANSWER_WITHIN)
        except grpc.aio.AioRpcError as error:
            log.info("kubelet does not tell its pods' devices", extra={"error": error.details()})
            return None
