"""A guest of this node as others ask for it: virt-api's server and whoever scrapes its numbers."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from virtpod.node import measures
from virtpod.node.attended import Attended
from virtpod.node.launcher import ConnectionLost, RequestFailed
from virtpod.node.safepath import connected
from virtpod.node.server import Declined, NoGuest
from virtpod.wire.messages import AgentTold, Answer, AskAgent, Measure, Measured, Request

if TYPE_CHECKING:
    from virtpod.node.sync import NodeSync

ASK_WITHIN = 10.0
"""Seconds for a launcher to answer."""


@dataclass(frozen=True)
class HostedGuest:
    """A guest of this node, as the server for virt-api needs it (`server.Guest`)."""

    sync: NodeSync
    attended: Attended

    @property
    def uid(self) -> str:
        return self.attended.pod.vmi_uid

    @property
    def cid(self) -> int:
        """As virt-controller has it in the VMI's status, which no guest can write; 0: none."""
        vmi = msgspec.json.decode(self.sync.vmi_of(self.attended) or b"{}")
        return int((vmi.get("status") or {}).get("VSOCKCID") or 0)

    def screen(self, file: str) -> socket.socket:
        """A connection to QEMU's socket of that name, if a process of the pod listens there.

        Raises OSError, Unsafe.
        """
        pod, place = self.attended.pod, self.sync.place
        with self.sync.volume(pod, "private") as directory:
            connection = connected(directory, f"{pod.vmi_uid}/{file}", place.owner)
        try:
            self.sync.ways.identify(connection, pod.uid, place.owner).close()
        except BaseException:
            connection.close()
            raise
        return connection

    async def ask(self, make: Callable[[int], Request], within: float = ASK_WITHIN) -> Answer:
        """What the launcher answers. Raises NoGuest, Declined."""
        launcher = self.attended.launcher
        if launcher is None:
            raise NoGuest("virt-launcher is out of reach")
        try:
            return await launcher.request(make, within)
        except ConnectionLost as error:
            raise NoGuest("virt-launcher went away") from error
        except RequestFailed as error:
            raise Declined(error.message) from error
        except TimeoutError as error:
            raise NoGuest(f"virt-launcher did not answer within {within:.0f} s") from error

    async def measured(self) -> measures.Guest | None:
        """Its numbers, as far as its launcher and its agent tell them in time."""
        pod, domain = self.attended.pod, self.attended.guest.domain
        try:
            told = await self.ask(lambda n: Measure(id=n), measures.WITHIN)
        except (NoGuest, Declined):
            return None
        if not isinstance(told, Measured):
            return None
        said: Answer | None = None
        if domain is not None and domain.agent_connected:
            with contextlib.suppress(NoGuest, Declined):
                said = await self.ask(
                    lambda n: AskAgent(id=n, what="filesystems", load=True), measures.WITHIN
                )
        if not isinstance(said, AgentTold):
            return measures.Guest(pod.namespace, pod.vmi_name, told)
        return measures.Guest(pod.namespace, pod.vmi_name, told, tuple(said.filesystems), said.load)

    def warn(self, reason: str, message: str) -> None:
        """An event of the VMI."""
        self.sync.warn(self.attended.pod, reason, message)
