"""A mirror tells the truth or nothing: against the fake and a real API server, then with faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.kube.conftest import Api
from tests.kube.fake import FakeCluster
from tests.kube.virtual import virtually
from virtpod.kube.resources import CONFIGMAPS, PODS, Key, Obj
from virtpod.kube.store import Informer


def configmap(namespace: str, name: str, label: str = "1", **data: str) -> Obj:
    metadata = {"namespace": namespace, "name": name, "labels": {"l": label}}
    return {"metadata": metadata, "data": data}


class Small(msgspec.Struct):
    data: dict[str, str] = {}


def small(raw: bytes) -> Small:
    return msgspec.json.decode(raw, type=Small)


@asynccontextmanager
async def running(informer: Informer[Any]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(informer.run())
    try:
        await informer.wait_synced(timeout=20)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def note(informer: Informer[Any]) -> asyncio.Queue[tuple[str, bool, bool]]:
    """What its handlers are told: (name, whether there is an old one, a new one)."""
    changes: asyncio.Queue[tuple[str, bool, bool]] = asyncio.Queue()
    informer.on_change(
        lambda key, old, new: changes.put_nowait((key.name, old is not None, new is not None))
    )
    return changes


async def test_it_mirrors_what_is_and_what_becomes(api: Api) -> None:
    async with api.client() as client:
        await client.create(CONFIGMAPS, configmap(api.namespace, "a", x="1"))
        store = Informer(
            client,
            CONFIGMAPS,
            namespace=api.namespace,
            labels="l",
            project=small,
            indices={"x": lambda key, value: [value.data.get("x")]},
        )
        changes = note(store)
        key = Key(api.namespace, "a")
        async with running(store):
            assert await changes.get() == ("a", False, True)
            assert store.get(key) == Small({"x": "1"})
            assert store.by("x", "1") == [Small({"x": "1"})]
            after = await client.patch(CONFIGMAPS, key, {"data": {"x": "2"}})
            await store.wait_until(key, after["metadata"]["resourceVersion"])
            assert store.get(key) == Small({"x": "2"})
            assert store.keys_by("x", "1") == []
            assert store.keys_by("x", "2") == [key]
            assert await changes.get() == ("a", True, True)
            gone = await client.delete(CONFIGMAPS, key)
            await store.wait_until(key, "", gone["details"]["uid"])
            assert store.get(key) is None
            assert store.keys_by("x", "2") == []
            assert await changes.get() == ("a", True, False)


async def test_what_leaves_the_selection_is_gone_and_the_write_is_shown(api: Api) -> None:
    async with api.client() as client:
        await client.create(CONFIGMAPS, configmap(api.namespace, "a"))
        store = Informer(client, CONFIGMAPS, namespace=api.namespace, labels="l=1")
        key = Key(api.namespace, "a")
        async with running(store):
            patch = {"metadata": {"labels": {"l": "2"}}}
            after = await client.patch(CONFIGMAPS, key, patch)
            await store.wait_until(key, after["metadata"]["resourceVersion"])
            assert store.get(key) is None


async def test_a_long_list_is_taken_in_pages(api: Api) -> None:
    async with api.client() as client:
        for number in range(7):
            await client.create(CONFIGMAPS, configmap(api.namespace, f"a{number}"))
        store = Informer(client, CONFIGMAPS, namespace=api.namespace, labels="l", limit=3)
        async with running(store):
            assert len(store) == 7


async def test_late_handlers_are_told_of_what_is_there(api: Api) -> None:
    async with api.client() as client:
        await client.create(CONFIGMAPS, configmap(api.namespace, "a"))
        store = Informer(client, CONFIGMAPS, namespace=api.namespace, labels="l")
        async with running(store):
            assert await note(store).get() == ("a", False, True)


# Faults, by the fake; time jumps, so that every pause and deadline is a real one of the code.


def test_a_truncated_list_changes_nothing() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            fake.put(CONFIGMAPS, configmap("n", "a"))
            store = Informer(client, CONFIGMAPS)
            async with running(store):
                removals = note(store)
                await removals.get()
                fake.truncate_lists(4)
                fake.fail("list", status=500, times=6)
                fake.put(CONFIGMAPS, configmap("n", "b"))
                fake.compact()
                await fake.drop_watches()  # the next watch is Expired, and then it must list
                async with asyncio.timeout(300):
                    assert await removals.get() == ("b", False, True)
                assert removals.empty(), "nothing was taken for deleted on the way"
                assert len(store) == 2

    virtually(main())


def test_a_list_that_fails_leaves_an_unsynced_store() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            fake.fail("list", status=503, times=10_000)
            store = Informer(client, CONFIGMAPS)
            with pytest.raises(TimeoutError):
                async with running(store):
                    pass
            assert not store.synced

    virtually(main())


def test_deletions_during_a_break_are_found_by_listing_again() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            for name in "ab":
                fake.put(CONFIGMAPS, configmap("n", name))
            store = Informer(client, CONFIGMAPS)
            async with running(store):
                changes = note(store)
                await changes.get()
                await changes.get()
                fake.fail("watch", status=503, times=20)
                await fake.drop_watches()
                fake.remove(CONFIGMAPS, ("n", "a"))
                fake.compact()
                async with asyncio.timeout(300):
                    assert await changes.get() == ("a", True, False)
                assert list(store.keys()) == [Key("n", "b")]

    virtually(main())


def test_a_broken_watch_goes_on_where_it_was() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            store = Informer(client, CONFIGMAPS)
            async with running(store):
                changes = note(store)
                for number in range(5):
                    await fake.drop_watches()
                    fake.put(CONFIGMAPS, configmap("n", f"a{number}"))
                    async with asyncio.timeout(60):
                        assert await changes.get() == (f"a{number}", False, True)
            lists = [request for request in fake.requests if request.verb == "list"]
            assert len(lists) == 1

    virtually(main())


def test_a_list_older_than_what_was_shown_is_not_believed() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            fake.put(CONFIGMAPS, configmap("n", "a"))
            store = Informer(client, CONFIGMAPS)
            store.version = 1000  # as if another replica of the server had shown more
            task = asyncio.ensure_future(store.run())
            with pytest.raises(TimeoutError):
                await store.wait_synced(timeout=30)
            for number in range(1000):
                fake.put(CONFIGMAPS, configmap("n", "a", x=str(number)))
            await store.wait_synced(timeout=120)
            assert [obj["data"] for obj in store.values()] == [{"x": "999"}]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    virtually(main())


def test_an_object_that_cannot_be_read_hides_no_other() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            fake.put(CONFIGMAPS, configmap("n", "a", x="1"))
            store = Informer(client, CONFIGMAPS, project=small)
            async with running(store):
                changes = note(store)
                await changes.get()
                fake.put(CONFIGMAPS, {"metadata": {"namespace": "n", "name": "a"}, "data": "odd"})
                fake.put(CONFIGMAPS, {"metadata": {"namespace": "n", "name": "o"}, "data": "odd"})
                fake.put(CONFIGMAPS, configmap("n", "b"))
                assert await changes.get() == ("b", False, True)
                assert store.get(("n", "a")) == Small({"x": "1"}), "what was known stays"

    virtually(main())


def test_a_bookmark_shows_a_write_on_what_is_not_selected() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            store = Informer(client, PODS, labels="l=1")
            async with running(store):
                made = fake.put(PODS, {"metadata": {"namespace": "n", "name": "a"}})
                version = made["metadata"]["resourceVersion"]
                with pytest.raises(TimeoutError):
                    await store.wait_until(("n", "a"), version, timeout=5)
                await fake.bookmark()
                await store.wait_until(("n", "a"), version, timeout=5)

    virtually(main())


def test_a_handler_that_fails_does_not_blind_the_others() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            store = Informer(client, CONFIGMAPS)

            def broken(key: Key, old: object, new: object) -> None:
                raise ValueError("a bug")

            store.on_change(broken)
            changes = note(store)
            async with running(store):
                fake.put(CONFIGMAPS, configmap("n", "a"))
                assert await changes.get() == ("a", False, True)

    virtually(main())
