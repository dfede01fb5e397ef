"""virt-api as an aiohttp application: who may reach which handler.

One port serves three kinds of callers. The API server's webhook calls come without a client
certificate and touch nothing but the review they bring; discovery and probes are for anybody;
the subresources are for users, whom the front proxy names and the cluster's rules authorise.
Everything that matches no row of `routes.ROUTES` is refused.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from aiohttp import web
from aiohttp.web_exceptions import HTTPException, HTTPRequestEntityTooLarge

from virtpod.apiserver import (
    admission,
    choosing,
    discovery,
    eviction,
    frontproxy,
    looking,
    profiles,
)
from virtpod.apiserver.authorization import Authorize, Question
from virtpod.apiserver.call import Call, Site
from virtpod.apiserver.metrics import Metrics
from virtpod.apiserver.relay import STREAMS
from virtpod.apiserver.routes import (
    CLUSTER,
    GROUP,
    ROUTES,
    VERSIONS,
    VMIS,
    VMS,
    Attributes,
    Route,
)
from virtpod.apiserver.status import Refusal, answer, json, unauthorized
from virtpod.apiserver.subresources import guestfs, version
from virtpod.domain.facts import Cluster
from virtpod.kube import review
from virtpod.kube.errors import ApiError
from virtpod.kube.plan import Event
from virtpod.render.preset import Preset

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Backend:
    """What the application asks at each request."""

    cluster: Callable[[], Cluster]
    front_proxy: Callable[[], frontproxy.FrontProxy]
    authorize: Authorize
    rules: admission.Rules
    site: Site
    metrics: Metrics
    evictions: eviction.Objects
    reads: looking.Reads
    components: profiles.Components
    guestfs_image: Callable[[], str]
    """Empty where this installation has none."""
    presets: Callable[[], Callable[[str], Sequence[Preset]] | None] = lambda: None
    """What finds those of a namespace; None where there are none at all."""
    tell: Callable[[Event], None] = lambda _event: None


def application(backend: Backend) -> web.Application:
    """All routes."""
    app = web.Application(
        middlewares=[backend.metrics.middleware, _refusals], client_max_size=admission.LIMIT
    )
    for path in admission.PATHS:
        app.router.add_post(path, _admission(path, backend))
    app.router.add_post(eviction.PATH, _eviction(backend))
    _add_public(app.router, backend)
    for api_version in VERSIONS:
        for route in ROUTES:
            app.router.add_route(
                route.method, route.pattern(api_version), _subresource(route, api_version, backend)
            )
        for name in CLUSTER:
            app.router.add_get(
                f"/apis/{GROUP}/{api_version}/{name}", _profile(name, api_version, backend)
            )
    app.router.add_route("*", f"/apis/{GROUP}/{{rest:.*}}", _unknown(backend))
    app[STREAMS] = set()
    app.on_shutdown.append(_end_streams)
    return app


async def _end_streams(app: web.Application) -> None:
    """Streams would outlast any patience: they end at once, and clients come back elsewhere."""
    for stream in app[STREAMS]:
        stream.cancel()


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong is told as a `Status`, and only once as an answer."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return answer(refusal)
    except HTTPRequestEntityTooLarge:
        return answer(Refusal(413, f"the body is larger than {admission.LIMIT} bytes"))
    except HTTPException as error:
        if error.status < 400:
            raise
        return answer(Refusal(error.status, error.reason))
    except ApiError as error:
        # Kubernetes said no to us: its answer is the user's, unless there was none.
        code = error.status if error.status >= 400 else 503
        return answer(Refusal(code, error.message, dict(error.details) or None))
    except TimeoutError:
        return answer(Refusal(504, "time-out"))
    except Exception:
        log.exception("request failed", extra={"method": request.method, "path": request.path})
        return answer(Refusal(500, "internal error"))


def _admission(path: str, backend: Backend) -> Handler:
    async def handle(http: web.Request) -> web.StreamResponse:
        facts = admission.Facts(
            cluster=backend.cluster(),
            now=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            uuid=str(uuid.uuid4()),
        )
        body = await http.read()
        if path in choosing.PATHS:
            facts = replace(facts, named=await choosing.named(path, body, backend.reads))
        if path in admission.KINDS:
            facts = replace(facts, seen=await looking.seen(path, body, backend.reads))
        if path == admission.NEW_VMIS and (presets := backend.presets()):
            facts = replace(facts, presets=_presets(body, presets, backend.tell))
        answer = admission.review(path, body, facts, backend.rules)
        if path == admission.NEW_VMS and answer["response"]["allowed"]:
            request = review.asked(body)
            if request.operation == "CREATE" and not request.dry_run:
                backend.metrics.created(request.namespace)
        return json(answer)

    return handle


def _presets(
    body: bytes, find: Callable[[str], Sequence[Preset]], tell: Callable[[Event], None]
) -> Sequence[Preset]:
    """Those that a new VMI may get; what that comes to is told."""
    try:
        request = review.asked(body)
    except review.NotAReview:
        return ()  # the review itself will say so
    found = find(request.namespace)
    for event in admission.news(request, found) if found else ():
        tell(event)
    return found


def _eviction(backend: Backend) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        default = backend.cluster().config.eviction_strategy
        return json(await eviction.review(await request.read(), backend.evictions, default))

    return handle


def _add_public(router: web.UrlDispatcher, backend: Backend) -> None:
    """What anybody may read, without being known."""

    def add(path: str, handle: Handler) -> None:
        router.add_get(path, handle)

    def fixed(make: Callable[[], object]) -> Handler:
        async def handle(_request: web.Request) -> web.StreamResponse:
            return json(make())

        return handle

    async def healthy(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok")

    add("/", fixed(discovery.root))
    add("/apis", fixed(discovery.groups))
    add("/openapi/v2", fixed(discovery.openapi_v2))
    add("/openapi/v3", fixed(discovery.openapi_v3_index))
    add("/healthz", healthy)
    add("/metrics", backend.metrics.expose)
    add(f"/apis/{GROUP}", fixed(discovery.group))
    add(f"/apis/{GROUP}/", fixed(discovery.group))
    for each in VERSIONS:
        base = f"/apis/{GROUP}/{each}"
        add(base, fixed(partial(discovery.resources, each)))
        add(f"{base}/", fixed(partial(discovery.resources, each)))
        add(f"/openapi/v3/apis/{GROUP}/{each}", fixed(partial(discovery.openapi_v3, each)))
        add(f"{base}/version", version.get)
        add(f"{base}/guestfs", fixed(lambda: guestfs.info(backend.guestfs_image())))
        add(f"{base}/healthz", fixed(lambda: {"status": "ok"}))


def _subresource(route: Route, api_version: str, backend: Backend) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        namespace, name = request.match_info["namespace"], request.match_info.get("name", "")
        attributes = route.attributes
        await _authorized(request, backend, attributes, api_version, namespace, name)
        with backend.metrics.stream(route.subresource, namespace, name):
            return await route.handle(Call(backend.site, request, namespace, name))

    return handle


def _profile(name: str, api_version: str, backend: Backend) -> Handler:
    act = getattr(profiles, name.partition("-")[0])

    async def handle(request: web.Request) -> web.StreamResponse:
        await _authorized(request, backend, Attributes("get", name, ""), api_version, "", "")
        answer: web.Response = await act(request, backend.cluster(), backend.components)
        return answer

    return handle


async def _authorized(
    request: web.Request,
    backend: Backend,
    attributes: Attributes,
    api_version: str,
    namespace: str,
    name: str,
) -> None:
    """Raises Refusal (401)."""
    user = _user(request, backend)
    verdict = await backend.authorize(Question(user, attributes, api_version, namespace, name))
    if not verdict.allowed:
        what = "/".join(filter(None, (attributes.resource, attributes.subresource)))
        where = f' in "{namespace}"' if namespace else ""
        reason = verdict.reason or f'user "{user.name}" cannot {attributes.verb} {what}{where}'
        raise unauthorized(reason)


def _user(request: web.Request, backend: Backend) -> frontproxy.User:
    peer = request.transport.get_extra_info("peercert") if request.transport else None
    return frontproxy.user(backend.front_proxy(), peer, request.headers.items())


def _unknown(backend: Backend) -> Handler:
    """The default: authenticated like any other request, then refused."""

    async def handle(request: web.Request) -> web.StreamResponse:
        _user(request, backend)
        parts = request.match_info["rest"].split("/")
        if len(parts) > 3 and parts[1] == "namespaces" and parts[3] not in (VMS, VMIS):
            raise unauthorized(f"unknown resource type {parts[3]}")
        raise Refusal(404, "the server could not find the requested resource")

    return handle
