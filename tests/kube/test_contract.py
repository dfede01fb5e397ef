"""What the client and everything above it rely on, asked of the fake and of a real API server."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.kube.conftest import Api
from virtpod.kube import errors
from virtpod.kube.client import Client, lingers
from virtpod.kube.plan import tests as read
from virtpod.kube.resources import CONFIGMAPS, NAMESPACES, PODS, Key, Obj, Resource


def configmap(api: Api, name: str, labels: dict[str, str] | None = None, **data: str) -> Obj:
    metadata: Obj = {"namespace": api.namespace, "name": name}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def pod(api: Api, name: str, **spec: Any) -> Obj:
    container = {"name": "a", "image": "none.invalid/a"}
    return {
        "metadata": {"namespace": api.namespace, "name": name},
        "spec": {"containers": [container], **spec},
    }


async def test_an_object_lives_from_create_to_delete(api: Api) -> None:
    async with api.client() as client:
        made = await client.create(CONFIGMAPS, configmap(api, "a", x="1"))
        key = Key(api.namespace, "a")
        assert made["metadata"]["uid"]
        assert (await client.get(CONFIGMAPS, key))["data"] == {"x": "1"}
        with pytest.raises(errors.AlreadyExists):
            await client.create(CONFIGMAPS, configmap(api, "a"))
        gone = await client.delete(CONFIGMAPS, key)
        assert gone["kind"] == "Status"
        assert gone["details"]["uid"] == made["metadata"]["uid"]
        with pytest.raises(errors.NotFound):
            await client.get(CONFIGMAPS, key)
        with pytest.raises(errors.NotFound):
            await client.delete(CONFIGMAPS, key)


async def test_an_unknown_kind_is_not_found(api: Api) -> None:
    async with api.client() as client:
        with pytest.raises(errors.NotFound):
            await client.list(Resource("nobody.example", "v1", "things", "Thing"))


async def test_a_dry_run_deletes_nothing(api: Api) -> None:
    async with api.client() as client:
        await client.create(CONFIGMAPS, configmap(api, "a"))
        key = (api.namespace, "a")
        await client.delete(CONFIGMAPS, key, dry_run=True)
        assert (await client.get(CONFIGMAPS, key))["metadata"].get("deletionTimestamp") is None


async def test_a_dry_run_changes_nothing(api: Api) -> None:
    async with api.client() as client:
        await client.create(CONFIGMAPS, configmap(api, "a"), dry_run=True)
        with pytest.raises(errors.NotFound):
            await client.get(CONFIGMAPS, (api.namespace, "a"))


async def test_a_struct_is_decoded_where_asked(api: Api) -> None:
    class Data(msgspec.Struct):
        data: dict[str, str]

    async with api.client() as client:
        await client.create(CONFIGMAPS, configmap(api, "a", x="1"))
        assert await client.get(CONFIGMAPS, (api.namespace, "a"), decode=Data) == Data({"x": "1"})


async def test_a_long_list_is_read_in_pages_of_one_version(api: Api) -> None:
    async with api.client() as client:
        for number in range(5):
            await client.create(CONFIGMAPS, configmap(api, f"a{number}", {"l": "1"}))
        listed = await client.list(CONFIGMAPS, namespace=api.namespace, labels="l=1", limit=2)
        assert [item["metadata"]["name"] for item in listed.items] == [f"a{n}" for n in range(5)]
        assert int(listed.resource_version) >= max(
            int(item["metadata"]["resourceVersion"]) for item in listed.items
        )


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("l=1", ["a"]),
        ("l!=1", ["b", "c"]),
        ("l in (1,2)", ["a", "b"]),
        ("l notin (1)", ["b", "c"]),
        ("l", ["a", "b"]),
        ("!l,t", ["c"]),
    ],
)
async def test_label_selectors(api: Api, selector: str, names: list[str]) -> None:
    async with api.client() as client:
        for name, labels in (("a", {"l": "1"}), ("b", {"l": "2"}), ("c", {"t": ""})):
            await client.create(CONFIGMAPS, configmap(api, name, labels))
        # A namespace of a real cluster has a ConfigMap of its own.
        listed = await client.list(CONFIGMAPS, namespace=api.namespace, labels=selector)
        found = [item["metadata"]["name"] for item in listed.items]
        assert [name for name in found if name != "kube-root-ca.crt"] == names


async def test_field_selectors(api: Api) -> None:
    async with api.client() as client:
        await client.create(PODS, pod(api, "a", nodeName="n1"))
        await client.create(PODS, pod(api, "b", nodeName="n2"))
        listed = await client.list(PODS, namespace=api.namespace, fields="spec.nodeName=n1")
        assert [item["metadata"]["name"] for item in listed.items] == ["a"]


async def test_merge_patch_sets_and_removes(api: Api) -> None:
    async with api.client() as client:
        made = await client.create(CONFIGMAPS, configmap(api, "a", x="1", y="2"))
        key = (api.namespace, "a")
        after = await client.patch(CONFIGMAPS, key, {"data": {"x": "3", "y": None}})
        assert after["data"] == {"x": "3"}
        old = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
        with pytest.raises(errors.Conflict):
            await client.patch(CONFIGMAPS, key, {**old, "data": {"x": "4"}})


async def test_a_patch_that_changes_nothing_is_no_new_version(api: Api) -> None:
    async with api.client() as client:
        made = await client.create(CONFIGMAPS, configmap(api, "a", x="1"))
        same = await client.patch(CONFIGMAPS, (api.namespace, "a"), {"data": {"x": "1"}})
        assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_json_patch_whose_test_fails_is_a_conflict(api: Api) -> None:
    async with api.client() as client:
        made = await client.create(CONFIGMAPS, configmap(api, "a", x="1"))
        key = (api.namespace, "a")
        set_x = {"op": "replace", "path": "/data/x", "value": "2"}
        after = await client.patch(CONFIGMAPS, key, [*read(made, "/data/x"), set_x], "json")
        assert after["data"] == {"x": "2"}
        with pytest.raises(errors.Conflict):
            await client.patch(CONFIGMAPS, key, [*read(made, "/data/x"), set_x], "json")


async def test_json_patch_tests_absence_as_null(api: Api) -> None:
    async with api.client() as client:
        made = await client.create(CONFIGMAPS, configmap(api, "a", x="1"))
        key = (api.namespace, "a")
        add = {"op": "add", "path": "/metadata/labels", "value": {"l": "1"}}
        body = [*read(made, "/metadata/labels"), add]
        assert body[0]["value"] is None
        after = await client.patch(CONFIGMAPS, key, body, "json")
        assert after["metadata"]["labels"] == {"l": "1"}
        with pytest.raises(errors.Conflict):
            await client.patch(CONFIGMAPS, key, body, "json")


@pytest.mark.parametrize(
    ("path", "test"),
    [
        ("/metadata/labels/l", {"op": "test", "path": "/metadata/labels", "value": None}),
        ("/data/y", {"op": "test", "path": "/data/y", "value": None}),
        (
            "/metadata/finalizers/3",
            {"op": "test", "path": "/metadata/finalizers", "value": ["a/b"]},
        ),
    ],
)
async def test_what_is_absent_can_be_tested(api: Api, path: str, test: Obj) -> None:
    async with api.client() as client:
        obj = configmap(api, "a", x="1")
        obj["metadata"]["finalizers"] = ["a/b"]
        made = await client.create(CONFIGMAPS, obj)
        assert read(made, path) == [test]
        await client.patch(CONFIGMAPS, (api.namespace, "a"), [test], "json")


async def test_json_patch_tests_any_text(api: Api) -> None:
    """The server compares texts as it encodes them, which is not how everybody does."""
    text = 'a < b & c > d \u2028 "quoted" \\ / \n\t\b\f\x01\x7f é 😀'
    async with api.client() as client:
        made = await client.create(CONFIGMAPS, configmap(api, "a", x=text))
        body = [*read(made, "/data/x"), {"op": "add", "path": "/data/y", "value": "2"}]
        after = await client.patch(CONFIGMAPS, (api.namespace, "a"), body, "json")
        assert after["data"] == {"x": text, "y": "2"}


async def test_json_patch_that_does_not_fit_is_a_conflict(api: Api) -> None:
    async with api.client() as client:
        await client.create(CONFIGMAPS, configmap(api, "a", x="1"))
        body = [{"op": "remove", "path": "/data/y"}]
        with pytest.raises(errors.Conflict):
            await client.patch(CONFIGMAPS, (api.namespace, "a"), body, "json")


async def test_an_object_that_breaks_the_rules_is_invalid(api: Api) -> None:
    if api.fake:
        api.fake.fail("create", CONFIGMAPS, 422, reason="Invalid")
    async with api.client() as client:
        with pytest.raises(errors.Invalid):
            await client.create(CONFIGMAPS, configmap(api, "a", {"not a key!": "1"}))


async def test_strategic_patch_merges_lists_by_name(api: Api) -> None:
    async with api.client() as client:
        await client.create(PODS, pod(api, "a"))
        key = (api.namespace, "a")
        for kind in ("Ready", "Other", "Ready"):
            condition = {"type": kind, "status": "True"}
            after = await client.patch(
                PODS,
                key,
                {"status": {"conditions": [condition]}},
                "strategic",
                subresource="status",
            )
        assert sorted(c["type"] for c in after["status"]["conditions"]) == ["Other", "Ready"]


async def test_status_is_written_by_its_subresource_only(api: Api) -> None:
    async with api.client() as client:
        await client.create(PODS, pod(api, "a"))
        key = (api.namespace, "a")
        body = {"status": {"message": "hello"}, "metadata": {"annotations": {"a": "1"}}}
        after = await client.patch(PODS, key, body)
        assert "message" not in after["status"] if "status" in after else True
        assert after["metadata"]["annotations"] == {"a": "1"}
        after = await client.patch(
            PODS, key, {"status": {"message": "hello"}}, subresource="status"
        )
        assert after["status"]["message"] == "hello"


async def test_apply_makes_changes_and_removes_what_is_its_own(api: Api) -> None:
    async with api.client() as client:
        key = (api.namespace, "a")
        await client.apply(CONFIGMAPS, configmap(api, "a", x="1", y="2"), manager="one")
        await client.patch(CONFIGMAPS, key, {"data": {"z": "3"}})
        after = await client.apply(CONFIGMAPS, configmap(api, "a", x="4"), manager="one")
        assert after["data"] == {"x": "4", "z": "3"}
        again = await client.apply(CONFIGMAPS, configmap(api, "a", x="4"), manager="one")
        assert again["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]


async def test_apply_to_anothers_field_conflicts_unless_forced(api: Api) -> None:
    async with api.client() as client:
        await client.apply(CONFIGMAPS, configmap(api, "a", x="1"), manager="one")
        with pytest.raises(errors.Conflict):
            await client.apply(CONFIGMAPS, configmap(api, "a", x="2"), manager="two", force=False)
        after = await client.apply(CONFIGMAPS, configmap(api, "a", x="2"), manager="two")
        assert after["data"] == {"x": "2"}


async def test_delete_with_a_precondition_spares_a_namesake(api: Api) -> None:
    async with api.client() as client:
        made = await client.create(CONFIGMAPS, configmap(api, "a"))
        key = (api.namespace, "a")
        with pytest.raises(errors.Conflict):
            await client.delete(CONFIGMAPS, key, uid="somebody-else")
        with pytest.raises(errors.Conflict):
            await client.delete(CONFIGMAPS, key, resource_version="1")
        await client.delete(CONFIGMAPS, key, uid=made["metadata"]["uid"])


async def test_a_finalizer_keeps_an_object_until_it_is_taken_off(api: Api) -> None:
    async with api.client() as client:
        obj = configmap(api, "a")
        obj["metadata"]["finalizers"] = ["example.org/hold"]
        await client.create(CONFIGMAPS, obj)
        key = (api.namespace, "a")
        leaving = await client.delete(CONFIGMAPS, key)
        assert leaving["metadata"]["deletionTimestamp"]
        await client.patch(CONFIGMAPS, key, {"metadata": {"finalizers": None}})
        with pytest.raises(errors.NotFound):
            await client.get(CONFIGMAPS, key)


async def test_a_pod_on_a_node_goes_gracefully(api: Api) -> None:
    async with api.client() as client:
        await client.create(PODS, pod(api, "a", nodeName="n1"))
        key = (api.namespace, "a")
        leaving = await client.delete(PODS, key, grace=30)
        assert leaving["metadata"]["deletionGracePeriodSeconds"] == 30
        assert (await client.get(PODS, key))["metadata"]["deletionTimestamp"]
        await client.delete(PODS, key, grace=0)
        with pytest.raises(errors.NotFound):
            await client.get(PODS, key)


async def test_an_eviction_deletes_the_pod(api: Api) -> None:
    async with api.client() as client:
        await client.create(PODS, pod(api, "a"))
        key = Key(api.namespace, "a")
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}
        await client.post(PODS, key, "eviction", body)
        with pytest.raises(errors.NotFound):
            await client.get(PODS, key)


async def test_a_collection_is_deleted_by_label(api: Api) -> None:
    async with api.client() as client:
        await client.create(CONFIGMAPS, configmap(api, "a", {"l": "1"}))
        await client.create(CONFIGMAPS, configmap(api, "b", {"l": "2"}))
        await client.delete_collection(CONFIGMAPS, api.namespace, labels="l=1")
        left = await client.list(CONFIGMAPS, namespace=api.namespace, labels="l")
        assert [item["metadata"]["name"] for item in left.items] == ["b"]


async def test_nothing_is_made_in_a_namespace_that_is_being_deleted(api: Api) -> None:
    key = Key(api.namespace, "a")
    async with api.client() as client:
        if api.fake:
            await client.create(NAMESPACES, {"metadata": {"name": api.namespace}})
        await client.create(CONFIGMAPS, configmap(api, "a"))
        assert lingers(await client.delete(NAMESPACES, Key("", api.namespace)))
        with pytest.raises(errors.Terminating, match="because it is being terminated"):
            await client.create(CONFIGMAPS, configmap(api, "b"))
        with pytest.raises(errors.Terminating):
            await client.create(CONFIGMAPS, configmap(api, "a"))
        # What is there can still be told of, and go.
        await client.patch(CONFIGMAPS, key, {"data": {"x": "1"}})
        await client.delete(CONFIGMAPS, key)


async def test_a_watch_shows_what_comes_after_its_version(api: Api) -> None:
    async with api.client() as client:
        await client.create(CONFIGMAPS, configmap(api, "before", {"l": "1"}))
        listed = await client.list(CONFIGMAPS, namespace=api.namespace, labels="l")
        await client.create(CONFIGMAPS, configmap(api, "a", {"l": "1"}))
        await client.patch(CONFIGMAPS, (api.namespace, "a"), {"data": {"x": "1"}})
        await client.delete(CONFIGMAPS, (api.namespace, "a"))
        seen = await watched(client, api, listed.resource_version, "l", 3)
        assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_a_watch_with_a_selector_shows_entering_and_leaving(api: Api) -> None:
    async with api.client() as client:
        listed = await client.list(CONFIGMAPS, namespace=api.namespace, labels="l=1")
        await client.create(CONFIGMAPS, configmap(api, "a", {"l": "2"}))
        for label in ("1", "2"):
            patch = {"metadata": {"labels": {"l": label}}}
            await client.patch(CONFIGMAPS, (api.namespace, "a"), patch)
        seen = await watched(client, api, listed.resource_version, "l=1", 2)
        assert seen == [("ADDED", "a"), ("DELETED", "a")]


async def test_versions_of_watched_events_only_grow(api: Api) -> None:
    async with api.client() as client:
        listed = await client.list(CONFIGMAPS, namespace=api.namespace)
        await client.create(CONFIGMAPS, configmap(api, "a", {"l": "1"}))
        await client.delete(CONFIGMAPS, (api.namespace, "a"))
        versions: list[int] = []
        async for event in client.watch(
            CONFIGMAPS,
            resource_version=listed.resource_version,
            namespace=api.namespace,
            labels="l=1",
            seconds=20,
        ):
            if event.type != "BOOKMARK":
                versions.append(int(event.object["metadata"]["resourceVersion"]))
            if len(versions) == 2:
                break
        assert versions[0] < versions[1]


async def test_a_watch_ends_by_itself_with_a_bookmark(api: Api) -> None:
    async with api.client() as client:
        listed = await client.list(CONFIGMAPS, namespace=api.namespace)
        seen = [
            event.type
            async for event in client.watch(
                CONFIGMAPS,
                resource_version=listed.resource_version,
                namespace=api.namespace,
                labels="l=nobody",
                seconds=1,
            )
        ]
        assert set(seen) <= {"BOOKMARK"}


async def test_generated_names_are_made_by_the_server(api: Api) -> None:
    async with api.client() as client:
        obj = configmap(api, "")
        del obj["metadata"]["name"]
        obj["metadata"]["generateName"] = "a-"
        made = await client.create(CONFIGMAPS, obj)
        assert made["metadata"]["name"].startswith("a-")


async def watched(
    client: Client, api: Api, version: str, labels: str, count: int
) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    async for event in client.watch(
        CONFIGMAPS, resource_version=version, namespace=api.namespace, labels=labels, seconds=20
    ):
        if event.type != "BOOKMARK":
            seen.append((event.type, event.object["metadata"]["name"]))
        if len(seen) == count:
            break
    return seen
