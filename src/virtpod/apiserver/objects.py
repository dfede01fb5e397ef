"""VMs and VMIs through the Kubernetes client.

Read at each call rather than from a cache: a user who has just created a VM starts it next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, TypeVar

from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.apiserver.call import Outdated
from virtpod.controllers import lifecycle
from virtpod.kube.client import Client
from virtpod.kube.errors import Conflict, Invalid, NotFound
from virtpod.kube.events import Recorder
from virtpod.kube.plan import Reference, tests
from virtpod.kube.resources import MIGRATIONS, NODES, PODS, VMIS, VMS, Key, Obj, Resource, key_of

T = TypeVar("T")


class KubeObjects:
    """`call.Objects` on a real API server."""

    def __init__(self, client: Client, recorder: Recorder | None = None) -> None:
        self._client = client
        self._recorder = recorder

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

    async def taints(self, node: str) -> frozenset[str]:
        """The keys of a node's taints; none where there is no such node."""
        found = await self.read(NODES, Key("", node)) or {"spec": {}}
        return frozenset(taint["key"] for taint in found["spec"].get("taints") or ())

    async def migrate(
        self, namespace: str, name: str, selector: Mapping[str, str], *, dry_run: bool
    ) -> None:
        """Asks for a move; `selector` narrows where to."""
        body: Obj = {
            "apiVersion": MIGRATIONS.api_version,
            "kind": MIGRATIONS.kind,
            "metadata": {"generateName": "kubevirt-migrate-vm-", "namespace": namespace},
            "spec": {"vmiName": name},
        }
        if selector:
            body["spec"]["addedNodeSelector"] = dict(selector)
        await self._client.create(MIGRATIONS, body, dry_run=dry_run)

    async def pod(self, namespace: str, name: str) -> Obj | None:
        return await self.read(PODS, Key(namespace, name))

    async def instance(self, namespace: str, name: str) -> Obj | None:
        """The VMI as JSON."""
        return await self.read(VMIS, Key(namespace, name))

    async def evacuate(self, vmi: Obj, node: str) -> None:
        """Notes that the guest is to leave the node, unless that is known by now."""
        body = [
            *tests(vmi, "/metadata/uid", "/status/evacuationNodeName"),
            {"op": "add", "path": "/status/evacuationNodeName", "value": node},
        ]
        with contextlib.suppress(Conflict):
            await self._client.patch(VMIS, key_of(vmi), body, "json")

    def warn(self, vmi: Obj, reason: str, what: str, remedy: str) -> None:
        if self._recorder is not None:
            about = Reference.to(vmi, VMIS)
            self._recorder.record(lifecycle.warning(about, reason, what, remedy))

    async def read(self, resource: Resource, key: Key) -> Obj | None:
        try:
            return await self._client.get(resource, key)
        except NotFound:
            return None

    async def every(self, resource: Resource, namespace: str) -> list[Obj]:
        return list((await self._client.list(resource, namespace=namespace)).items)

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
