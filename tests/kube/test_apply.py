"""Many manifests: made in an order that works, left alone when they are so, taken away again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.kube.conftest import Api
from tests.kube.fake import FakeCluster
from tests.kube.virtual import virtually
from virtpod.kube import apply, errors
from virtpod.kube.client import Client
from virtpod.kube.resources import CONFIGMAPS, CRDS, NAMESPACES, SERVICES, Key, Obj, of

GROUP = "things.example.org"


def manifests(namespace: str, **data: str) -> list[Obj]:
    labels = {"app": "a"}
    container = {
        "name": "a",
        "image": "none.invalid/a",
        "env": [{"name": "A", "value": "1"}],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
    }
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": namespace, "name": "a", "labels": labels},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [container], "tolerations": []},
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": namespace, "name": "a"},
            "spec": {"selector": labels, "ports": [{"port": 443, "targetPort": 8443}]},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"namespace": namespace, "name": "a"},
            "data": data,
        },
    ]


def crd(plural: str) -> Obj:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural[:-1], "kind": plural[:-1].title()},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


async def test_applying_the_same_again_writes_nothing(api: Api) -> None:
    async with api.client() as client:
        wanted = manifests(api.namespace, x="1")
        first = await apply.all(client, wanted, "virt-operator")
        assert [applied.changed for applied in first] == [True, True, True]
        assert [applied.resource.kind for applied in first] == [
            "ConfigMap",
            "Service",
            "Deployment",
        ]
        again = await apply.all(client, wanted, "virt-operator")
        assert [applied.changed for applied in again] == [False, False, False]


async def test_what_somebody_changed_is_put_back_and_what_is_dropped_goes(api: Api) -> None:
    async with api.client() as client:
        key = Key(api.namespace, "a")
        await apply.all(client, manifests(api.namespace, x="1", y="2"), "virt-operator")
        await client.patch(CONFIGMAPS, key, {"data": {"x": "meddled", "z": "theirs"}})
        await apply.all(client, manifests(api.namespace, x="1", y="2"), "virt-operator")
        assert (await client.get(CONFIGMAPS, key))["data"] == {"x": "1", "y": "2", "z": "theirs"}
        changed = await apply.all(client, manifests(api.namespace, x="1"), "virt-operator")
        assert [applied.resource.kind for applied in changed if applied.changed] == ["ConfigMap"]
        assert (await client.get(CONFIGMAPS, key))["data"] == {"x": "1", "z": "theirs"}


async def test_deleting_all_waits_until_they_are_gone(api: Api) -> None:
    async with api.client() as client:
        wanted = manifests(api.namespace, x="1")
        await apply.all(client, wanted, "virt-operator")
        asked: list[str] = []
        client.observe = lambda each: asked.append(each.method)
        await apply.delete_all(client, wanted, 60)
        assert asked == ["DELETE"] * len(wanted)
        for obj in wanted:
            with pytest.raises(errors.NotFound):
                await client.get(of(obj), (api.namespace, "a"))
        await apply.delete_all(client, wanted, 60)


async def test_what_somebody_keeps_is_awaited_and_its_namesake_spared(api: Api) -> None:
    async with api.client() as client:
        key = Key(api.namespace, "a")
        kept = {"namespace": key[0], "name": key[1], "finalizers": ["example.org/keep"]}
        live = await client.create(CONFIGMAPS, {"metadata": kept})
        found = {"apiVersion": "v1", "kind": "ConfigMap", **live}
        deleting = asyncio.ensure_future(apply.delete_all(client, [found], 60))
        await apply.wait_for(
            client, CONFIGMAPS, key, lambda obj: "deletionTimestamp" in obj["metadata"], 20
        )
        await asyncio.sleep(0.2)
        assert not deleting.done()
        await client.patch(CONFIGMAPS, key, {"metadata": {"finalizers": None}})
        await deleting
        await client.create(CONFIGMAPS, {"metadata": {"namespace": key[0], "name": key[1]}})
        with pytest.raises(errors.Conflict):
            await apply.delete_all(client, [found], 60)
        assert await client.get(CONFIGMAPS, key)


async def test_crds_are_served_when_apply_returns(api: Api) -> None:
    async with api.client() as client:
        wanted = crd("gadgets")
        if api.fake:
            serving = asyncio.ensure_future(serve_crds(client))
        await apply.all(client, [wanted], "virt-operator")
        live = await client.get(CRDS, ("", wanted["metadata"]["name"]))
        kinds = {c["type"]: c["status"] for c in live["status"]["conditions"]}
        assert kinds["Established"] == "True"
        again = await apply.all(client, [wanted], "virt-operator")
        assert [applied.changed for applied in again] == [False]
        await apply.delete_all(client, [wanted], 60)
        if api.fake:
            serving.cancel()


async def test_a_kind_that_does_not_go_is_looked_at_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the API server has to where it forgot that one is to go."""
    monkeypatch.setattr(apply, "TOUCHED_AFTER", 0.3)
    async with api.client() as client:
        wanted = crd("relics")
        wanted["metadata"]["finalizers"] = ["example.org/keep"]
        key = Key("", wanted["metadata"]["name"])
        live = await client.create(CRDS, wanted)
        deleting = asyncio.ensure_future(apply.delete_all(client, [wanted], 60))

        def touched(obj: Obj | None) -> bool:
            annotations = (obj or {})["metadata"].get("annotations") or {}
            return int(annotations.get(apply.TOUCHED, "0")) > 1

        held = await apply.wait_for(client, CRDS, key, touched, 20)
        assert held
        assert held["metadata"]["uid"] == live["metadata"]["uid"]
        await client.patch(CRDS, key, {"metadata": {"finalizers": None}})
        await deleting


async def serve_crds(client: Client) -> None:
    """What a real server does by itself."""
    async for event in client.watch(CRDS, resource_version="1"):
        if event.type == "ADDED":
            name = event.object["metadata"]["name"]
            status = {"conditions": [{"type": "Established", "status": "True"}]}
            await client.patch(CRDS, ("", name), {"status": status}, subresource="status")


async def test_waiting_for_an_object_sees_it_come(api: Api) -> None:
    async with api.client() as client:
        key = (api.namespace, "later")
        waiting = asyncio.ensure_future(apply.wait_for(client, CONFIGMAPS, key, bool, 20))
        await client.create(CONFIGMAPS, {"metadata": {"namespace": key[0], "name": key[1]}})
        found = await waiting
        assert found is not None
        assert found["metadata"]["name"] == "later"


def test_a_finalizer_that_nobody_takes_off_ends_in_a_time_out() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            held = {"metadata": {"name": "n", "finalizers": ["a/b"]}}
            fake.put(NAMESPACES, held)
            obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
            with pytest.raises(TimeoutError):
                await apply.delete_all(client, [obj], 30)

    virtually(main())


def test_one_that_is_refused_is_the_error_that_is_raised() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            fake.fail("patch", SERVICES, 403, reason="Forbidden")
            with pytest.raises(errors.Forbidden):
                await apply.all(client, manifests("n"), "virt-operator")

    virtually(main())


@pytest.mark.parametrize(
    ("live", "wanted", "so"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": None, "b": {}, "c": []}, True),
        ({"ports": [{"port": 1, "protocol": "TCP"}]}, {"ports": [{"port": 1}]}, True),
        ({"ports": [{"port": 1}]}, {"ports": [{"port": 1}, {"port": 2}]}, False),
        ({"rules": [1, 2]}, {"rules": [1]}, True),
        ({"a": "x"}, {"a": ["x"]}, False),
    ],
)
def test_holds(live: Any, wanted: Any, so: bool) -> None:
    assert apply.holds(live, wanted) is so
