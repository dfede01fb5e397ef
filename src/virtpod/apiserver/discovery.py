"""What the aggregator and kubectl read to learn of this API: groups, resources, OpenAPI.

Only names are published, as `virtualmachineinstances/console` without kinds, so that no client
takes `virtualmachines` for a resource of this group. Aggregated discovery is not offered; the
aggregator then reads these lists.
https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from virtpod.api import openapi, options, sev
from virtpod.api.catalog import name
from virtpod.api.graph import ObjectGraphNode
from virtpod.api.vm import VirtualMachine
from virtpod.apiserver.routes import CLUSTER, GROUP, ROUTES, VERSIONS
from virtpod.build import info

Json = dict[str, Any]

_PATTERN = re.compile(r":[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")


def root() -> Json:
    """GET /"""
    return {"paths": ["/apis", f"/apis/{GROUP}", *(f"/apis/{GROUP}/{v}" for v in VERSIONS)]}


def group() -> Json:
    """GET /apis/GROUP"""
    versions = [{"groupVersion": f"{GROUP}/{version}", "version": version} for version in VERSIONS]
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": versions,
        "preferredVersion": versions[0],
    }


def groups() -> Json:
    """GET /apis"""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]}


def resources(version: str) -> Json:
    """GET /apis/GROUP/VERSION"""
    names = {route.full: True for route in ROUTES}
    names |= dict.fromkeys(("version", "healthz", "guestfs", *CLUSTER), False)
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{version}",
        "resources": [
            {"name": name, "singularName": "", "namespaced": namespaced, "kind": "", "verbs": []}
            for name, namespaced in sorted(names.items())
        ],
    }


@cache
def openapi_v2() -> Json:
    """GET /openapi/v2"""
    paths: Json = {}
    for version in VERSIONS:
        for path, operations in _operations(version).items():
            paths[path] = {each.method: each.v2() for each in operations}
    return {
        "swagger": "2.0",
        "info": _title(),
        "paths": paths,
        "definitions": openapi.for_v2(openapi.definitions(_said(), openapi.V2)),
    }


def openapi_v3_index() -> Json:
    """GET /openapi/v3"""
    return {
        "paths": {
            f"apis/{GROUP}/{version}": {"serverRelativeURL": f"/openapi/v3/apis/{GROUP}/{version}"}
            for version in VERSIONS
        }
    }


@cache
def openapi_v3(version: str) -> Json:
    """GET /openapi/v3/apis/GROUP/VERSION"""
    paths = {
        path: {each.method: each.v3() for each in operations}
        for path, operations in _operations(version).items()
    }
    return {
        "openapi": "3.0.0",
        "info": _title(),
        "paths": paths,
        "components": {"schemas": openapi.definitions(_said(), openapi.V3)},
    }


def _title() -> Json:
    return {"title": "Virtpod subresources", "version": info()["gitVersion"]}


BODIES: dict[str, type] = {
    "addvolume": options.AddVolumeOptions,
    "expand-vm-spec": VirtualMachine,
    "evacuate/cancel": options.EvacuateCancelOptions,
    "freeze": options.FreezeUnfreezeTimeout,
    "migrate": options.MigrateOptions,
    "pause": options.PauseOptions,
    "removevolume": options.RemoveVolumeOptions,
    "restart": options.RestartOptions,
    "sev/injectlaunchsecret": sev.SEVSecretOptions,
    "sev/setupsession": sev.SEVSessionOptions,
    "start": options.StartOptions,
    "stop": options.StopOptions,
    "unpause": options.UnpauseOptions,
}
"""What may be sent to a subresource; nothing, too."""

ANSWERS: dict[str, type] = {
    "expand-spec": VirtualMachine,
    "expand-vm-spec": VirtualMachine,
    "filesystemlist": options.VirtualMachineInstanceFileSystemList,
    "guestosinfo": options.VirtualMachineInstanceGuestAgentInfo,
    "objectgraph": ObjectGraphNode,
    "sev/fetchcertchain": sev.SEVPlatformInfo,
    "sev/querylaunchmeasurement": sev.SEVMeasurementInfo,
    "userlist": options.VirtualMachineInstanceGuestOSUserList,
}
"""What a subresource answers, if not with an empty body, a picture or a stream."""

PICTURES = frozenset({"vnc/screenshot"})
STREAMS = frozenset({"console", "vnc", "usbredir", "vsock", "portforward"})
ACCEPTED = frozenset(
    {"start", "stop", "restart", "migrate", "addvolume", "removevolume", "sev/setupsession"}
)
"""What is done after the answer."""
QUERIES = {"vnc": ("preserveSession", "shared"), "vnc/screenshot": ("moveCursor",)}
"""What may be set to true in the request's query."""

STATUS: Json = {
    "type": "object",
    "required": ["kind", "status", "message", "reason", "code"],
    "properties": {
        **{each: {"type": "string"} for each in ("kind", "status", "message", "reason")},
        "code": {"type": "integer"},
    },
}
"""Of Kubernetes' Status, what is always there."""
WRONG = "A Status that says what is wrong."


def _said() -> list[type]:
    """All types that these documents speak of."""
    served = {route.subresource or route.resource for route in ROUTES}
    return [cls for table in (BODIES, ANSWERS) for name, cls in table.items() if name in served]


@dataclass(frozen=True)
class _Operation:
    method: str
    id: str
    parameters: tuple[str, ...]
    name: str
    later: bool

    @property
    def body(self) -> type | None:
        return BODIES.get(self.name)

    @property
    def answer(self) -> type | None:
        return ANSWERS.get(self.name)

    @property
    def queries(self) -> tuple[str, ...]:
        return QUERIES.get(self.name, ())

    @property
    def success(self) -> dict[str, str]:
        """The code, and what it means; none where all that is said is that it is not there."""
        if self.later:
            return {}
        if self.name in STREAMS:
            return {"101": "Switching Protocols"}
        return {"202": "Accepted"} if self.name in ACCEPTED else {"200": "OK"}

    def v2(self) -> Json:
        parameters: list[Json] = [
            {"name": each, "in": "path", "required": True, "type": "string"}
            for each in self.parameters
        ]
        parameters += [{"name": each, "in": "query", "type": "boolean"} for each in self.queries]
        if self.body:
            parameters.append({"name": "body", "in": "body", "schema": _to(self.body, openapi.V2)})
        answer = {"schema": _to(self.answer, openapi.V2)} if self.answer else {}
        wrong = {"default": {"description": WRONG, "schema": STATUS}}
        return {
            "operationId": self.id,
            "parameters": parameters,
            "responses": {
                code: {"description": text, **answer} for code, text in self.success.items()
            }
            | wrong,
        }

    def v3(self) -> Json:
        whole: Json = {
            "operationId": self.id,
            "parameters": [
                {"name": each, "in": "path", "required": True, "schema": {"type": "string"}}
                for each in self.parameters
            ]
            + [
                {"name": each, "in": "query", "schema": {"type": "boolean"}}
                for each in self.queries
            ],
        }
        if self.body:
            whole["requestBody"] = {"content": _json(self.body)}
        answer: Json = {"content": _json(self.answer)} if self.answer else {}
        if self.name in PICTURES:
            answer = {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
        wrong = {"description": WRONG, "content": {"application/json": {"schema": STATUS}}}
        responses = {code: {"description": text, **answer} for code, text in self.success.items()}
        return {**whole, "responses": {**responses, "4XX": wrong, "5XX": wrong}}


def _json(cls: type) -> Json:
    return {"application/json": {"schema": _to(cls, openapi.V3)}}


def _to(cls: type, prefix: str) -> Json:
    return {"$ref": prefix + name(cls)}


def _operations(version: str) -> dict[str, list[_Operation]]:
    """By path."""
    found: dict[str, list[_Operation]] = {}
    for route in ROUTES:
        path = _PATTERN.sub("}", route.pattern(version))
        parameters = tuple(re.findall(r"\{(\w+)\}", path))
        method = route.method.lower()
        words = [method, version, route.resource, *re.findall(r"\w+", path.partition("{name}/")[2])]
        operation = _Operation(
            method,
            "".join(map(str.title, words)),
            parameters,
            route.subresource or route.resource,
            route.is_later,
        )
        found.setdefault(path, []).append(operation)
    return found
