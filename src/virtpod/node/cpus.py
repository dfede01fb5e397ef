"""Whether this node's kubelet gives containers CPUs of their own.

It does with its static CPU manager, and then names the CPUs that it can give; with any other policy
it names none. Asked with each heartbeat, for a kubelet may begin anew with another policy.

https://kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies/
"""

from __future__ import annotations

import logging
from pathlib import Path

import grpc.aio

from virtpod.wire import podresources_pb2 as api

log = logging.getLogger(__name__)

ANSWER_WITHIN = 5.0


async def exclusive(folder: Path) -> bool:
    """`folder` has the kubelet's socket; one that does not answer gives no CPUs."""
    async with grpc.aio.insecure_channel(f"unix://{folder}/kubelet.sock") as channel:
        call = channel.unary_unary(
            "/v1.PodResourcesLister/GetAllocatableResources",
            request_serializer=api.AllocatableResourcesRequest.SerializeToString,
            response_deserializer=api.AllocatableResourcesResponse.FromString,
        )
        try:
            answer = await call(api.AllocatableResourcesRequest(), timeout=ANSWER_WITHIN)
        except grpc.aio.AioRpcError as error:
            log.info("kubelet does not tell its CPUs", extra={"error": error.details()})
            return False
    return bool(answer.cpu_ids)
