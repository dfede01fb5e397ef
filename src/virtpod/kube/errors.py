"""Errors, sorted by what the caller does about them.

    Problem
    ├── Refused(causes)         the user must change the spec; trying again is pointless
    ├── NotYet(why, again_in)   wait: nothing is wrong
    ├── NotLeading              another replica leads: stop writing
    └── ApiError                the API server's answer (or its silence)
        ├── Gone
        │   ├── NotFound        404: there is no such object
        │   └── Expired         410: the version is compacted; list again
        ├── Conflict            409, or a JSON patch that does not fit: look again, decide again
        │   └── AlreadyExists   409: somebody, perhaps we, made it already
        ├── Invalid             422: the object is wrong
        ├── BadRequest          400: the request is wrong
        ├── Unauthorized        401
        ├── Forbidden           403
        │   └── Terminating     403: nothing can be made in a namespace that is being deleted
        ├── TooMany             429: come back after `retry_after` seconds
        └── Unavailable         5xx, no connection, no answer in time: nothing is known

Anything else is a bug: the loop backs off and prints the traceback.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Why(Protocol):
    """A reason a spec is refused, as `features.contract.Cause` has it."""

    @property
    def field(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...


class Problem(Exception):
    """The root: everything this package raises on purpose."""


class Refused(Problem):
    """The user must change the spec."""

    def __init__(self, causes: Sequence[Why]) -> None:
        super().__init__("; ".join(f"{cause.field}: {cause.message}" for cause in causes))
        self.causes = tuple(causes)


class NotYet(Problem):
    """Come back in `again_in` seconds."""

    def __init__(self, why: str, again_in: float = 1.0) -> None:
        super().__init__(why)
        self.why = why
        self.again_in = again_in


class NotLeading(Problem):
    """The lease is lost: whatever was decided may not be written any more."""


class ApiError(Problem):
    """An answer of 400 or more; `status` 0 means that no answer came."""

    def __init__(
        self,
        status: int,
        reason: str = "",
        message: str = "",
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.details: Mapping[str, Any] = details or {}
        self.retry_after = retry_after


class Gone(ApiError):
    pass


class NotFound(Gone):
    pass


class Expired(Gone):
    pass


class Conflict(ApiError):
    pass


class AlreadyExists(Conflict):
    pass


class Invalid(ApiError):
    pass


class BadRequest(ApiError):
    pass


class Unauthorized(ApiError):
    pass


class Forbidden(ApiError):
    pass


class Terminating(Forbidden):
    pass


class TooMany(ApiError):
    pass


class Unavailable(ApiError):
    pass


BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    422: Invalid,
    429: TooMany,
}

ENDS = "NamespaceTerminating"
"""The cause, with which a right that is lacking is told from a namespace that goes away:
https://pkg.go.dev/k8s.io/api/core/v1#NamespaceTerminatingCause"""


def from_status(code: int, status: Mapping[str, Any], retry_after: float | None = None) -> ApiError:
    """The error for a Kubernetes `Status` object, or for `{}` where the body was none."""
    reason = status.get("reason") or ""
    kind = BY_STATUS.get(code, Unavailable if code >= 500 or code == 0 else ApiError)
    if reason == "AlreadyExists":
        kind = AlreadyExists
    elif code == 422 and unpatchable(status):
        kind = Conflict
    details = status.get("details") or {}
    if code == 403 and any(each.get("reason") == ENDS for each in details.get("causes") or ()):
        kind = Terminating
    if retry_after is None and details.get("retryAfterSeconds"):
        retry_after = float(details["retryAfterSeconds"])
    return kind(code, reason, status.get("message") or "", details, retry_after)


def unpatchable(status: Mapping[str, Any]) -> bool:
    """Whether a 422 says that a JSON patch does not fit what is there: mostly a failed `test`.

    The API server has no reason of its own for it and keeps the patch library's words to itself;
    these are all it says, and it says them of nothing else (NewGenericServerResponse in
    https://pkg.go.dev/k8s.io/apimachinery/pkg/api/errors).
    """
    said = "the server rejected our request due to an error in our request"
    return status.get("message") == said and not status.get("details")
