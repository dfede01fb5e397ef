"""Who asked the API server for what, from its audit log.

Only the log tells: what a component counts itself leaves out what its libraries ask.

Source: https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

import msgspec

COMPONENTS = {
    "kubevirt-apiserver": "virt-api",
    "kubevirt-controller": "virt-controller",
    "kubevirt-handler": "virt-handler",
    "kubevirt-operator": "virt-operator",
}
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
# Asking whether a user may is no write, although HTTP says POST.
QUESTIONS = frozenset({"subjectaccessreviews", "tokenreviews", "selfsubjectaccessreviews"})
ACCOUNT = "system:serviceaccount:"
NODE = "system:node:"
POD_OF = re.compile(r"virt-launcher-(?P<vmi>.+)-[0-9a-z]{5}")


class _User(msgspec.Struct):
    username: str = ""


class _Object(msgspec.Struct):
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


class _Line(msgspec.Struct, rename="camel"):
    stage: str = ""
    verb: str = ""
    user: _User = msgspec.field(default_factory=_User)
    object_ref: _Object = msgspec.field(default_factory=_Object)
    request_received_timestamp: str = ""


@dataclass(frozen=True)
class Request:
    """One request, when it came (seconds since the epoch)."""

    at: float
    who: str
    verb: str
    resource: str
    namespace: str
    name: str

    @property
    def write(self) -> bool:
        return self.verb in WRITES and self.resource not in QUESTIONS

    @property
    def ours(self) -> bool:
        return self.who in COMPONENTS.values()


@dataclass(frozen=True)
class Life:
    """When a VMI's parts of life began: `started`, once it was Running and that had been told;
    `deleted`, when its deletion was asked for."""

    created: float
    started: float
    deleted: float


def who(username: str) -> str:
    """The component's name, or for others the last part of the user's."""
    if username.startswith(NODE):
        return "kubelet"
    if username.startswith(ACCOUNT):
        account = username.rpartition(":")[2]
        return COMPONENTS.get(account, account)
    return username.rpartition(":")[2]


def parsed(lines: Iterable[bytes]) -> Iterator[Request]:
    """Requests that were answered; half a line, as at the end of a growing file, is left out."""
    decode = msgspec.json.Decoder(_Line).decode
    for line in lines:
        try:
            said = decode(line)
        except msgspec.DecodeError:
            continue
        if said.stage not in ("ResponseComplete", ""):
            continue
        about = said.object_ref
        yield Request(
            at=datetime.fromisoformat(said.request_received_timestamp).timestamp(),
            who=who(said.user.username),
            verb=said.verb,
            resource=f"{about.resource}/{about.subresource}".rstrip("/"),
            namespace=about.namespace,
            name=about.name,
        )


def read(log: Path, start: int) -> list[Request]:
    """What was written after byte `start`."""
    with log.open("rb") as file:
        file.seek(start)
        return list(parsed(file))


def vmi_of(request: Request) -> str:
    """The VMI that a request is about: itself, its pod, or an event about either."""
    name = request.name
    if request.resource.startswith("events"):
        name = name.rpartition(".")[0]
    found = POD_OF.fullmatch(name)
    return found["vmi"] if found else name


Part = Literal["create", "run", "delete"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Count:
    """Requests about some VMIs, by (who, verb, resource): until they were Running, while they ran,
    when its agent tells of the guest for one, and from their deletion on."""

    vmis: int
    create: Counter[tuple[str, str, str]]
    run: Counter[tuple[str, str, str]]
    delete: Counter[tuple[str, str, str]]

    def of(self, part: Part) -> Counter[tuple[str, str, str]]:
        counted: Counter[tuple[str, str, str]] = getattr(self, part)
        return counted

    def writes(self, part: Part) -> float:
        """Writes of Virtpod's components per VMI."""
        ours = COMPONENTS.values()
        found = [
            number
            for (name, verb, resource), number in self.of(part).items()
            if name in ours and verb in WRITES and resource not in QUESTIONS
        ]
        return sum(found) / self.vmis if self.vmis else 0.0


def count(requests: Iterable[Request], namespace: str, lives: dict[str, Life]) -> Count:
    """What was asked about these VMIs of one namespace. Watches and lists have no name."""
    found = Count(len(lives), Counter(), Counter(), Counter())
    for request in requests:
        life = lives.get(vmi_of(request)) if request.namespace == namespace else None
        if life is None or request.at < life.created:
            continue
        counted = found.create if request.at < life.started else found.run
        if request.at >= life.deleted:
            counted = found.delete
        counted[request.who, request.verb, request.resource] += 1
    return found


@dataclass(frozen=True)
class Rest:
    """A component's requests in a time without work."""

    requests: int
    leases: int
    heartbeats: int


def at_rest(requests: Iterable[Request], begin: float, end: float) -> dict[str, Rest]:
    """By component; renewals of leases and virt-handler's patches of its node are apart."""
    found: dict[str, Counter[str]] = {name: Counter() for name in COMPONENTS.values()}
    for request in requests:
        if not request.ours or not begin <= request.at <= end:
            continue
        kind = "requests"
        if request.resource == "leases":
            kind = "leases"
        elif request.who == "virt-handler" and request.resource.partition("/")[0] == "nodes":
            kind = "heartbeats"
        found[request.who][kind] += 1
    return {
        name: Rest(kinds["requests"], kinds["leases"], kinds["heartbeats"])
        for name, kinds in found.items()
    }
