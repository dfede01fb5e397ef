"""Whether a user may: a SubjectAccessReview, answered by the cluster's own rules.

A yes is good for a while, as it is for Kubernetes' own aggregated servers: who watches a screen by
taking pictures is not asked about each time. A no is asked again, for it may have become a yes.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from cachetools import TTLCache

from virtpod.apiserver.frontproxy import User
from virtpod.apiserver.routes import GROUP, Attributes
from virtpod.kube.client import Client
from virtpod.kube.resources import SUBJECT_ACCESS_REVIEWS

REMEMBERED = 10.0
"""Seconds for which a yes is good."""
ANSWERS = 4096
"""Of them as many are remembered."""


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


def authorizer(client: Client, clock: Callable[[], float] = time.monotonic) -> Authorize:
    """Asks the API server. An error is the caller's to report: it is never a yes."""
    granted: TTLCache[bytes, Verdict] = TTLCache(ANSWERS, REMEMBERED, timer=clock)

    async def ask(question: Question) -> Verdict:
        asked = review(question)
        key = msgspec.json.encode(asked)
        if (known := granted.get(key)) is not None:
            return known
        answer = await client.create(SUBJECT_ACCESS_REVIEWS, asked)
        status = answer.get("status") or {}
        allowed = status.get("allowed") is True and status.get("denied") is not True
        verdict = Verdict(allowed, status.get("reason") or "")
        if allowed:
            granted[key] = verdict
        return verdict

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
