"""Who gets in: the front proxy's certificate and names, and one exact right per route."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.apiserver.site import Running, put_vm, put_vmi
from tests.kube.fake import FakeCluster
from virtpod.apiserver import authorization, frontproxy
from virtpod.apiserver.authorization import Verdict
from virtpod.apiserver.routes import GROUP, ROUTES, VERSIONS, Attributes, Route
from virtpod.apiserver.status import Refusal
from virtpod.kube.errors import ApiError
from virtpod.kube.resources import SUBJECT_ACCESS_REVIEWS
from virtpod.render import rbac

UNKNOWN = "request is not authenticated"


def _url(route: Route, version: str = "v1") -> str:
    if not route.path:
        return f"/apis/{GROUP}/{version}/namespaces/default/{route.resource}"
    path = route.path.replace("{port:[0-9]{1,5}}", "80").replace("{protocol:tcp|udp}", "tcp")
    return f"/apis/{GROUP}/{version}/namespaces/default/{route.resource}/demo/{path}"


def test_every_route_needs_exactly_one_right() -> None:
    """CVE-2026-6383: a longer path was authorised as a shorter one."""
    by_url: dict[tuple[str, str], Attributes] = {}
    for route in ROUTES:
        where = (route.method, _url(route))
        assert where not in by_url
        by_url[where] = route.attributes
        matching = [
            other
            for other in ROUTES
            if other.method == route.method and re.fullmatch(_regex(other), _url(route))
        ]
        assert matching == [route]


def _regex(route: Route) -> str:
    return re.sub(r"\{\w+:((?:[^{}]|\{[^{}]*\})*)\}", r"(?:\1)", route.pattern("v1"))


def test_the_rights_are_those_that_kubevirt_s_roles_grant() -> None:
    assert {(route.attributes.verb, route.full) for route in ROUTES if not route.is_later} == {
        ("update", "virtualmachines/start"),
        ("update", "virtualmachines/stop"),
        ("update", "virtualmachines/restart"),
        ("update", "virtualmachines/migrate"),
        ("update", "virtualmachines/evacuate/cancel"),
        ("update", "virtualmachineinstances/evacuate/cancel"),
        ("update", "virtualmachines/addvolume"),
        ("update", "virtualmachines/removevolume"),
        ("update", "virtualmachineinstances/addvolume"),
        ("update", "virtualmachineinstances/removevolume"),
        ("get", "virtualmachines/portforward"),
        ("get", "virtualmachineinstances/console"),
        ("get", "virtualmachineinstances/vnc"),
        ("get", "virtualmachineinstances/portforward"),
        ("update", "virtualmachineinstances/pause"),
        ("update", "virtualmachineinstances/unpause"),
        ("update", "virtualmachineinstances/reset"),
        ("update", "virtualmachineinstances/softreboot"),
        ("update", "virtualmachineinstances/freeze"),
        ("update", "virtualmachineinstances/unfreeze"),
        ("get", "virtualmachineinstances/guestosinfo"),
        ("get", "virtualmachineinstances/userlist"),
        ("get", "virtualmachineinstances/filesystemlist"),
        ("get", "virtualmachineinstances/usbredir"),
        ("get", "virtualmachineinstances/vsock"),
        ("get", "virtualmachineinstances/vnc/screenshot"),
        ("get", "virtualmachines/expand-spec"),
        ("get", "virtualmachines/objectgraph"),
        ("update", "virtualmachines/memorydump"),
        ("update", "virtualmachines/removememorydump"),
        ("get", "virtualmachineinstances/objectgraph"),
        ("get", "virtualmachineinstances/sev/fetchcertchain"),
        ("get", "virtualmachineinstances/sev/querylaunchmeasurement"),
        ("update", "virtualmachineinstances/sev/setupsession"),
        ("update", "virtualmachineinstances/sev/injectlaunchsecret"),
        ("update", "expand-vm-spec"),
    }


def test_an_administrator_has_a_right_to_each_that_is_for_users() -> None:
    """What no role grants, nobody but virt-controller and cluster administrators may do."""
    [admin] = [role for role in rbac.USERS if role.name == "kubevirt.io:admin"]
    granted = {
        (verb, resource)
        for rule in admin.rules
        if rule.group == GROUP
        for verb in rule.verbs
        for resource in rule.resources
    }
    asked = {(route.attributes.verb, route.full) for route in ROUTES}
    assert asked - granted == {
        ("update", "virtualmachines/migrate"),  # kubevirt.io:migrate
        ("update", "virtualmachineinstances/backup"),
        ("update", "virtualmachineinstances/redefine-checkpoint"),
        ("get", "virtualmachineinstances/vsock"),
    }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.resource}-{route.path[:14]}")
async def test_each_route_asks_for_its_right_and_a_no_is_final(
    api: Running, route: Route, version: str
) -> None:
    put_vm(api, strategy="Manual", created=True)
    put_vmi(api)
    api.verdict = Verdict(False, "alice may not")
    headers = {"X-Remote-User": "alice"}
    async with api.session(headers=headers) as session:
        url = api.url + _url(route, version)
        async with session.request(route.method, url) as reply:
            assert reply.status == 401
            assert (await reply.json())["message"] == "alice may not"
    (question,) = api.questions
    assert question.attributes == route.attributes
    name = "demo" if route.path else ""
    assert (question.namespace, question.name, question.version) == ("default", name, version)
    assert question.user == frontproxy.User("alice")
    assert api.handler.puts == []
    assert api.fake.writes == []


_WRONG = [
    ("GET", "virtualmachineinstances/demo/vnc/picture"),
    ("GET", "virtualmachineinstances/demo/console/"),
    ("GET", "virtualmachineinstances/demo/Console"),
    ("GET", "virtualmachineinstances/demo//console"),
    ("GET", "virtualmachineinstances/demo%2Fvnc/console"),
    ("GET", "virtualmachineinstances/..%2f..%2fx/console"),
    ("GET", "virtualmachineinstances/Demo/console"),
    ("PUT", "virtualmachineinstances/demo/console"),
    ("POST", "virtualmachines/demo/start"),
    ("GET", "virtualmachines/demo/start"),
    ("GET", "virtualmachineinstances/demo/portforward/80/icmp"),
    ("GET", "virtualmachineinstances/demo/portforward/999999"),
    ("GET", "virtualmachineinstances/demo/portforward/80/tcp/x"),
    ("GET", "virtualmachineinstances/demo"),
]


@pytest.mark.parametrize(("method", "path"), _WRONG)
async def test_what_is_in_no_row_is_refused_without_asking(
    api: Running, method: str, path: str
) -> None:
    from yarl import URL

    put_vmi(api)
    url = URL(f"{api.url}/apis/{GROUP}/v1/namespaces/default/{path}", encoded=True)
    async with api.session() as session, session.request(method, url) as reply:
        assert reply.status == 404
        assert (await reply.json())["kind"] == "Status"
    assert api.questions == []


async def test_an_unknown_resource_is_named(api: Running) -> None:
    url = f"{api.url}/apis/{GROUP}/v1/namespaces/default/pods/demo/exec"
    async with api.session() as session, session.get(url) as reply:
        assert reply.status == 401
        assert (await reply.json())["message"] == "unknown resource type pods"


async def test_without_a_certificate_nobody_is_anybody(api: Running) -> None:
    put_vmi(api)
    urls = [
        api.path("virtualmachineinstances", "demo", "console"),
        f"{api.url}/apis/{GROUP}/v1/namespaces/default/pods/demo/exec",
        f"{api.url}/apis/{GROUP}/v1/nothing",
    ]
    async with api.session(api.pki.caller(None)) as session:
        for url in urls:
            async with session.get(url) as reply:
                assert reply.status == 401
                assert (await reply.json())["message"] == UNKNOWN
    assert api.questions == []


async def test_another_name_of_the_same_ca_is_nobody(api: Running) -> None:
    """CVE-2025-64432: any certificate of the requestheader CA could claim to be any user."""
    async with (
        api.session(api.pki.caller("somebody-else")) as session,
        session.get(api.path("virtualmachineinstances", "demo", "console")) as reply,
    ):
        assert reply.status == 401
        assert (await reply.json())["message"] == UNKNOWN
    assert api.questions == []


async def test_the_right_name_of_another_ca_is_not_even_heard(api: Running) -> None:
    caller = api.pki.caller("front-proxy-client", ca=api.pki.cluster)
    async with api.session(caller) as session:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await session.get(api.path("virtualmachineinstances", "demo", "console"))
    assert api.questions == []


async def test_a_proxy_that_names_nobody_is_refused(api: Running) -> None:
    async with (
        api.session(headers={}) as session,
        session.get(api.path("virtualmachineinstances", "demo", "console")) as reply,
    ):
        assert reply.status == 401


async def test_discovery_and_probes_are_for_anybody(api: Running) -> None:
    paths = ["/", "/apis", "/healthz", "/metrics", "/openapi/v2", "/openapi/v3"]
    paths += [f"/apis/{GROUP}", f"/openapi/v3/apis/{GROUP}/v1"]
    for version in VERSIONS:
        base = f"/apis/{GROUP}/{version}"
        paths += [base, f"{base}/", f"{base}/version", f"{base}/healthz"]
    async with api.session(api.pki.caller(None), headers={}) as session:
        for path in paths:
            async with session.get(api.url + path) as reply:
                assert reply.status == 200, path
        async with session.get(f"{api.url}/apis/{GROUP}/v1") as reply:
            listed = await reply.json()
    assert listed["groupVersion"] == f"{GROUP}/v1"
    names = {each["name"] for each in listed["resources"]}
    assert "virtualmachineinstances/console" in names
    assert "virtualmachines/start" in names


async def test_a_defect_behind_the_api_is_told_as_a_status(api: Running) -> None:
    api.fake.fail("get", None, 403, 10)
    code, status = await api.put(api.path("virtualmachines", "demo", "start"))
    assert (code, status["kind"]) == (403, "Status")


def _peer(*names: str) -> dict[str, Any]:
    return {"subject": tuple((("commonName", name),) for name in names)}


def _config(**data: Any) -> frontproxy.FrontProxy:
    return frontproxy.config(
        {
            key.replace("_", "-"): value if isinstance(value, str) else json.dumps(value)
            for key, value in data.items()
        }
    )


CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
OTHER = "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n"
ALICE = [("X-Remote-User", "alice")]


def test_the_user_comes_from_the_headers_that_the_configmap_names() -> None:
    proxy = _config(
        requestheader_client_ca_file=CA,
        requestheader_allowed_names=["front"],
        requestheader_username_headers=["X-Who", "X-Remote-User"],
        requestheader_group_headers=["X-Remote-Group"],
        requestheader_extra_headers_prefix=["X-Remote-Extra-"],
    )
    headers = [
        ("x-who", "bob"),
        ("X-Remote-User", "alice"),
        ("X-Remote-Group", "system:authenticated"),
        ("X-Remote-Group", "admins"),
        ("X-Remote-Uid", "1-2"),
        ("X-Remote-Extra-Scopes.example.org%2fx", "a"),
        ("X-Remote-Extra-Scopes.example.org%2fx", "b"),
    ]
    assert frontproxy.user(proxy, _peer("front"), headers) == frontproxy.User(
        "bob",
        "1-2",
        ("system:authenticated", "admins"),
        {"scopes.example.org/x": ("a", "b")},
    )


def test_no_names_means_any_name_only_for_a_ca_of_its_own() -> None:
    own = _config(requestheader_client_ca_file=CA, client_ca_file=OTHER)
    assert frontproxy.user(own, _peer("anything"), ALICE).name == "alice"
    shared = _config(requestheader_client_ca_file=CA, client_ca_file=OTHER + CA)
    with pytest.raises(Refusal, match=UNKNOWN):
        frontproxy.user(shared, _peer("anything"), ALICE)


def _unknowns() -> Iterator[tuple[frontproxy.FrontProxy, dict[str, Any] | None]]:
    known = _config(requestheader_client_ca_file=CA, requestheader_allowed_names=["front"])
    yield known, None
    yield known, {}
    yield known, _peer()
    yield known, _peer("Front")
    yield known, _peer("front", "other")
    yield known, _peer("other", "front")
    yield frontproxy.FrontProxy(), _peer("front")
    yield frontproxy.config({}), _peer("front")
    yield _config(requestheader_allowed_names=["front"]), _peer("front")
    # A list that cannot be read is an empty one, and must not open the door.
    yield (
        _config(
            requestheader_client_ca_file=CA,
            client_ca_file=CA,
            requestheader_allowed_names="not json",
        ),
        _peer("front"),
    )


@pytest.mark.parametrize(("proxy", "peer"), list(_unknowns()))
def test_anything_less_is_nobody(proxy: frontproxy.FrontProxy, peer: dict[str, Any] | None) -> None:
    with pytest.raises(Refusal, match=UNKNOWN):
        frontproxy.user(proxy, peer, ALICE)


@given(st.text(max_size=30))
def test_only_the_very_name_passes(name: str) -> None:
    proxy = _config(requestheader_client_ca_file=CA, requestheader_allowed_names=["front"])
    if name == "front":
        return
    with pytest.raises(Refusal):
        frontproxy.user(proxy, _peer(name), ALICE)


def test_a_review_names_everything_that_the_cluster_s_rules_look_at() -> None:
    user = frontproxy.User("alice", "7", ("g",), {"k": ("v",)})
    attributes = Attributes("get", "virtualmachineinstances", "console")
    question = authorization.Question(user, attributes, "v1", "default", "demo")
    assert authorization.review(question)["spec"] == {
        "user": "alice",
        "uid": "7",
        "groups": ["g"],
        "extra": {"k": ["v"]},
        "resourceAttributes": {
            "namespace": "default",
            "verb": "get",
            "group": "subresources.kubevirt.io",
            "version": "v1",
            "resource": "virtualmachineinstances",
            "subresource": "console",
            "name": "demo",
        },
    }


async def test_a_yes_is_good_for_a_while_and_for_nothing_else() -> None:
    user = frontproxy.User("alice", "7", ("g",), {})
    look = Attributes("get", "virtualmachineinstances", "console")
    question = authorization.Question(user, look, "v1", "default", "demo")
    now = 0.0
    async with FakeCluster() as fake, fake.client("virt-api") as client:
        authorize = authorization.authorizer(client, lambda: now)
        for _ in range(3):
            assert (await authorize(question)).allowed
        assert len(fake.requests) == 1
        fake.allow = lambda review: False
        others = (
            replace(question, name="other"),
            replace(question, namespace="other"),
            replace(question, version="v1alpha3"),
            replace(question, attributes=replace(look, verb="update")),
            replace(question, attributes=replace(look, subresource="vnc")),
            replace(question, user=frontproxy.User("alice", "8", ("g",), {})),
            replace(question, user=frontproxy.User("alice", "7", ("g", "h"), {})),
            replace(question, user=frontproxy.User("alice", "7", ("g",), {"scopes": ("none",)})),
        )
        for other in others:
            assert not (await authorize(other)).allowed
        assert (await authorize(question)).allowed
        now = authorization.REMEMBERED + 1
        assert not (await authorize(question)).allowed


async def test_a_no_is_asked_again_and_an_error_is_no_answer() -> None:
    look = Attributes("get", "virtualmachineinstances", "console")
    question = authorization.Question(
        frontproxy.User("alice", "7", (), {}), look, "v1", "default", "demo"
    )
    async with FakeCluster(allow=lambda review: False) as fake, fake.client("virt-api") as client:
        authorize = authorization.authorizer(client)
        assert not (await authorize(question)).allowed
        fake.fail("create", SUBJECT_ACCESS_REVIEWS, 403)
        with pytest.raises(ApiError):
            await authorize(question)
        fake.allow = lambda review: True
        assert (await authorize(question)).allowed
