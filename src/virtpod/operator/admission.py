"""The webhooks of the KubeVirt object: reviews in, `render.rules.kubevirt`'s verdict out.

virt-operator answers them, not virt-api: a configuration that keeps virt-api down must be mendable.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from aiohttp import web

from virtpod.api.base import decode
from virtpod.api.kubevirt import KubeVirt
from virtpod.domain.facts import Cluster
from virtpod.features.contract import UNSUPPORTED, Cause
from virtpod.kube import review
from virtpod.kube.resources import Obj
from virtpod.render.rules import Asked
from virtpod.render.rules.kubevirt import RULES

log = logging.getLogger(__name__)

BLOCKS = "BlockUninstallIfWorkloadsExist"

Json = dict[str, Any]


class Webhooks:
    """`others`: the KubeVirt objects that there are; `guests`: how many machines there are."""

    def __init__(
        self, others: Callable[[], Sequence[Obj]], guests: Callable[[], Awaitable[int]]
    ) -> None:
        self._others = others
        self._guests = guests

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(f"/kubevirt-validate-{what}", self._answer)
            for what in ("create", "update", "delete")
        ]

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            asked = review.asked(await request.read())
        except review.NotAReview as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        response = await self._response(asked)
        body = msgspec.json.encode(review.answer(asked, response))
        return web.Response(body=body, content_type="application/json")

    async def _response(self, asked: review.Request) -> Json:
        try:
            if asked.operation == "DELETE":
                return await self._deletion(decode(review.decoded(asked.old_object), KubeVirt))
            if asked.operation not in ("CREATE", "UPDATE"):
                return review.allowed()
            return self._judged(asked)
        except review.NotAnObject as error:
            return review.denied([Cause("", str(error))])
        except msgspec.ValidationError as error:
            message, _, place = str(error).partition(" - at `$")
            return review.denied([Cause(place.strip("`").lstrip("."), message)])
        except RecursionError:
            return review.denied([Cause("", "the object is nested too deeply")])
        except Exception:
            log.exception("admission failed", extra={"uid": asked.uid})
            return review.denied([Cause("", "internal error while checking this KubeVirt")])

    def _judged(self, asked: review.Request) -> Json:
        new = decode(review.decoded(asked.object), KubeVirt)
        update = asked.operation == "UPDATE"
        old = decode(review.decoded(asked.old_object), KubeVirt) if update else None
        if new.metadata.deletion_timestamp or (old and old.spec == new.spec):
            return review.allowed()
        whole = Asked(new, old, Cluster(), {"kubevirts": list(self._others())})
        causes, warnings = list(RULES.causes(whole)), list(RULES.warnings(whole))
        return review.denied(causes, warnings) if causes else review.allowed((), warnings)

    async def _deletion(self, old: KubeVirt) -> Json:
        if old.spec.uninstall_strategy != BLOCKS:
            return review.allowed()
        count = await self._guests()
        if not count:
            return review.allowed()
        message = (
            f"uninstallStrategy is {BLOCKS}, and there are {count} virtual machines and instances: "
            "delete them first, or set it to RemoveWorkloads"
        )
        return review.denied([Cause("spec.uninstallStrategy", message, UNSUPPORTED)])
