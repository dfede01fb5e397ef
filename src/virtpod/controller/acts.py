"""What virt-controller does beside plain writes: refusals that users get to see, and revisions."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from virtpod.controllers import revision
from virtpod.controllers.revision import Revise
from virtpod.controllers.updating import Renew
from virtpod.kube import errors
from virtpod.kube.loop import Acts
from virtpod.kube.plan import Create, Event, Evict, Written
from virtpod.kube.resources import CONTROLLER_REVISIONS, key_of


@dataclass(frozen=True)
class Refusal:
    """Why an object is not taken, as a cause; `field` is the resource that it is of."""

    field: str
    reason: str
    message: str


class Creates(Acts):
    """Acts, except that what no retry will mend is a refusal, which the user gets to see."""

    async def __call__(self, action: Any) -> Written | None:
        if isinstance(action, Revise):
            await self._revise(action)
            return None
        if isinstance(action, Renew):
            await self._renew(action)
            return None
        try:
            return await super().__call__(action)
        except errors.Terminating:
            raise
        except (errors.Forbidden, errors.Invalid, errors.BadRequest) as error:
            if not isinstance(action, Create):
                raise
            of = action.resource.plural
            raise errors.Refused([Refusal(of, error.reason, error.message)]) from error

    async def _renew(self, action: Renew) -> None:
        """One that may not go yet keeps no other from it."""
        told = Event(
            action.about,
            "Normal",
            "SuccessfulEvict",
            "Its launcher is of an older version: it is stopped to start in a new one.",
        )
        try:
            await super().__call__(Evict(action.pod, action.uid))
        except (errors.ApiError, errors.NotYet) as error:
            message = f"Its launcher is of an older version, and it cannot be stopped: {error}"
            told = Event(action.about, "Warning", "FailedEvict", message)
        await super().__call__(told)

    async def _revise(self, action: Revise) -> None:
        with contextlib.suppress(errors.AlreadyExists):
            await self.client.create(CONTROLLER_REVISIONS, action.body)
        labels = f"{revision.OF}={action.vm_uid}"
        found = await self.client.list(
            CONTROLLER_REVISIONS, namespace=action.key.namespace, labels=labels
        )
        for other in found.items:
            if key_of(other) != action.key:
                with contextlib.suppress(errors.NotFound):
                    await self.client.delete(CONTROLLER_REVISIONS, key_of(other))
