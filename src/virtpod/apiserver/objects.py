"""VMs and VMIs through the Kubernetes client.

Read at each call rather than from a cache: a user who has just created a VM starts it next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.apiserver.call import Outdated
from virtpod.kube.client import Client
from virtpod.kube.errors import Conflict, Invalid, NotFound
from virtpod.kube.resources import VMIS, VMS, Key, Resource

T = TypeVar("T")


class KubeObjects:
    """`call.Objects` on a real API server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def vm(self, namespace: str, name: str) -> VirtualMachine | None:
        return await self._get(VMS, namespace, name, VirtualMachine)

    async def vmi(self, namespace: str, name: str) -> VirtualMachineInstance | None:
        return await self._get(VMIS, namespace, name, VirtualMachineInstance)

    async def patch_vm(
        self, namespace: str, name: str, patch: Mapping[str, Any], *, dry_run: bool
    ) -> None:
        await self._patch(VMS, namespace, name, patch, "", dry_run)

    async def patch_vm_status(
        self, namespace: str, name: str, patch: Mapping[str, Any], *, dry_run: bool
    ) -> None:
        await self._patch(VMS, namespace, name, patch, "status", dry_run)

    async def patch_vmi(
        self, namespace: str, name: str, patch: Mapping[str, Any], *, dry_run: bool
    ) -> None:
        try:
            await self._patch(VMIS, namespace, name, patch, "", dry_run)
        except Invalid as error:
            # The uid in the patch is another instance's: that one is gone.
            if any(cause.get("field") == "metadata.uid" for cause in _causes(error)):
                raise Outdated from error
            raise

    async def _get(self, resource: Resource, namespace: str, name: str, kind: type[T]) -> T | None:
        try:
            return await self._client.get(resource, Key(namespace, name), decode=kind)
        except NotFound:
            return None

    async def _patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        subresource: str,
        dry_run: bool,
    ) -> None:
        try:
            await self._client.patch(
                resource,
                Key(namespace, name),
                dict(patch),
                type="merge",
                subresource=subresource,
                dry_run=dry_run,
            )
        except (Conflict, NotFound) as error:
            raise Outdated from error


def _causes(error: Invalid) -> list[Mapping[str, Any]]:
    causes = error.details.get("causes") or []
    return [cause for cause in causes if isinstance(cause, dict)]
