"""The queue's promises: fair, stingy, one worker per key, later and again."""

from __future__ import annotations

import asyncio

import pytest

from tests.kube.virtual import virtually
from virtpod.kube.queue import Backoff, Queue


def test_keys_come_in_the_order_they_were_added_and_once() -> None:
    async def main() -> None:
        queue: Queue[str] = Queue("q")
        for key in "abab":
            queue.add(key)
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        assert len(queue) == 0

    virtually(main())


def test_a_key_added_while_worked_on_comes_again_when_that_is_done() -> None:
    async def main() -> None:
        queue: Queue[str] = Queue("q")
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        queue.add("b")
        assert await queue.get() == "b"
        assert len(queue) == 0, "nobody else may work on a now"
        queue.done("a")
        assert await queue.get() == "a"

    virtually(main())


def test_later_means_later_and_the_soonest_holds() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        queue: Queue[str] = Queue("q")
        began = loop.time()
        queue.add_after("a", 10)
        queue.add_after("a", 3)
        queue.add_after("a", 5)
        assert await queue.get() == "a"
        assert loop.time() - began == pytest.approx(3, abs=0.01)
        queue.done("a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await queue.get()

    virtually(main())


def test_the_back_off_doubles_up_to_its_bound_until_forgotten() -> None:
    async def main() -> None:
        queue: Queue[str] = Queue("q", Backoff(first=1, most=8, jitter=0))
        assert [queue.retry("a") for _ in range(5)] == [1, 2, 4, 8, 8]
        queue.forget("a")
        assert queue.retry("a") == 1

    virtually(main())


def test_jitter_spreads_but_never_doubles() -> None:
    pauses = {Backoff(first=1, most=1, jitter=0.5).after(0) for _ in range(100)}
    assert len(pauses) > 50
    assert min(pauses) >= 0.75
    assert max(pauses) <= 1.25


def test_a_cancelled_worker_does_not_swallow_a_key() -> None:
    async def main() -> None:
        queue: Queue[str] = Queue("q")
        first = asyncio.ensure_future(queue.get())
        second = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.add("a")  # wakes the first
        first.cancel()
        assert await second == "a"
        await asyncio.gather(first, return_exceptions=True)

    virtually(main())


def test_no_key_is_lost_or_worked_on_twice_at_once_by_many_workers() -> None:
    async def main() -> None:
        queue: Queue[int] = Queue("q")
        working: set[int] = set()
        seen: dict[int, int] = {}
        asked: dict[int, int] = {}

        async def work() -> None:
            while True:
                key = await queue.get()
                assert key not in working
                working.add(key)
                wanted = asked[key]
                await asyncio.sleep(key % 3 * 0.1)
                seen[key] = wanted
                working.remove(key)
                queue.done(key)

        workers = [asyncio.ensure_future(work()) for _ in range(5)]
        for turn in range(300):
            asked[turn % 17] = turn
            queue.add(turn % 17)
            await asyncio.sleep(0.01)
        await asyncio.sleep(60)
        assert seen == asked, "the last word on every key was seen"
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    virtually(main())
