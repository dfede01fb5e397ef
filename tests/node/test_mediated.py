"""Mediated devices that virt-handler makes and removes, over a sysfs whose kernel is played: what
is written into `create` and `remove` becomes devices, or takes them away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from tests.node.hardware import Hardware, link, write
from tests.node.pod_resources import kubelet, plugged, pod
from virtpod.api.kubevirt import KubeVirt, MediatedDevicesConfiguration
from virtpod.kube import errors
from virtpod.node.devices import mediated, sysfs
from virtpod.node.devices.mediated import Make, MediatedDevices, Remove, plan, uuid_of, wanted
from virtpod.node.devices.sysfs import Mediated, MediatedType
from virtpod.node.steps import mediated as steps

FIRST, SECOND, THIRD = "0000:05:00.0", "0000:06:00.0", "0000:07:00.0"
SMALL, LARGE = "nvidia-222", "nvidia-230"
NAMES = {SMALL: "GRID T4-1B", LARGE: "GRID T4-4Q"}
ROOM = {SMALL: 4, LARGE: 2}
STRANGE = "aa618089-8b16-4d01-a136-25a0f3c73123"


class Cards:
    """Cards that make devices of one type at a time, as NVIDIA's do."""

    def __init__(self, folder: Path, *cards: str) -> None:
        self.hardware = Hardware(folder / "sys", folder / "dev")
        self.root = self.hardware.root
        self.cards = cards
        for card in cards:
            self.hardware.function(card, "10de:1eb8", "nvidia")
            link(self.root / f"class/mdev_bus/{card}", f"../../bus/pci/devices/{card}")
            for kind, name in NAMES.items():
                write(self._types(card) / kind / "name", name)
                write(self._types(card) / kind / "create", "")
        (self.root / "bus/mdev/devices").mkdir(parents=True)
        self.play()

    def _types(self, card: str) -> Path:
        return self.root / f"bus/pci/devices/{card}/mdev_supported_types"

    def play(self) -> None:
        """The kernel's part, until nothing is left of it."""
        for file in self.root.glob("bus/mdev/devices/*/remove"):
            if file.read_text().strip() == "1":
                uuid = file.parent.name
                (self.root / f"bus/mdev/devices/{uuid}").unlink()
        for card in self.cards:
            for kind in NAMES:
                create = self._types(card) / kind / "create"
                for uuid in filter(None, create.read_text().split()):
                    self.make(card, kind, uuid)
                create.write_text("")
            made = self.made(card)
            for kind in NAMES:
                room = ROOM[kind] - len(made) if set(made.values()) <= {kind} else 0
                write(self._types(card) / kind / "available_instances", str(room))

    def make(self, card: str, kind: str, uuid: str) -> None:
        folder = self.root / f"bus/pci/devices/{card}/{uuid}"
        write(folder / "mdev_type/name", NAMES[kind])
        write(folder / "remove", "")
        group = f"1{len(list(self.root.glob('bus/mdev/devices/*')))}"
        link(folder / "iommu_group", f"../../../../kernel/iommu_groups/{group}")
        write(self.hardware.dev / "vfio" / group, "")
        link(self.root / f"bus/mdev/devices/{uuid}", f"../../pci/devices/{card}/{uuid}")

    def made(self, card: str) -> dict[str, str]:
        """uuid and type of each device of the card."""
        kinds = {name: kind for kind, name in NAMES.items()}
        return {
            each.uuid: kinds[each.type] for each in sysfs.mediated(self.root) if each.parent == card
        }

    def counted(self) -> dict[str, dict[str, int]]:
        return {
            card: {kind: list(self.made(card).values()).count(kind) for kind in NAMES}
            for card in self.cards
        }


def kubevirt(**config: Any) -> KubeVirt:
    raw = {"spec": {"configuration": {"mediatedDevicesConfiguration": config}}}
    return msgspec.convert(raw, KubeVirt)


def handler(
    cards: Cards,
    folder: Path,
    labels: Mapping[str, str] | None = None,
    offered: Callable[[], Collection[str]] = tuple,
) -> MediatedDevices:
    async def own() -> Mapping[str, str]:
        if labels is None:
            raise errors.Unavailable("no API server")
        return labels

    return MediatedDevices(cards.root, cards.hardware.dev, folder, own, offered)


async def looks(cards: Cards, made: MediatedDevices, times: int = 6) -> None:
    """A file keeps what was written into it last: one device of a card is made at each look."""
    for _ in range(times):
        await made.look()
        cards.play()


@pytest.mark.configures("configuration.mediatedDevicesConfiguration.*")
async def test_types_go_round_the_cards_and_fill_them(tmp_path: Path) -> None:
    cards = Cards(tmp_path, FIRST, SECOND, THIRD)
    makes = handler(cards, tmp_path)
    makes.configured(kubevirt(mediatedDeviceTypes=["GRID_T4-4Q", SMALL]))
    await looks(cards, makes)
    assert cards.counted() == {
        FIRST: {SMALL: 0, LARGE: 2},
        SECOND: {SMALL: 4, LARGE: 0},
        THIRD: {SMALL: 0, LARGE: 2},
    }
    assert cards.made(FIRST) == {uuid_of(FIRST, LARGE, n): LARGE for n in range(2)}


async def test_other_types_take_the_place_of_what_nobody_uses(tmp_path: Path) -> None:
    cards = Cards(tmp_path, FIRST, SECOND)
    cards.make(SECOND, SMALL, STRANGE)
    makes = handler(cards, tmp_path)
    makes.configured(kubevirt(mediatedDevicesTypes=[SMALL]))
    await looks(cards, makes)
    assert cards.counted() == {FIRST: {SMALL: 4, LARGE: 0}, SECOND: {SMALL: 4, LARGE: 0}}

    makes.configured(kubevirt(mediatedDeviceTypes=[LARGE]))
    await looks(cards, makes)
    assert cards.counted()[FIRST] == {SMALL: 4, LARGE: 0}, "no kubelet told what is in use"

    given = uuid_of(FIRST, SMALL, 2)
    async with kubelet(tmp_path, [pod("p", **plugged("nvidia.com/T4", given))]):
        await looks(cards, makes)
        assert cards.made(FIRST) == {given: SMALL}, "what a container has stays"
        assert cards.made(SECOND) == {STRANGE: SMALL}, "and what is not ours"
    async with kubelet(tmp_path):
        await looks(cards, makes)
        assert cards.counted()[FIRST] == {SMALL: 0, LARGE: 2}


async def test_a_device_is_withdrawn_before_it_is_removed(tmp_path: Path) -> None:
    cards = Cards(tmp_path, FIRST)
    first, second = (uuid_of(FIRST, SMALL, n) for n in range(2))
    for uuid in (first, second):
        cards.make(FIRST, SMALL, uuid)
    offered = {first, second}
    makes = handler(cards, tmp_path, offered=lambda: offered)
    makes.configured(kubevirt(mediatedDeviceTypes=[]))
    async with kubelet(tmp_path):
        await looks(cards, makes, 3)
        assert makes.leaving == {first, second}
        assert cards.made(FIRST) == {first: SMALL, second: SMALL}, "still offered"
        offered.clear()
        await looks(cards, makes, 1)
        assert len(cards.made(FIRST)) == 2, "who has got one just now is seen at the next look"
    async with kubelet(tmp_path, [pod("p", **plugged("nvidia.com/T4", first))]):
        await looks(cards, makes, 1)
        assert cards.made(FIRST) == {first: SMALL}
        await looks(cards, makes, 1)
        assert makes.leaving == frozenset(), "it may be offered again"
    async with kubelet(tmp_path):
        await looks(cards, makes, 1)
        offered.add(first)
        await looks(cards, makes, 3)
        assert cards.made(FIRST) == {first: SMALL}, "it was offered again meanwhile"


@pytest.mark.parametrize("after", [{"spec": {"configuration": {}}}, {"spec": {}}], ids=str)
async def test_a_configuration_that_is_taken_away_takes_its_devices(
    tmp_path: Path, after: dict[str, Any]
) -> None:
    cards = Cards(tmp_path, FIRST)
    makes = handler(cards, tmp_path)
    cards.make(FIRST, SMALL, uuid_of(FIRST, SMALL, 0))
    async with kubelet(tmp_path):
        await looks(cards, makes)
        assert cards.made(FIRST), "what the configuration says is not known yet"
        makes.configured(kubevirt(enabled=False))
        await looks(cards, makes)
        assert cards.made(FIRST)
        makes.configured(None)
        makes.configured(msgspec.convert(after, KubeVirt))
        await looks(cards, makes)
    assert cards.made(FIRST) == {}


async def test_a_device_that_is_open_is_not_removed(tmp_path: Path) -> None:
    cards = Cards(tmp_path, FIRST)
    makes = handler(cards, tmp_path)
    makes.configured(kubevirt(mediatedDeviceTypes=[SMALL]))
    await looks(cards, makes)
    held = uuid_of(FIRST, SMALL, 1)
    device = next(each for each in sysfs.mediated(cards.root) if each.uuid == held)
    # Whoever opens a group that somebody has gets an error; here it is that no such file is there.
    (cards.hardware.dev / "vfio" / device.group).unlink()
    with pytest.raises(FileNotFoundError):
        steps.remove(cards.root, cards.hardware.dev, held, device.group)
    makes.configured(kubevirt(mediatedDeviceTypes=[]))
    async with kubelet(tmp_path):
        await looks(cards, makes)
    assert cards.made(FIRST) == {held: SMALL}


async def test_nodes_may_have_types_of_their_own(tmp_path: Path) -> None:
    cards = Cards(tmp_path, FIRST)
    config = kubevirt(
        mediatedDeviceTypes=[SMALL],
        nodeMediatedDeviceTypes=[{"nodeSelector": {"gpu": "big"}, "mediatedDeviceTypes": [LARGE]}],
    )
    silent = handler(cards, tmp_path)
    silent.configured(config)
    await looks(cards, silent)
    assert cards.counted()[FIRST] == {SMALL: 0, LARGE: 0}, "which node this is, nobody told"
    makes = handler(cards, tmp_path, {"gpu": "big", "zone": "a"})
    makes.configured(config)
    await looks(cards, makes)
    assert cards.counted()[FIRST] == {SMALL: 0, LARGE: 2}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, None),
        ({"enabled": False, "mediatedDeviceTypes": ["a"]}, None),
        ({}, []),
        ({"mediatedDeviceTypes": ["a", "b", "a"]}, ["a", "b"]),
        ({"mediatedDevicesTypes": ["a"]}, ["a"]),
        ({"mediatedDeviceTypes": ["a"], "mediatedDevicesTypes": ["b"]}, ["a"]),
        (
            {
                "mediatedDeviceTypes": ["a"],
                "nodeMediatedDeviceTypes": [
                    {"nodeSelector": {"x": "1"}, "mediatedDeviceTypes": ["b"]},
                    {"nodeSelector": {"x": "1", "y": "2"}, "mediatedDevicesTypes": ["c"]},
                    {"nodeSelector": {"x": "2"}, "mediatedDeviceTypes": ["d"]},
                ],
            },
            ["b", "c"],
        ),
    ],
)
def test_what_the_configuration_wants_of_a_node(
    config: dict[str, Any] | None, expected: list[str] | None
) -> None:
    typed = None if config is None else msgspec.convert(config, MediatedDevicesConfiguration)
    assert wanted(typed, {"x": "1", "y": "2"}) == expected


@any_of(
    st.lists(
        st.builds(
            MediatedType,
            parent=st.sampled_from([FIRST, SECOND]),
            id=st.sampled_from(["a", "b"]),
            available=st.integers(0, 3),
        ),
        unique_by=lambda kind: (kind.parent, kind.id),
    ),
    st.lists(st.sampled_from(["a", "b", "c"]), unique=True),
    st.lists(
        st.builds(
            lambda card, kind, number: Mediated(uuid_of(card, kind, number), kind, card),
            st.sampled_from([FIRST, SECOND]),
            st.sampled_from(["a", "b"]),
            st.integers(0, 2),
        ),
        unique_by=lambda device: device.uuid,
    ),
    st.data(),
)
def test_no_plan_removes_what_is_used_or_wanted_or_makes_more_than_fits(
    types: list[MediatedType], chosen: list[str], devices: list[Mediated], data: st.DataObject
) -> None:
    used = data.draw(st.lists(st.sampled_from(devices))) if devices else []
    todo = plan(types, devices, chosen, {each.uuid for each in used})
    removed = {each.uuid for each in todo if isinstance(each, Remove)}
    assert not removed & {each.uuid for each in used}
    assert not removed & {each.uuid for each in devices if each.type in chosen}
    made = [each for each in todo if isinstance(each, Make)]
    for kind in types:
        assert sum((m.parent, m.type) == (kind.parent, kind.id) for m in made) <= kind.available
    assert all(each.type in chosen for each in made)
    assert len({each.uuid for each in made} | {d.uuid for d in devices}) == len(made) + len(devices)


async def test_the_older_gate_turns_it_off(tmp_path: Path) -> None:
    cards = Cards(tmp_path, FIRST)
    makes = handler(cards, tmp_path)
    configuration = {
        "mediatedDevicesConfiguration": {"mediatedDeviceTypes": [SMALL]},
        "developerConfiguration": {"featureGates": [mediated.OFF]},
    }
    makes.configured(msgspec.convert({"spec": {"configuration": configuration}}, KubeVirt))
    await looks(cards, makes)
    assert cards.made(FIRST) == {}
