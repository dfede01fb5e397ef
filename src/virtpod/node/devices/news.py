"""What a look at this node's devices tells others: the node's condition and its events, its
QATNodeState, and the VMIs whose devices ail."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from virtpod.api.qat import QATNodePolicy
from virtpod.controllers.node_devices import Ailing
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.events import Recorder
from virtpod.kube.plan import Reference
from virtpod.kube.resources import NODES, QAT_NODE_STATES, Key
from virtpod.kube.store import Informer
from virtpod.node.devices import qat_state
from virtpod.node.devices.health import Fault
from virtpod.node.devices.look import Look, PodName

log = logging.getLogger(__name__)

Json = dict[str, Any]

OFFERED = "HostDevicesOffered"
"""Condition of the node: whether guests can have every device that they are meant to have."""


class DeviceNews:
    """`known` is the Node as it was last seen; `condition` sets the node's `OFFERED`; `changed` is
    told of pods (namespace, name) whose devices fare otherwise than before."""

    def __init__(
        self,
        client: Client,
        recorder: Recorder,
        name: str,
        known: Callable[[], Json | None],
        condition: Callable[[Sequence[str]], Awaitable[None]],
        policies: Informer[QATNodePolicy],
        changed: Callable[[str, str], None],
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._name = name
        self._known = known
        self._condition = condition
        self._policies = policies
        self._changed = changed
        self._complaints: tuple[str, ...] | None = None
        """As the node has them; None: that is not known."""
        self._faults: frozenset[Fault] = frozenset()
        self._ailing: Mapping[PodName, tuple[Ailing, ...]] | None = None
        self._state: Json | None = None
        """As it was last written; None: not read yet."""

    def node(self) -> Mapping[str, str] | None:
        """The node's labels; None: not known yet."""
        known = self._known()
        return None if known is None else known["metadata"].get("labels") or {}

    def policies(self) -> Iterable[QATNodePolicy] | None:
        """None: not known yet."""
        return self._policies.values() if self._policies.synced else None

    def ailing(self, namespace: str, pod: str) -> tuple[Ailing, ...] | None:
        """What a pod has that is not well; None: not known."""
        return None if self._ailing is None else self._ailing.get((namespace, pod), ())

    async def looked(self, look: Look) -> bool:
        """What cannot be told now is told at the next look, which must come then."""
        self._tell_pods(look)
        self._tell_events(look)
        try:
            await self._tell_node(look)
            told = await self._tell_state(look)
        except errors.ApiError as error:
            log.warning("cannot tell about host devices", extra={"error": str(error)})
            return False
        return told and self._complaints is not None

    def _tell_pods(self, look: Look) -> None:
        if look.held is None:
            return  # who has what is as it was, for all that is known
        before, self._ailing = self._ailing, look.ailing
        pods = {*self._ailing, *(before or {})}
        if before is None:
            pods |= {(each.namespace, each.pod) for each in look.held}
        for pod in sorted(pods):
            if before is None or before.get(pod) != self._ailing.get(pod):
                self._changed(*pod)

    def _tell_events(self, look: Look) -> None:
        found = look.faults
        metadata = (self._known() or {}).get("metadata") or {}
        about = Reference(NODES.api_version, NODES.kind, "", self._name, metadata.get("uid", ""))
        for fault in sorted(found - self._faults):
            self._recorder.event(about, "Warning", "HostDeviceUnhealthy", fault.message)
        self._faults = found

    async def _tell_node(self, look: Look) -> None:
        complaints = look.complaints
        if self._complaints is None and not complaints:
            # Another agent may have complained before us.
            if (known := self._known()) is None:
                return
            said = (known.get("status") or {}).get("conditions") or ()
            if not any(each["type"] == OFFERED and each["status"] != "True" for each in said):
                self._complaints = ()
        if complaints != self._complaints:
            await self._condition(complaints)
            self._complaints = complaints

    async def _tell_state(self, look: Look) -> bool:
        """False: not yet, as nobody knows the node or its policies."""
        known = self._known()
        if known is None or self.policies() is None:
            return False
        if self._state is None:
            try:
                found = await self._client.get(QAT_NODE_STATES, Key("", self._name))
            except errors.NotFound:
                found = {}
            self._state = found.get("status") or {}
        if not self._state and not look.inventory.engines:
            return True
        status = qat_state.status(look, self._state, time.time())
        if status == self._state:
            return True
        metadata = known["metadata"]
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._name, "uid": metadata["uid"]}
        body = {
            "metadata": {"name": self._name, "ownerReferences": [owner]},
            "status": status,
        }
        await self._client.apply(QAT_NODE_STATES, body)
        self._state = status
        return True
