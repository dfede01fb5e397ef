"""What the client does about a network and a server that are not always well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.kube.fake import FakeCluster
from tests.kube.virtual import clock, virtually
from virtpod.kube import errors
from virtpod.kube.client import Client, Observation
from virtpod.kube.config import Config
from virtpod.kube.metrics import url_of
from virtpod.kube.resources import CONFIGMAPS, PODS, VMIS, Key


@asynccontextmanager
async def served(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[Config]:
    """A server that answers everything so."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield Config(f"http://{host}:{port}", token="secret")
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 0])
@pytest.mark.parametrize("verb", ["get", "list", "patch", "delete"])
def test_what_may_be_repeated_is(verb: str, status: int) -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            fake.put(CONFIGMAPS, {"metadata": {"namespace": "n", "name": "a"}})
            fake.fail(verb, status=status, times=3)
            key = Key("n", "a")
            match verb:
                case "get":
                    await client.get(CONFIGMAPS, key)
                case "list":
                    await client.list(CONFIGMAPS)
                case "patch":
                    await client.patch(CONFIGMAPS, key, {"data": {"x": "1"}})
                case _:
                    await client.delete(CONFIGMAPS, key)
            assert len(fake.requests) == 4

    virtually(main())


@pytest.mark.parametrize("status", [500, 503, 0])
def test_a_create_whose_answer_is_lost_is_not_repeated(status: int) -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            fake.fail("create", status=status, after=True)
            with pytest.raises(errors.Unavailable):
                await client.create(CONFIGMAPS, {"metadata": {"namespace": "n", "name": "a"}})
            assert len(fake.objects(CONFIGMAPS)) == 1

    virtually(main())


def test_trouble_that_lasts_is_told_in_bounded_time() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            fake.fail("get", status=503, times=10**6)
            began = clock()
            with pytest.raises(errors.Unavailable):
                await client.get(CONFIGMAPS, ("n", "a"))
            assert clock() - began < 10

    virtually(main())


def test_a_server_that_does_not_answer_is_given_up() -> None:
    async def main() -> None:
        async with FakeCluster(latency=10**6) as fake, fake.client() as client:
            with pytest.raises(errors.Unavailable) as error:
                await client.request("POST", "/api/v1/pods", timeout=5)
            assert error.value.reason == "NoAnswer"

    virtually(main())


def test_nobody_listening_is_no_connection() -> None:
    async def main() -> None:
        async with Client(Config("http://127.0.0.1:1"), "c") as client:
            with pytest.raises(errors.Unavailable) as error:
                await client.get(CONFIGMAPS, ("n", "a"))
            assert error.value.reason == "NoConnection"

    virtually(main())


def test_a_long_retry_after_is_left_to_the_caller() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            fake.fail("create", PODS, 429, retry_after=10)
            with pytest.raises(errors.TooMany) as error:
                await client.post(PODS, ("n", "a"), "eviction", {})
            assert error.value.retry_after == 10

    virtually(main())


def test_requests_are_observed_without_names() -> None:
    async def main() -> None:
        seen: list[Observation] = []
        async with (
            FakeCluster() as fake,
            Client(fake.config(), "virt-api", observe=seen.append) as client,
        ):
            with pytest.raises(errors.NotFound):
                await client.get(VMIS, ("n", "a"))
            assert [(o.verb, o.resource, o.code) for o in seen] == [("get", VMIS.plural, 404)]
            assert fake.requests[0].agent == "virt-api"
            assert url_of(seen[0].path) == (
                "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{name}"
            )

    virtually(main())


async def test_warnings_are_handed_on() -> None:
    async def answer(request: web.Request) -> web.Response:
        header = '299 - "spec.a is \\"deprecated\\"", 299 - "two"'
        return web.json_response({}, headers={"Warning": header})

    warnings: list[str] = []
    async with (
        served(answer) as config,
        Client(config, "virtctl", on_warning=warnings.append) as client,
    ):
        await client.get(CONFIGMAPS, ("n", "a"))
    assert warnings == ['spec.a is "deprecated"', "two"]


async def test_a_websocket_carries_bytes_both_ways() -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        assert request.headers["Authorization"] == "Bearer secret"
        socket = web.WebSocketResponse(protocols=("plain.kubevirt.io",))
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket

    async with (
        served(answer) as config,
        Client(config, "virtctl") as client,
        client.websocket("/console", protocols=("plain.kubevirt.io",)) as socket,
    ):
        assert socket.protocol == "plain.kubevirt.io"
        await socket.send_bytes(b"hello")
        assert (await socket.receive()).data == b"hello"


async def test_a_refused_websocket_says_why() -> None:
    async def answer(request: web.Request) -> web.Response:
        status = {"kind": "Status", "reason": "NotFound", "message": "no such VMI", "code": 404}
        return web.json_response(status, status=404)

    async with served(answer) as config, Client(config, "virtctl") as client:
        with pytest.raises(errors.NotFound, match="no such VMI"):
            async with client.websocket("/console"):
                pass


async def test_an_answer_that_is_no_status_is_quoted() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="a proxy's page", status=403)

    async with served(answer) as config, Client(config, "virtctl") as client:
        with pytest.raises(errors.Forbidden, match="a proxy's page"):
            await client.get(CONFIGMAPS, ("n", "a"))


async def test_a_stream_is_read_as_it_comes(fake: FakeCluster) -> None:
    fake.put(CONFIGMAPS, {"metadata": {"namespace": "n", "name": "a"}})
    async with (
        fake.client() as client,
        client.stream("GET", CONFIGMAPS.path("n", "a")) as response,
    ):
        assert b'"name": "a"' in await response.content.read()


async def test_watched_objects_may_be_of_any_size(fake: FakeCluster) -> None:
    async with fake.client() as client:
        fake.put(
            CONFIGMAPS, {"metadata": {"namespace": "n", "name": "a"}, "data": {"x": "y" * 900_000}}
        )
        async for event in client.watch(CONFIGMAPS, resource_version="1"):
            assert len(event.object["data"]["x"]) == 900_000
            break


@pytest.mark.parametrize(
    "key",
    [
        Key("n", "../../namespaces/kube-system/secrets/s"),
        Key("n", ".."),
        Key("n", "a%2f..%2fb"),
        Key("n", "a?watch=1"),
        Key("n/../kube-system", "a"),
    ],
)
async def test_a_name_never_leads_to_another_resource(key: Key) -> None:
    """Names come out of users' specs: `spec.instancetype.name`, `vmiName`, `claimName`."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({})

    async with served(answer) as config, Client(config, "test") as client:
        with pytest.raises(errors.NotFound, match="no ConfigMap can be called"):
            await client.get(CONFIGMAPS, key)
    assert asked == []
