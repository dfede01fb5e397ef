"""A support bundle: all that somebody needs who was not there, and no secrets.

A part that cannot be had is noted and ends nothing. Everything is redacted (`_redact`) at the end,
when it is known which secrets there are.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import tarfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from virtpod.cli import _exec, _gather, _redact
from virtpod.cli.replay import about
from virtpod.cli.why import text as diagnosis_text
from virtpod.controllers.why import claims_of, diagnose
from virtpod.kube import errors
from virtpod.kube.resources import (
    DATA_VOLUMES,
    EVENTS,
    KUBEVIRTS,
    LIMIT_RANGES,
    NODES,
    PODS,
    PVCS,
    RESOURCE_QUOTAS,
    STORAGE_CLASSES,
    VMIRS,
    VMIS,
    VMS,
    Obj,
    Resource,
    key_of,
    owner_of,
)

if TYPE_CHECKING:
    from virtpod.kube.client import Client

MIB = 2**20
LOG = 4 * MIB
LINES = 5000
DECISIONS = 64 * MIB
MOST = 512 * MIB
"""Bytes before compression: what comes then is left out and noted."""
PODS_OF_ONE_KIND = 50
AT_ONCE = 8
COMPONENTS = ("virt-api", "virt-controller", "virt-handler", "virt-operator")
DECIDING = {"virt-controller": 8443, "virt-handler": 8443, "virt-operator": 8443}
"""Components and their own ports. /debug answers to the pod itself only, so it is asked there."""
_UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ASK = (
    "import ssl,sys,urllib.request as u;"
    "sys.stdout.buffer.write(u.urlopen('https://127.0.0.1:{port}/debug/decisions',"
    "context=ssl._create_unverified_context(),timeout=20).read())"
)


@dataclass
class Bundle:
    """What is collected: file name to content; and what could not be."""

    client: Client
    namespace: str
    vm: str = ""
    files: dict[str, bytes | Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    async def collect(self) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(name: str, part: Callable[[], Awaitable[None]]) -> None:
            async with gate:
                try:
                    async with asyncio.timeout(60):
                        await part()
                except (errors.ApiError, _exec.Failed, TimeoutError, OSError) as error:
                    self._note(name, error)

        parts = await self._parts()
        await asyncio.gather(*(one(name, part) for name, part in parts.items()))

    async def _parts(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What is to be collected, by the name of its file. The objects are read at once: they say
        what else there is."""
        for resource in (KUBEVIRTS, NODES, STORAGE_CLASSES):
            await self._objects(f"cluster/{resource.plural}.json", resource)
        home = next((each["metadata"]["namespace"] for each in self._of("kubevirts")), "kubevirt")
        system = await self._objects(
            "system/pods.json", PODS, home, labels=f"kubevirt.io in ({','.join(COMPONENTS)})"
        )
        await self._objects("system/events.json", EVENTS, home)
        found = await self._users()
        parts: dict[str, Callable[[], Awaitable[None]]] = {}
        for pod in system[: 4 * PODS_OF_ONE_KIND]:
            component = (pod["metadata"].get("labels") or {}).get("kubevirt.io", "")
            self._logs(parts, "system/logs", pod)
            if component in DECIDING and self._concerned(component, pod, found):
                name = f"decisions/{pod['metadata']['name']}.json"
                parts[name] = self._decisions(name, pod, DECIDING[component])
        for pod in found:
            self._logs(parts, "namespace/logs", pod)
            name = f"namespace/domains/{pod['metadata']['name']}.xml"
            if (pod.get("status") or {}).get("phase") == "Running":
                parts[name] = self._domain(name, pod)
        vms = {each["metadata"]["name"] for each in self._of("virtualmachines")}
        vmis = {each["metadata"]["name"] for each in self._of("virtualmachineinstances")}
        for each in sorted(vms | vmis)[:PODS_OF_ONE_KIND]:
            name = f"namespace/why/{each}.txt"
            parts[name] = self._why(name, each, instance=each not in vms)
        parts["cluster/version.json"] = self._version
        return parts

    async def _users(self) -> list[Obj]:
        """The VMs' side; its launchers' pods."""
        vms = await self._objects("namespace/virtualmachines.json", VMS, self.namespace)
        vmis = await self._objects("namespace/virtualmachineinstances.json", VMIS, self.namespace)
        pods = await self._objects(
            "namespace/pods.json", PODS, self.namespace, labels="kubevirt.io=virt-launcher"
        )
        claims = await self._objects("namespace/persistentvolumeclaims.json", PVCS, self.namespace)
        events = await self._objects("namespace/events.json", EVENTS, self.namespace)
        for resource in (RESOURCE_QUOTAS, LIMIT_RANGES, VMIRS, DATA_VOLUMES):
            await self._objects(f"namespace/{resource.plural}.json", resource, self.namespace)
        if self.vm:
            pods = [pod for pod in pods if (owner_of(pod) or {}).get("name") == self.vm]
            used = set(claims_of(vmis[0])) if vmis else set()
            names = {self.vm, *used, *(pod["metadata"]["name"] for pod in pods)}
            for each in vms:
                used |= set(claims_of((each["spec"].get("template")) or {}))
            self._keep("pods", pods)
            self._keep(
                "persistentvolumeclaims", [c for c in claims if c["metadata"]["name"] in used]
            )
            about = [e for e in events if (e.get("involvedObject") or {}).get("name") in names]
            self._keep("events", about)
        if len(pods) > PODS_OF_ONE_KIND:
            self.notes.append(f"of {len(pods)} launchers, {PODS_OF_ONE_KIND} have their logs here")
        return pods[:PODS_OF_ONE_KIND]

    def _note(self, name: str, error: BaseException) -> None:
        said = " ".join(str(error).split()) or type(error).__name__
        self.notes.append(f"{name}: {said}")

    def _keep(self, plural: str, items: list[Obj]) -> None:
        self.files[f"namespace/{plural}.json"] = items

    def _of(self, plural: str) -> list[Obj]:
        for folder in ("cluster", "namespace"):
            found = self.files.get(f"{folder}/{plural}.json")
            if found is not None:
                return list(found)
        return []

    async def _objects(
        self, name: str, resource: Resource, namespace: str = "", labels: str = ""
    ) -> list[Obj]:
        fields = f"metadata.name={self.vm}" if self.vm and resource in (VMS, VMIS) else ""
        try:
            listed = await self.client.list(
                resource, namespace=namespace, labels=labels, fields=fields
            )
        except errors.NotFound:
            return []  # a kind that this cluster does not have
        except errors.ApiError as error:
            self._note(name, error)
            return []
        self.files[name] = list(listed.items)
        return list(listed.items)

    def _concerned(self, component: str, pod: Obj, launchers: list[Obj]) -> bool:
        """Of virt-handlers, those beside the guests that this is about."""
        if component != "virt-handler" or not self.vm:
            return True
        nodes = {(each.get("spec") or {}).get("nodeName") for each in launchers}
        return (pod.get("spec") or {}).get("nodeName") in nodes

    def _logs(self, parts: dict[str, Callable[[], Awaitable[None]]], folder: str, pod: Obj) -> None:
        status = pod.get("status") or {}
        states = [
            *(status.get("initContainerStatuses") or []),
            *(status.get("containerStatuses") or []),
        ]
        for state in states:
            if "waiting" in (state.get("state") or {}) and not state.get("restartCount"):
                continue  # there is nothing to read yet
            name = f"{folder}/{pod['metadata']['name']}.{state['name']}.log"
            parts[name] = self._log(name, pod, state["name"], previous=False)
            if state.get("restartCount"):
                name = f"{folder}/{pod['metadata']['name']}.{state['name']}.previous.log"
                parts[name] = self._log(name, pod, state["name"], previous=True)

    def _log(self, name: str, pod: Obj, container: str, *, previous: bool) -> Any:
        async def part() -> None:
            query = {
                "container": container,
                "tailLines": str(LINES),
                "limitBytes": str(LOG),
                "timestamps": "true",
                "previous": "true" if previous else "",
            }
            reply = await self.client.request("GET", PODS.path(*key_of(pod), "log"), query)
            self.files[name] = reply.body

        return part

    def _decisions(self, name: str, pod: Obj, port: int) -> Any:
        async def part() -> None:
            container = pod["spec"]["containers"][0]["name"]
            command = ("python3", "-c", ASK.format(port=port))
            told = await _exec.output(
                self.client, key_of(pod), container, command, most=DECISIONS, within=45
            )
            self.files[name] = self._about(msgspec.json.decode(told))

        return part

    def _about(self, told: Any) -> Any:
        """Of what several loops told: this VM's, or this namespace's, and the cluster's."""
        if isinstance(told, dict):
            return {loop: self._about(each) for loop, each in told.items()}
        return [each for each in told if self._asked_for(about(each))]

    def _asked_for(self, key: str) -> bool:
        """This VM's or this namespace's, and the nodes' and the installation's."""
        namespace, slash, name = key.rpartition("/")
        if not slash:
            return not _UID.fullmatch(name)  # a pod that nobody knew
        kubevirts = {each["metadata"]["namespace"] for each in self._of("kubevirts")}
        if namespace != self.namespace:
            return namespace in kubevirts
        return not self.vm or name == self.vm

    def _domain(self, name: str, pod: Obj) -> Any:
        async def part() -> None:
            vmi = (owner_of(pod) or {}).get("name", "")
            command = ("virsh", "dumpxml", f"{pod['metadata']['namespace']}_{vmi}")
            self.files[name] = await _exec.output(
                self.client, key_of(pod), "compute", command, most=4 * MIB
            )

        return part

    def _why(self, name: str, vm: str, *, instance: bool) -> Any:
        async def part() -> None:
            seen = await _gather.observed(self.client, self.namespace, vm, instance=instance)
            self.files[name] = diagnosis_text(vm, diagnose(seen)).encode() + b"\n"

        return part

    async def _version(self) -> None:
        reply = await self.client.request("GET", "/version")
        self.files["cluster/version.json"] = msgspec.json.decode(reply.body)

    # What is written.

    def write(self, path: str) -> int:
        """A gzipped tar of one folder, for its owner's eyes; the number of files in it."""
        redactor = _redact.Redactor()
        for content in self.files.values():
            if not isinstance(content, bytes):
                redactor.learn(content)
        folder = os.path.basename(path).split(".")[0] or "bundle"
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        written = size = 0
        with os.fdopen(opened, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
            for name, content in sorted(self.files.items()):
                text = _text(redactor, content)
                size += len(text)
                if size > MOST:
                    self.notes.append(f"{name}: left out, the bundle is large enough")
                    size -= len(text)
                    continue
                _add(tar, f"{folder}/{name}", text)
                written += 1
            notes = [redactor.text(note) for note in sorted(self.notes)]
            about = [
                f"A support bundle of namespace {self.namespace}"
                + (f", VM {self.vm}" if self.vm else ""),
                f"made at {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}",
                "",
                "Secrets are not read; user data, passwords and tokens are taken out of the rest.",
                "Decisions can be made again: virtctl replay decisions/*.json",
                "",
                "What could not be had:" if notes else "Nothing is missing.",
                *(f"  {note}" for note in notes),
            ]
            _add(tar, f"{folder}/README.txt", ("\n".join(about) + "\n").encode())
        return written + 1


def _text(redactor: _redact.Redactor, content: bytes | Any) -> bytes:
    if isinstance(content, bytes):
        return redactor.text(content.decode(errors="replace")).encode()
    return msgspec.json.format(msgspec.json.encode(redactor.json(content)))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
    tar.addfile(entry, io.BytesIO(content))
