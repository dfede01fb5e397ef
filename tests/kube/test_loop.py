"""A small controller, "as many children as the parent says", through the whole loop."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.kube.conftest import Api
from tests.kube.fake import FakeCluster
from tests.kube.virtual import virtually
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.loop import Acts, Loop
from virtpod.kube.plan import Create, Delete, Event, Patch, Plan, Reference
from virtpod.kube.queue import Queue
from virtpod.kube.resources import CONFIGMAPS, NAMESPACES, PODS, Key, Obj, key_of
from virtpod.kube.store import Informer


@dataclass(frozen=True)
class Seen:
    parent: Obj
    children: list[Obj]


def decide(seen: Seen) -> Plan:
    """Children have names of the server's choice, so that a stale look makes one too many."""
    wanted = int(seen.parent["data"]["count"])
    have = len(seen.children)
    if have < wanted:
        child = {
            "metadata": {
                "namespace": seen.parent["metadata"]["namespace"],
                "generateName": "child-",
                "labels": {"parent": seen.parent["metadata"]["name"]},
            }
        }
        return Plan(f"{have} of {wanted}", [Create(CONFIGMAPS, child)] * (wanted - have))
    if have > wanted:
        surplus = seen.children[wanted:]
        deletions = [
            Delete(CONFIGMAPS, key_of(child), uid=child["metadata"]["uid"]) for child in surplus
        ]
        return Plan(f"{have} of {wanted}", deletions)
    if seen.parent["data"].get("have") == str(have):
        return Plan("as it should be")
    status = Patch(CONFIGMAPS, key_of(seen.parent), {"data": {"have": str(have)}})
    return Plan("say so", status=status)


def parent(namespace: str, count: int, name: str = "a") -> Obj:
    metadata = {"namespace": namespace, "name": name, "labels": {"role": "parent"}}
    return {"metadata": metadata, "data": {"count": str(count)}}


@asynccontextmanager
async def controller(
    client: Client, namespace: str, rule: Callable[[Seen], Plan] = decide
) -> AsyncIterator[tuple[Loop[Key, Seen], Informer[Obj]]]:
    maps = Informer(
        client,
        CONFIGMAPS,
        namespace=namespace,
        indices={"parent": lambda key, obj: [(obj["metadata"].get("labels") or {}).get("parent")]},
    )

    def seen(key: Key) -> Seen | None:
        found = maps.get(key)
        return None if found is None else Seen(found, maps.by("parent", key.name))

    loop: Loop[Key, Seen] = Loop(
        "test", seen, rule, Acts(client), stores=[maps], queue=Queue("test")
    )

    def changed(key: Key, old: Obj | None, new: Obj | None) -> None:
        labels = ((new or old or {})["metadata"].get("labels")) or {}
        if labels.get("role") == "parent":
            loop.add(key)
        if labels.get("parent"):
            loop.add(Key(key.namespace, labels["parent"]))

    maps.on_change(changed)
    tasks = [asyncio.ensure_future(maps.run()), asyncio.ensure_future(loop.run())]
    try:
        await maps.wait_synced(20)
        yield loop, maps
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def told(store: Informer[Obj], namespace: str, name: str = "a") -> str:
    """How many children the parent says it has."""
    found = store.get(Key(namespace, name))
    have: str = found["data"].get("have", "") if found else ""
    return have


async def until(store: Informer[Obj], true: Callable[[], Any], timeout: float = 60) -> None:
    """Until a change of the store makes it true."""
    if true():
        return
    done = asyncio.get_running_loop().create_future()

    def look(*_: object) -> None:
        if true() and not done.done():
            done.set_result(None)

    store.on_change(look)
    async with asyncio.timeout(timeout):
        await done


async def test_it_gets_there_and_then_rests(api: Api) -> None:
    async with api.client() as client, controller(client, api.namespace) as (loop, maps):
        key = Key(api.namespace, "a")
        await client.create(CONFIGMAPS, parent(api.namespace, 3))
        await until(maps, lambda: told(maps, api.namespace) == "3")
        assert len(maps.by("parent", "a")) == 3
        await client.patch(CONFIGMAPS, key, {"data": {"count": "1"}})
        await until(maps, lambda: told(maps, api.namespace) == "1")
        assert len(maps.by("parent", "a")) == 1
        whys = [decision["plan"]["why"] for decision in reversed(loop.decisions())]
        assert [why for why, _ in itertools.groupby(whys)][:2] == ["0 of 3", "say so"]


def test_it_decides_nothing_before_it_sees_its_own_writes() -> None:
    async def main() -> None:
        async with (
            FakeCluster(watch_delay=0.5) as fake,
            fake.client() as client,
            controller(client, "n") as (_, maps),
        ):
            fake.put(CONFIGMAPS, parent("n", 4))
            await until(maps, lambda: told(maps, "n") == "4")
            made = [write for write in fake.writes if write.verb == "create"]
            assert len(made) == 4, "each was made once, though the store was always late"

    virtually(main())


def test_a_store_that_never_shows_a_write_holds_its_key_up_for_a_while_only() -> None:
    async def main() -> None:
        async with FakeCluster(watch_delay=10_000) as fake, fake.client() as client:
            fake.put(CONFIGMAPS, parent("n", 1))
            async with controller(client, "n") as (loop, _):
                made = 0
                for _ in range(9):
                    await asyncio.sleep(1)
                    loop.add(Key("n", "a"))
                    made = len(fake.writes)
                assert made == 1
                await asyncio.sleep(5)
                assert len(fake.writes) == 2

    virtually(main())


def test_conflicts_and_failures_are_tried_again_until_it_is_done() -> None:
    async def main() -> None:
        async with (
            FakeCluster() as fake,
            fake.client() as client,
            controller(client, "n") as (_, maps),
        ):
            fake.fail("create", CONFIGMAPS, 409, times=3)
            fake.fail("create", CONFIGMAPS, 500, times=3)
            fake.fail("patch", CONFIGMAPS, 0, times=20)
            fake.put(CONFIGMAPS, parent("n", 2))
            await until(maps, lambda: told(maps, "n") == "2", 600)
            assert len(maps.by("parent", "a")) == 2

    virtually(main())


def test_a_bug_in_one_decision_is_tried_again_and_stops_nobody() -> None:
    def fragile(seen: Seen) -> Plan:
        if seen.parent["metadata"]["name"] == "bad":
            raise ValueError("a bug")
        return decide(seen)

    async def main() -> None:
        async with (
            FakeCluster() as fake,
            fake.client() as client,
            controller(client, "n", fragile) as (loop, maps),
        ):
            fake.put(CONFIGMAPS, parent("n", 1, "bad"))
            fake.put(CONFIGMAPS, parent("n", 1, "good"))
            await until(maps, lambda: told(maps, "n", "good") == "1")
            await asyncio.sleep(30)
            bugs = [d for d in loop.decisions() if d["outcome"].startswith("bug")]
            assert len(bugs) >= 3

    virtually(main())


def simple(
    rule: Callable[[str], Plan], act: Callable[[Any], Any] | None = None, **more: Any
) -> Loop[str, str]:
    async def nothing(action: Any) -> None:
        return None

    return Loop("test", lambda key: key, rule, act or nothing, queue=Queue("test"), **more)


def test_not_yet_comes_back_when_it_said() -> None:
    async def main() -> None:
        def rule(seen: str) -> Plan:
            raise errors.NotYet("no node", again_in=7)

        loop = simple(rule)
        began = asyncio.get_running_loop().time()
        await loop.step("a")
        assert await loop.queue.get() == "a"
        assert 7 <= asyncio.get_running_loop().time() - began < 7.1
        assert loop.decisions()[0]["outcome"] == "not yet: no node"

    virtually(main())


async def test_in_a_namespace_that_is_being_deleted_it_waits_and_says_nothing(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    async with api.client() as client, controller(client, api.namespace) as (loop, maps):
        if api.fake:
            await client.create(NAMESPACES, {"metadata": {"name": api.namespace}})
        await client.create(CONFIGMAPS, parent(api.namespace, 0))
        await until(maps, lambda: told(maps, api.namespace) == "0")
        await client.delete(NAMESPACES, Key("", api.namespace))
        key = Key(api.namespace, "a")
        await client.patch(CONFIGMAPS, key, {"data": {"count": "2"}})
        async with asyncio.timeout(10):
            while "is being terminated" not in loop.decisions()[0]["outcome"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        tried = len(loop.decisions())
        await asyncio.sleep(1)
        assert len(loop.decisions()) == tried
        assert loop.queue.failures(key) == 0
        # What is decided of it may still be written.
        await client.patch(CONFIGMAPS, key, {"data": {"count": "0", "have": ""}})
        await until(maps, lambda: told(maps, api.namespace) == "0")
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_refused_is_told_and_not_tried_again() -> None:
    @dataclass(frozen=True)
    class Cause:
        field: str
        reason: str
        message: str

    async def main() -> None:
        told: list[str] = []

        def rule(seen: str) -> Plan:
            raise errors.Refused([Cause("spec.domain", "FieldValueInvalid", "say how much memory")])

        async def on_refused(key: str, refused: errors.Refused) -> None:
            told.append(refused.causes[0].message)

        loop = simple(rule, on_refused=on_refused)
        await loop.step("a")
        assert told == ["say how much memory"]
        assert loop.queue.failures("a") == 0

    virtually(main())


def test_a_plan_may_ask_to_be_looked_at_again() -> None:
    async def main() -> None:
        loop = simple(lambda seen: Plan("a deadline runs", again_in=30))
        began = asyncio.get_running_loop().time()
        plan = await loop.step("a")
        assert plan is not None
        assert plan.why == "a deadline runs"
        assert await loop.queue.get() == "a"
        assert asyncio.get_running_loop().time() - began >= 30

    virtually(main())


def test_own_actions_are_performed_by_whom_the_process_names() -> None:
    @dataclass(frozen=True)
    class Tell:
        words: str

    async def main() -> None:
        told: list[str] = []

        async def tell(action: Tell) -> None:
            told.append(action.words)

        async with FakeCluster() as fake, fake.client() as client:
            loop = simple(
                lambda seen: Plan("tell", [Tell("hello")]), Acts(client, perform={Tell: tell})
            )
            await loop.step("a")
        assert told == ["hello"]
        assert loop.decisions()[0]["plan"]["actions"] == [{"do": "Tell", "words": "hello"}]

    virtually(main())


def test_status_is_not_written_when_an_action_failed() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            fake.put(CONFIGMAPS, parent("n", 1))
            fake.fail("create", status=403)
            status = Patch(CONFIGMAPS, Key("n", "a"), {"data": {"have": "1"}})
            child = Create(CONFIGMAPS, {"metadata": {"namespace": "n", "name": "c"}})
            loop = simple(lambda seen: Plan("both", [child], status), Acts(client))
            await loop.step("a")
            assert "have" not in fake.get(CONFIGMAPS, "n", "a")["data"]
            assert loop.queue.failures("a") == 1

    virtually(main())


def test_what_json_cannot_hold_is_told_in_words() -> None:
    odd = ["\ud800"]  # half a character, as odd bytes of a path become

    async def main() -> None:
        looked: Loop[str, Any] = Loop(
            "test", lambda key: odd, lambda seen: Plan("look"), asyncio.sleep, queue=Queue("test")
        )
        await looked.step("a")
        (told,) = looked.decisions()
        assert (told["seen"], told["outcome"]) == (repr(odd), "done")

    virtually(main())


def test_deleting_what_is_gone_is_success() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            loop = simple(
                lambda seen: Plan("clean", [Delete(PODS, Key("n", "none"))]), Acts(client)
            )
            await loop.step("a")
            assert loop.decisions()[0]["outcome"] == "done"

    virtually(main())


def test_events_go_to_the_recorder() -> None:
    async def main() -> None:
        heard: list[Event] = []

        class Ear:
            def record(self, event: Event) -> None:
                heard.append(event)

        event = Event(Reference("v1", "Pod", "n", "a"), "Normal", "Started", "it runs")
        async with FakeCluster() as fake, fake.client() as client:
            loop = simple(lambda seen: Plan("tell", [event]), Acts(client, Ear()))
            await loop.step("a")
        assert heard == [event]

    virtually(main())
