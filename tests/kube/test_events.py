"""Events: one per transition, counted up when repeated, and never in anybody's way."""

from __future__ import annotations

import asyncio

from tests.kube.conftest import Api
from tests.kube.fake import FakeCluster
from tests.kube.virtual import clock, virtually
from virtpod.kube.events import Recorder
from virtpod.kube.plan import Reference
from virtpod.kube.resources import EVENTS

VMI = Reference("kubevirt.io/v1", "VirtualMachineInstance", "n", "vm", "some-uid")


async def test_an_event_is_written_as_the_server_wants_it(api: Api) -> None:
    async with api.client() as client:
        recorder = Recorder(client, "virt-handler", "node1")
        task = asyncio.ensure_future(recorder.run())
        about = Reference("kubevirt.io/v1", "VirtualMachineInstance", api.namespace, "vm", "uid")
        for message in ("it runs", "it runs", "x" * 5000):
            recorder.event(about, "Normal", "Started", message)
        await recorder.flush(10)
        found = await client.list(EVENTS, namespace=api.namespace)
        assert sorted(event["count"] for event in found.items) == [1, 2]
        event = next(event for event in found.items if event["count"] == 2)
        assert event["involvedObject"]["uid"] == "uid"
        assert event["source"] == {"component": "virt-handler", "host": "node1"}
        only = "involvedObject.kind=VirtualMachineInstance,involvedObject.name=vm,reason=Started"
        assert len((await client.list(EVENTS, namespace=api.namespace, fields=only)).items) == 2
        task.cancel()


def test_the_same_words_much_later_are_a_new_event() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            recorder = Recorder(client, "c", clock=clock)
            task = asyncio.ensure_future(recorder.run())
            recorder.event(VMI, "Normal", "Started", "it runs")
            await recorder.flush()
            await asyncio.sleep(3600)
            recorder.event(VMI, "Normal", "Started", "it runs")
            await recorder.flush()
            assert [event["count"] for event in fake.objects(EVENTS).values()] == [1, 1]
            task.cancel()

    virtually(main())


def test_a_forgotten_event_is_written_anew() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            recorder = Recorder(client, "c", clock=clock)
            task = asyncio.ensure_future(recorder.run())
            recorder.event(VMI, "Normal", "Started", "it runs")
            await recorder.flush()
            for key in fake.objects(EVENTS):
                fake.remove(EVENTS, key)
            await asyncio.sleep(2)
            recorder.event(VMI, "Normal", "Started", "it runs")
            await recorder.flush()
            assert [event["count"] for event in fake.objects(EVENTS).values()] == [1]
            task.cancel()

    virtually(main())


def test_a_server_in_trouble_stops_nobody_and_floods_are_dropped() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, fake.client() as client:
            recorder = Recorder(client, "c", clock=clock)
            for number in range(1500):
                recorder.event(VMI, "Normal", "Again", str(number))
            assert recorder.dropped == 500
            fake.fail("create", EVENTS, 500, times=10)
            task = asyncio.ensure_future(recorder.run())
            await recorder.flush(60)
            assert len(fake.objects(EVENTS)) == 990
            task.cancel()

    virtually(main())
