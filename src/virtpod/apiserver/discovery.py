"""What the aggregator and kubectl read to learn of this API: groups, resources, OpenAPI.

Only names are published, as `virtualmachineinstances/console` without kinds, so that no client
takes `virtualmachines` for a resource of this group. Aggregated discovery is not offered; the
aggregator then reads these lists.
https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

import re
from typing import Any

from virtpod.apiserver.routes import GROUP, ROUTES, VERSIONS
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
    names = {f"{route.resource}/{route.subresource}": True for route in ROUTES}
    names |= {"version": False, "healthz": False}
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{version}",
        "resources": [
            {"name": name, "singularName": "", "namespaced": namespaced, "kind": "", "verbs": []}
            for name, namespaced in sorted(names.items())
        ],
    }


def openapi_v2() -> Json:
    """GET /openapi/v2"""
    paths: Json = {}
    for version in VERSIONS:
        for path, operations in _operations(version).items():
            paths[path] = {
                method: {
                    "operationId": name,
                    "parameters": [
                        {"name": each, "in": "path", "required": True, "type": "string"}
                        for each in parameters
                    ],
                    "responses": {"200": {"description": "OK"}},
                }
                for method, name, parameters in operations
            }
    return {"swagger": "2.0", "info": _title(), "paths": paths, "definitions": {}}


def openapi_v3_index() -> Json:
    """GET /openapi/v3"""
    return {
        "paths": {
            f"apis/{GROUP}/{version}": {"serverRelativeURL": f"/openapi/v3/apis/{GROUP}/{version}"}
            for version in VERSIONS
        }
    }


def openapi_v3(version: str) -> Json:
    """GET /openapi/v3/apis/GROUP/VERSION"""
    paths: Json = {}
    for path, operations in _operations(version).items():
        paths[path] = {
            method: {
                "operationId": name,
                "parameters": [
                    {"name": each, "in": "path", "required": True, "schema": {"type": "string"}}
                    for each in parameters
                ],
                "responses": {"200": {"description": "OK"}},
            }
            for method, name, parameters in operations
        }
    return {"openapi": "3.0.0", "info": _title(), "paths": paths}


def _title() -> Json:
    return {"title": "Virtpod subresources", "version": info()["gitVersion"]}


def _operations(version: str) -> dict[str, list[tuple[str, str, list[str]]]]:
    """Path to (method, operation id, parameters)."""
    found: dict[str, list[tuple[str, str, list[str]]]] = {}
    for route in ROUTES:
        path = _PATTERN.sub("}", route.pattern(version))
        parameters = re.findall(r"\{(\w+)\}", path)
        method = route.method.lower()
        words = [method, version, route.resource, *re.findall(r"\w+", path.split("{name}/")[1])]
        found.setdefault(path, []).append((method, "".join(map(str.title, words)), parameters))
    return found
