"""Guests' vsock numbers: one for each, for as long as it is there."""

from __future__ import annotations

from tests.controller.test_claims import instance, status
from tests.controller.test_loops import controller, until
from tests.kube.fake import FakeCluster
from virtpod.features.devices import vsock
from virtpod.kube.resources import PODS, VMIS, Key, Obj

GUESTS = 20


def guest(name: str, **given: object) -> Obj:
    made = instance(name)
    made["spec"]["domain"]["devices"]["autoattachVSOCK"] = True
    made["status"] |= given
    return made


async def test_guests_that_come_together_have_numbers_of_their_own(fake: FakeCluster) -> None:
    async with controller(fake):
        for number in range(GUESTS):
            fake.put(VMIS, guest(f"guest-{number}"))
        fake.put(VMIS, instance("plain"))
        await until(lambda: len(fake.objects(PODS)) == GUESTS + 1)
        given = [status(fake, f"guest-{number}")["VSOCKCID"] for number in range(GUESTS)]
        assert len(set(given)) == GUESTS
        assert all(vsock.FIRST <= cid <= vsock.LAST for cid in given)
        assert "VSOCKCID" not in status(fake, "plain")


async def test_a_number_that_somebody_has_is_not_given_away(fake: FakeCluster) -> None:
    """By a controller that was not there when it was given."""
    async with controller(fake):
        fake.put(VMIS, guest("probe"))
        await until(lambda: "VSOCKCID" in status(fake, "probe"))
    uid = fake.objects(VMIS)[Key("default", "probe")]["metadata"]["uid"]
    wanted = vsock.free(uid, ())
    assert status(fake, "probe")["VSOCKCID"] == wanted
    assert vsock.free(uid, {wanted}) == wanted + 1
    assert vsock.free(uid, {wanted, wanted + 1}) == wanted + 2
