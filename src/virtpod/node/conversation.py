"""One launcher, from the moment its pod is bound to the node until the pod is gone.

The guest is started from here, as soon as the launcher listens; the API's word that the VMI is
Scheduled is not waited for, since everything that is needed is known before. What the launcher
says is kept (`domain`, `failure`) and decided upon elsewhere (`controllers.node_vmi`).

A connection that breaks is made again: the launcher repeats what its guest is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.controllers.node_vmi import Failure, Pod
from virtpod.domain import paths
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.resources import VMIS, Key
from virtpod.node import facts, inotify, safepath, steps
from virtpod.node.steps import netns
from virtpod.render import host
from virtpod.wire import codec
from virtpod.wire.messages import (
    DomainChanged,
    Done,
    Failed,
    Hello,
    Link,
    Message,
    Stopping,
    Sync,
    Welcome,
)

log = logging.getLogger(__name__)

ANSWER_WITHIN = 10.0
"""Seconds for a request to a launcher, save the one that starts the guest."""
START_WITHIN = 300.0
"""Seconds; a container disk's side-car may be slow to come up."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
SOCKET = f"{safepath.empty_dir('sockets')}/{paths.LAUNCHER_SOCKET}"


class Unreachable(Exception):
    """The launcher is not there, or does not answer in time."""


class Declined(Exception):
    """The launcher could not do what it was asked; the text is for the user."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _Broken(Exception):
    """The connection is over."""


@dataclass(frozen=True)
class Node:
    """What all conversations of a process share."""

    name: str
    pods: str
    """The kubelet's folder of pods."""
    probe: str
    """Where the node's QEMU is described."""
    client: Client

    def capabilities(self, emulation: bool) -> dict[str, bytes]:
        """libvirt's cache for the launchers, empty where the node has not been described."""
        folder = Path(self.probe, "tcg" if emulation else "kvm", "cache")
        with contextlib.suppress(OSError):
            return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
        return {}


class Conversation:
    """`run()` it in a task; cancel that when the pod is gone."""

    def __init__(self, node: Node, pod: Pod, changed: Callable[[], None]) -> None:
        self.pod = pod
        self.domain: DomainChanged | None = None
        self.failure: Failure | None = None
        self.told: frozenset[str] = frozenset()
        self._node = node
        self._changed = changed
        self._writer: asyncio.StreamWriter | None = None
        self._answers: dict[int, asyncio.Future[None]] = {}
        self._last = 0
        self._extra = {"pod": pod.name, "vmi": f"{pod.namespace}/{pod.vmi}"}

    @property
    def connected(self) -> bool:
        return self._writer is not None

    @property
    def over(self) -> bool:
        return self.domain is not None and self.domain.state in ("Shutoff", "Crashed")

    async def run(self) -> None:
        """Until cancelled."""
        pause = FIRST_PAUSE
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._once()
            except* (
                _Broken,
                OSError,
                EOFError,
                safepath.Unsafe,
                codec.TooLarge,
                msgspec.MsgspecError,
                errors.ApiError,
            ) as group:
                told = [str(error) or type(error).__name__ for error in leaves(group)]
                log.info("conversation ended", extra={**self._extra, "errors": told})
            finally:
                self._changed()
            if asyncio.get_running_loop().time() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def tell(self, request: Any) -> None:
        """Says it once in the launcher's life. Raises Unreachable, Declined."""
        await self.request(request)
        self.told |= {type(request).__name__}

    async def request(self, request: Any, timeout: float = ANSWER_WITHIN) -> None:
        """Gives the request a number and waits for its answer. Raises Unreachable, Declined."""
        writer = self._writer
        if writer is None:
            raise Unreachable("virt-launcher is not connected")
        self._last += 1
        number = self._last
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            async with asyncio.timeout(timeout):
                writer.write(codec.frame(msgspec.structs.replace(request, id=number)))
                await writer.drain()
                await answer
        except TimeoutError:
            raise Unreachable(f"virt-launcher did not answer in {timeout:g} s") from None
        except ConnectionError as error:
            raise Unreachable(f"virt-launcher is gone: {error}") from None
        finally:
            del self._answers[number]

    # One connection

    async def _once(self) -> None:
        """Connects, starts the guest, listens. Ends by an exception only."""
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._vmi())
            peer = await self._connect()
            namespace = -1
            try:
                namespace = safepath.namespace_of(safepath.peer_pid(peer), self.pod.uid)
                reader, writer = await asyncio.open_unix_connection(sock=peer, limit=codec.LIMIT)
            except BaseException:
                peer.close()
                if namespace >= 0:
                    os.close(namespace)
                raise
            try:
                hello = Hello(
                    node=self._node.name,
                    capabilities=self._node.capabilities(self.pod.emulation),
                )
                writer.write(codec.frame(hello))
                self._writer = writer
                log.info("launcher connected", extra=self._extra)
                listening = tasks.create_task(self._listen(reader))
                raw, vmi = await reading
                await self._start(namespace, raw, vmi)
                self._changed()
                await asyncio.wait([listening])
            finally:
                self._writer = None
                for answer in self._answers.values():
                    if not answer.done():
                        answer.set_exception(ConnectionResetError("the connection ended"))
                writer.close()
                os.close(namespace)

    async def _connect(self) -> Any:
        await inotify.until(f"{self._node.pods}/{self.pod.uid}/{SOCKET}")
        return await safepath.connect(self._node.pods, self.pod.uid, SOCKET, paths.QEMU_UID)

    async def _vmi(self) -> tuple[bytes, VMI]:
        """By the pod's controller; one of the same name but another uid is another machine."""
        reply = await self._node.client.request(
            "GET", VMIS.path(self.pod.namespace, self.pod.vmi), verb="get", resource=VMIS.plural
        )
        vmi = msgspec.json.decode(reply.body, type=VMI)
        if vmi.metadata.uid != self.pod.vmi_uid:
            raise _Broken(f"VMI {self.pod.vmi} is not the pod's: it has been made anew")
        return reply.body, vmi

    async def _start(self, namespace: int, raw: bytes, vmi: VMI) -> None:
        """Prepares the network and has the guest started; again and again where that may help."""
        if (vmi.status.phase or "") in ("Succeeded", "Failed"):
            return
        pause = FIRST_PAUSE
        while True:
            self.failure = await self._attempt(namespace, raw, vmi)
            if self.failure is None:
                return
            log.warning(
                "guest not started",
                extra={
                    **self._extra,
                    "reason": self.failure.reason,
                    "error": self.failure.message,
                },
            )
            self._changed()
            if self.failure.final:
                return
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _attempt(self, namespace: int, raw: bytes, vmi: VMI) -> Failure | None:
        def prepare() -> list[Link]:
            known = facts.host(self._node.name, vmi)
            if vmi.status.phase != "Running":  # else its network stands, and guests use it
                steps.perform(host.host(vmi, known))
            return host.links(vmi, known)

        try:
            links = await netns.inside(namespace, prepare)
        except (OSError, steps.StepFailed) as error:
            return Failure("NetworkFailed", f"The pod's network cannot be prepared: {error}")
        except Exception as error:
            log.exception("network preparation failed", extra=self._extra)
            return Failure("NetworkFailed", f"The pod's network cannot be prepared: {error!r}")
        request = Sync(id=0, vmi=msgspec.Raw(raw), links=links, emulation=self.pod.emulation)
        try:
            await self.request(request, START_WITHIN)
        except Declined as error:
            return error.failure
        except Unreachable as error:
            raise _Broken(str(error)) from None
        return None

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while (message := await codec.read(reader, codec.replies)) is not None:
            self._hear(message)
        raise _Broken("virt-launcher closed the connection")

    def _hear(self, message: Message) -> None:
        match message:
            case DomainChanged():
                self.domain = message
                log.info(
                    "domain changed",
                    extra={**self._extra, "state": message.state, "reason": message.reason},
                )
                self._changed()
            case Done(id=number):
                self._answer(number, None)
            case Failed(id=number):
                failure = Failure(message.reason, message.message, message.final)
                self._answer(number, Declined(failure))
            case Welcome():
                log.info(
                    "launcher answers",
                    extra={**self._extra, "libvirt": message.libvirt, "qemu": message.qemu},
                )
            case Stopping():
                log.info("launcher stops", extra={**self._extra, "grace": message.grace})
            case _:
                pass

    def _answer(self, number: int, error: Exception | None) -> None:
        answer = self._answers.get(number)
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)


def leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    """The exceptions in a group of groups."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
