"""Whether a user may: a SubjectAccessReview per request, answered by the cluster's own rules.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from virtpod.apiserver.frontproxy import User
from virtpod.apiserver.routes import GROUP, Attributes
from virtpod.kube.client import Client
from virtpod.kube.resources import SUBJECT_ACCESS_REVIEWS


@dataclass(frozen=True)
class Question:
    """May `user` do this to that object?"""

    user: User
    attributes: Attributes
    version: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Verdict:
    """`reason` is the authorizer's own, for the user to read."""

    allowed: bool
    reason: str = ""


Authorize = Callable[[Question], Awaitable[Verdict]]


def authorizer(client: Client) -> Authorize:
    """Asks the API server. An error is the caller's to report: it is never a yes."""

    async def ask(question: Question) -> Verdict:
        answer = await client.create(SUBJECT_ACCESS_REVIEWS, review(question))
        status = answer.get("status") or {}
        allowed = status.get("allowed") is True and status.get("denied") is not True
        return Verdict(allowed, status.get("reason") or "")

    return ask


def review(question: Question) -> dict[str, Any]:
    """The SubjectAccessReview."""
    user, wanted = question.user, question.attributes
    return {
        "spec": {
            "user": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra.items()},
            "resourceAttributes": {
                "namespace": question.namespace,
                "verb": wanted.verb,
                "group": GROUP,
                "version": question.version,
                "resource": wanted.resource,
                "subresource": wanted.subresource,
                "name": question.name,
            },
        }
    }
