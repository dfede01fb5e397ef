"""Never two leaders, and not long without one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.kube.conftest import Api
from tests.kube.fake import FakeCluster
from tests.kube.virtual import clock, virtually
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.lease import Lease
from virtpod.kube.resources import CONFIGMAPS, LEASES, Key

KEY = Key("n", "virt-controller")


def lease(client: Client, identity: str) -> Lease:
    return Lease(client, KEY, identity, clock=clock)


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def until(true: Any, within: float) -> float:
    """Virtual seconds until it is true, looked at ten times a second."""
    began = clock()
    while not true():
        assert clock() - began < within, "not in time"
        await asyncio.sleep(0.1)
    return clock() - began


async def stop(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_work_is_done_under_the_lease_and_it_is_given_back(api: Api) -> None:
    async with api.client() as client:
        mine = Lease(client, Key(api.namespace, "a"), "one")
        holders: list[str] = []

        async def work() -> None:
            mine.check()
            held = await client.get(LEASES, (api.namespace, "a"))
            holders.append(held["spec"]["holderIdentity"])

        await mine.lead(work)
        assert holders == ["one"]
        assert not mine.leading
        left = await client.get(LEASES, (api.namespace, "a"))
        assert not left["spec"].get("holderIdentity")
        mine = Lease(client, Key(api.namespace, "a"), "two")
        await mine.lead(work)
        assert holders == ["one", "two"], "it was free at once"


def test_only_one_leads_and_another_takes_over_when_it_ends() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            one, two = lease(client, "one"), lease(client, "two")
            first = asyncio.ensure_future(one.lead(forever))
            await until(lambda: one.leading, 5)
            second = asyncio.ensure_future(two.lead(forever))
            for _ in range(600):
                await asyncio.sleep(0.1)
                assert one.leading
                assert not two.leading
            await stop(first)
            assert await until(lambda: two.leading, 5) < 5, "it was given back: no waiting"
            await stop(second)

    virtually(main())


def test_a_leader_that_falls_silent_is_replaced_after_its_term_and_not_before() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            one, two = lease(client, "one"), lease(client, "two")
            assert await one._try()
            second = asyncio.ensure_future(two.lead(forever))
            took = await until(lambda: two.leading, 60)
            assert 15 <= took < 25
            assert not one.leading
            await stop(second)

    virtually(main())


def test_a_leader_cut_off_stops_before_another_may_begin() -> None:
    async def main() -> None:
        async with (
            FakeCluster() as fake,
            fake.client() as client,
            FakeCluster() as wire,
            wire.client() as cut,
        ):
            one, two = lease(client, "one"), lease(client, "two")
            first = asyncio.ensure_future(one.lead(forever))
            await until(lambda: one.leading, 5)
            second = asyncio.ensure_future(two.lead(forever))
            await asyncio.sleep(7)
            one.client = cut
            wire.fail("*", status=503, times=10**6)
            await until(lambda: two.leading, 60)
            assert not one.leading
            assert first.done()
            with pytest.raises(errors.NotLeading):
                await first
            await stop(second)

    virtually(main())


def test_a_leader_that_slept_writes_nothing_when_it_wakes() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            one = lease(client, "one")
            writer = client.guarded(one.check)
            assert await one._try()
            await writer.create(CONFIGMAPS, {"metadata": {"namespace": "n", "name": "a"}})
            asyncio.get_running_loop().now += 11  # type: ignore[attr-defined]
            with pytest.raises(errors.NotLeading):
                await writer.create(CONFIGMAPS, {"metadata": {"namespace": "n", "name": "b"}})
            assert list(fake.objects(CONFIGMAPS)) == [Key("n", "a")]
            assert await writer.get(CONFIGMAPS, ("n", "a")), "reading is no harm"

    virtually(main())


def test_short_troubles_of_the_server_cost_no_leadership() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            one = lease(client, "one")
            task = asyncio.ensure_future(one.lead(forever))
            await until(lambda: one.leading, 5)
            for _ in range(20):
                fake.fail("*", status=500, times=3)
                await asyncio.sleep(3)
                assert one.leading
            await stop(task)

    virtually(main())


def test_works_own_failure_is_raised_as_it_is() -> None:
    async def work() -> None:
        raise ValueError("a bug")

    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            with pytest.raises(ValueError, match="a bug"):
                await lease(client, "one").lead(work)
            spec = fake.get(LEASES, *KEY)["spec"]
            assert spec["holderIdentity"] == "", "released all the same"

    virtually(main())
