"""What virt-handler asks the kubelet of its CPUs, over a socket as the kubelet's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from virtpod.node import cpus
from virtpod.wire import podresources_pb2 as api


@asynccontextmanager
async def kubelet(folder: Path, own: Sequence[int]) -> AsyncIterator[None]:
    async def allocatable(_request: Any, _context: Any) -> api.AllocatableResourcesResponse:
        return api.AllocatableResourcesResponse(cpu_ids=own)

    handler = grpc.unary_unary_rpc_method_handler(
        allocatable,
        api.AllocatableResourcesRequest.FromString,
        api.AllocatableResourcesResponse.SerializeToString,
    )
    server = grpc.aio.server()
    service = {"GetAllocatableResources": handler}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("v1.PodResourcesLister", service),)
    )
    server.add_insecure_port(f"unix://{folder}/kubelet.sock")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


@pytest.mark.parametrize(("own", "expected"), [([], False), ([2, 3], True)])
async def test_a_kubelet_that_names_cpus_gives_them(
    tmp_path: Path, own: list[int], expected: bool
) -> None:
    async with kubelet(tmp_path, own):
        assert await cpus.exclusive(tmp_path) is expected


async def test_a_kubelet_that_is_away_gives_none(tmp_path: Path) -> None:
    assert await cpus.exclusive(tmp_path) is False
