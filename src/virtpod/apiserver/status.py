"""Kubernetes' `Status`: how every refusal of an API server looks to its clients.

Shape: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

GROUP = "kubevirt.io"

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    413: "RequestEntityTooLarge",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    501: "NotImplemented",
    502: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Refusal(Exception):
    """A request that is answered with a `Status` of failure."""

    def __init__(self, code: int, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


def not_found(kind: str, name: str) -> Refusal:
    """`kind` is the singular resource name, as KubeVirt has it in this message."""
    return Refusal(
        404,
        f'{kind}.{GROUP} "{name}" not found',
        {"name": name, "group": GROUP, "kind": kind},
    )


def conflict(kind: str, name: str, message: str) -> Refusal:
    """The object's state does not allow what was asked."""
    return Refusal(
        409,
        f'Operation cannot be fulfilled on {kind}.{GROUP} "{name}": {message}',
        {"name": name, "group": GROUP, "kind": kind},
    )


def bad_request(message: str) -> Refusal:
    """The request itself is wrong."""
    return Refusal(400, message)


def unauthorized(message: str) -> Refusal:
    """Nobody may do this, or not this caller."""
    return Refusal(401, message)


def failure(refusal: Refusal) -> dict[str, Any]:
    """The `Status` object."""
    status: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": refusal.message,
        "reason": _REASONS.get(refusal.code, "Unknown"),
        "code": refusal.code,
    }
    if refusal.details:
        status["details"] = refusal.details
    return status


def answer(refusal: Refusal) -> web.Response:
    """The HTTP answer."""
    return json(failure(refusal), refusal.code)


def json(body: Any, code: int = 200, content_type: str = "application/json") -> web.Response:
    """A JSON answer."""
    return web.Response(
        body=msgspec.json.encode(body), status=code, headers={"Content-Type": content_type}
    )
