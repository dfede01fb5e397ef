"""AdmissionReview on the wire: what an API server asks a webhook, and how it is answered.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

LIMIT = 2 * 3 * 1024 * 1024 + 256 * 1024
"""Bytes: the object and the old object, 3 MiB each at most in Kubernetes, and the envelope."""

Json = dict[str, Any]


class NotAReview(ValueError):
    """The body is something else; says what."""


class NotAnObject(ValueError):
    """The review holds no object that could be judged; says why."""


class Cause(Protocol):
    """Why an object is refused."""

    @property
    def field(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def reason(self) -> str: ...


class _Wire(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    pass


class UserInfo(_Wire):
    username: str = ""


class Kind(_Wire):
    kind: str = ""


class Request(_Wire):
    uid: str
    operation: str = ""
    namespace: str = ""
    dry_run: bool = False
    kind: Kind = msgspec.field(default_factory=Kind)
    user_info: UserInfo = msgspec.field(default_factory=UserInfo)
    object: msgspec.Raw = msgspec.Raw(b"null")
    old_object: msgspec.Raw = msgspec.Raw(b"null")


class _Review(_Wire):
    api_version: str
    kind: str
    request: Request


_reviews = msgspec.json.Decoder(_Review)


def asked(body: bytes) -> Request:
    """Raises NotAReview."""
    try:
        envelope = _reviews.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotAReview(f"the body is not an AdmissionReview: {error}") from error
    if envelope.kind != "AdmissionReview" or envelope.api_version != "admission.k8s.io/v1":
        raise NotAReview("expected an admission.k8s.io/v1 AdmissionReview")
    return envelope.request


def decoded(raw: msgspec.Raw) -> Json:
    """Raises NotAnObject."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotAnObject(f"the object is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise NotAnObject("the review holds no object")
    if not isinstance(value.get("metadata", {}), dict):
        raise NotAnObject("metadata is not an object")
    return value


def answer(request: Request, response: Json) -> Json:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": request.uid, **response},
    }


def allowed(patch: Sequence[Mapping[str, Any]] = (), warnings: Sequence[str] = ()) -> Json:
    response: Json = {"allowed": True}
    if warnings:
        response["warnings"] = list(warnings)
    if patch:
        response["patchType"] = "JSONPatch"
        # msgspec writes bytes as base64, which is what the API wants here.
        response["patch"] = msgspec.json.encode(list(patch))
    return response


def denied(causes: Iterable[Cause], warnings: Sequence[str] = ()) -> Json:
    causes = list(causes)
    denial: Json = {
        "allowed": False,
        "status": {
            "metadata": {},
            "status": "Failure",
            "code": 422,
            "reason": "Invalid",
            "message": ", ".join(cause.message for cause in causes),
            "details": {
                "causes": [
                    {"reason": cause.reason, "message": cause.message, "field": cause.field}
                    for cause in causes
                ]
            },
        },
    }
    if warnings:
        denial["warnings"] = list(warnings)
    return denial
