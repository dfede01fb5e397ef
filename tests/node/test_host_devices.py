"""Devices that guests have to themselves: found in sysfs, offered to a kubelet, taken away."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc.aio
import msgspec
import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from tests.node.hardware import Hardware, link, write
from tests.node.pod_resources import kubelet, plugged, pod
from tests.node.test_devices import WITHIN, Kubelet, lists
from virtpod.api.kubevirt import KubeVirt, PermittedHostDevices
from virtpod.api.qat import QATNodePolicy
from virtpod.domain.qat import MODELS, Model
from virtpod.kube import errors
from virtpod.node.devices import hostdevices, news, offers, qat, sysfs
from virtpod.node.devices.look import Look
from virtpod.node.inotify import Inotify
from virtpod.wire import deviceplugin_pb2 as api

NIC = {"pciVendorSelector": "8086:10CA", "resourceName": "example.com/nic"}


@pytest.fixture
def hardware(tmp_path: Path) -> Hardware:
    return Hardware(tmp_path / "sys", tmp_path / "dev")


def offered(
    hardware: Hardware,
    *,
    quick: bool = False,
    allocation: str = "",
    locks: bool = True,
    held: Mapping[str, str] = {},
    **permitted: Any,
) -> offers.Offers:
    functions = sysfs.functions(hardware.root)
    inventory = offers.Inventory(
        functions,
        qat.engines(hardware.root, functions),
        sysfs.mediated(hardware.root),
        sysfs.usb(hardware.root),
        allocation=dict.fromkeys(functions, allocation),
        locks=locks,
        held=held,
    )
    wanted = offers.Wanted(msgspec.convert(permitted, PermittedHostDevices), qat=quick)
    return offers.offers(inventory, wanted)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_each_generation_is_offered_by_its_service(hardware: Hardware, model: Model) -> None:
    virtual = hardware.qat("0000:3d:00.0", model.physical)
    found = offered(hardware, quick=True)
    assert found.complaints == ()
    resource = "qat.intel.com/cy" if model.generation >= 4 else "qat.intel.com/generic"
    [offer] = found.by_resource.values()
    assert offer.resource == resource
    assert [unit.numa for unit in offer.units()] == [0, 0]
    grant = offer.grant([unit.id for unit in offer.units()])
    assert grant.nodes == ("/dev/vfio/vfio", "/dev/vfio/101", "/dev/vfio/102")
    name = "PCI_RESOURCE_" + resource.upper().replace("/", "_").replace(".", "_")
    assert grant.env == {name: ",".join(virtual), "QAT0": virtual[0], "QAT1": virtual[1]}


@pytest.mark.parametrize(
    ("services", "word"),
    [
        ("sym;asym", "cy"),
        ("asym;sym", "cy"),
        ("dc", "dc"),
        ("dc;sym", "sym-dc"),
        ("asym;dc", "asym-dc"),
        ("dcc", "dcc"),
        ("decomp;dc;sym", "sym-dc-decomp"),
    ],
)
def test_services_have_intel_s_names(hardware: Hardware, services: str, word: str) -> None:
    hardware.qat("0000:3d:00.0", "8086:4940", services)
    assert list(offered(hardware, quick=True).by_resource) == [f"qat.intel.com/{word}"]


def test_devices_of_different_services_are_not_mixed(hardware: Hardware) -> None:
    hardware.qat("0000:3d:00.0", "8086:4940", "sym;asym", group=100)
    hardware.qat("0000:3f:00.0", "8086:4940", "dc", group=200, numa=1, driver="qat_vfio_pci")
    found = offered(hardware, quick=True).by_resource
    assert {name: [unit.id for unit in offer.units()] for name, offer in found.items()} == {
        "qat.intel.com/cy": ["0000:3d:01.0", "0000:3d:01.1"],
        "qat.intel.com/dc": ["0000:3f:01.0", "0000:3f:01.1"],
    }


def test_what_cannot_be_given_is_said_with_what_to_do(hardware: Hardware) -> None:
    hardware.qat("0000:01:00.0", "8086:4940", state="down", group=100)
    hardware.qat("0000:02:00.0", "8086:4940", functions=0, group=200)
    hardware.qat("0000:03:00.0", "8086:4940", driver="", group=300)
    hardware.qat("0000:04:00.0", "8086:37c8", driver="qat_c62xvf", group=400)
    beatless = hardware.qat("0000:05:00.0", "8086:4940", group=500)
    hardware.debug("0000:05:00.0", "heartbeat/status", "-1")
    hardware.qat("0000:06:00.0", "8086:4940", functions=0, group=600)
    hardware.unbind("0000:06:00.0")
    found = offered(hardware, quick=True)
    told = "\n".join(found.complaints)
    assert "0000:01:00.0 is down" in told
    assert "0000:02:00.0 has no virtual functions" in told
    assert "0000:03:01.0 is held by driver (none): bind it to vfio-pci" in told
    assert "0000:04:01.0 is held by driver qat_c62xvf" in told
    assert "disable_denylist=1" in told
    assert "0000:05:00.0 has no heartbeat" in told
    assert "0000:06:00.0 has lost its driver" in told
    units = found.by_resource["qat.intel.com/cy"].units()
    assert len(units) == 2 + len(beatless)
    assert not any(unit.healthy for unit in units)


def test_a_function_on_vfio_pci_s_deny_list_is_told_apart(hardware: Hardware) -> None:
    hardware.function("0000:6a:01.0", "8086:0b25", "idxd", group="7")
    hardware.function("0000:6b:01.0", "8086:6f55", "", group="8")
    chosen = [
        {"pciVendorSelector": id, "resourceName": f"intel.com/{id[5:]}"}
        for id in ("8086:0b25", "8086:6f55")
    ]
    denied, other = offered(hardware, pciHostDevices=chosen).complaints
    assert "0000:6a:01.0 is held by driver idxd" in denied
    assert "disable_denylist=1" in denied
    assert "disable_denylist" not in other


def test_a_selector_of_a_physical_function_with_virtual_ones_is_a_mistake(
    hardware: Hardware,
) -> None:
    hardware.qat("0000:3d:00.0", "8086:6f54")
    wrong = {"pciVendorSelector": "8086:6F54", "resourceName": "intel.com/qat"}
    found = offered(hardware, pciHostDevices=[wrong])
    assert found.by_resource["intel.com/qat"].units() == []
    assert "0000:3d:00.0 is a physical one with 2 virtual ones" in found.complaints[0]


def test_a_group_is_given_as_a_whole_or_not_at_all(hardware: Hardware) -> None:
    hardware.function("0000:01:00.0", "8086:10ca", group="7")
    hardware.function("0000:01:00.1", "8086:10ca", group="7")
    hardware.function("0000:00:01.0", "8086:1901", "pcieport", group="7", bridge=True)
    hardware.function("0000:02:00.0", "8086:10ca", group="8")
    hardware.function("0000:02:00.1", "10de:1eb8", "nvidia", group="8")
    hardware.function("0000:03:00.0", "8086:10ca")
    found = offered(hardware, pciHostDevices=[NIC])
    offer = found.by_resource["example.com/nic"]
    assert [unit.id for unit in offer.units()] == ["0000:01:00.0"]
    env = {"PCI_RESOURCE_EXAMPLE_COM_NIC": "0000:01:00.0,0000:01:00.1"}
    assert offer.grant(["0000:01:00.0"]).env == env
    assert any("also holds 0000:02:00.1" in each for each in found.complaints)
    assert any("0000:03:00.0 is in no IOMMU group" in each for each in found.complaints)


def test_what_others_provide_is_left_to_them(hardware: Hardware) -> None:
    hardware.function("0000:01:00.0", "8086:10ca", group="7")
    found = offered(hardware, pciHostDevices=[{**NIC, "externalResourceProvider": True}])
    assert found == offers.Offers({}, ())
    inventory = offers.Inventory(others_serve_qat="Another device plugin")
    told = offers.offers(inventory, offers.Wanted(qat=True)).complaints
    assert "Another device plugin offers QAT" in told[0]


@pytest.mark.parametrize("name", ["kvm", "tun", "vhost-net", "vhost-vsock", "pr-helper"])
def test_what_every_guest_needs_is_not_replaced(hardware: Hardware, name: str) -> None:
    """Two plugins of one resource have one socket, and each would take it from the other."""
    hardware.function("0000:01:00.0", "8086:10ca", group="7")
    own = {"pciVendorSelector": "8086:10ca", "resourceName": f"devices.kubevirt.io/{name}"}
    found = offered(hardware, pciHostDevices=[own])
    assert found.by_resource == {}
    [complaint] = found.complaints
    assert f"devices.kubevirt.io/{name}" in complaint
    assert "call it otherwise" in complaint


def test_a_device_is_offered_by_one_name(hardware: Hardware) -> None:
    virtual = hardware.qat("0000:3d:00.0", "8086:4940")
    mine = {"pciVendorSelector": "8086:4941", "resourceName": "intel.com/qat"}
    again = {**mine, "resourceName": "example.com/qat"}
    found = offered(hardware, quick=True, pciHostDevices=[mine, again])
    assert {
        name: [unit.id for unit in offer.units()] for name, offer in found.by_resource.items()
    } == {
        "intel.com/qat": virtual,
        "example.com/qat": [],
        "qat.intel.com/cy": [],
    }
    assert found.complaints == tuple(
        f"{other} lacks 2 of its devices, which are offered as intel.com/qat: take intel.com/qat "
        "out of permittedHostDevices, or do without the other name"
        for other in ("example.com/qat", "qat.intel.com/cy")
    )


def test_what_a_pod_has_by_another_name_is_not_offered(hardware: Hardware) -> None:
    """As after a resource was renamed, or where a driver of claims has the device too."""
    first, second = hardware.qat("0000:3d:00.0", "8086:4940")
    functions = sysfs.functions(hardware.root)
    engines = qat.engines(hardware.root, functions)
    for held, free in (
        ({first: "intel.com/qat"}, [second]),
        ({first: "qat.intel.com/cy"}, [first, second]),
    ):
        inventory = offers.Inventory(functions, engines, held=held)
        found = offers.offers(inventory, offers.Wanted(qat=True))
        assert [unit.id for unit in found.by_resource["qat.intel.com/cy"].units()] == free
        told = (
            f"{first} is offered as qat.intel.com/cy when no pod has it as intel.com/qat any more"
        )
        assert found.complaints == ((told,) if len(free) == 1 else ())


def test_qat_that_others_provide_is_left_to_them(hardware: Hardware) -> None:
    hardware.qat("0000:3d:00.0", "8086:4940")
    functions = sysfs.functions(hardware.root)
    inventory = offers.Inventory(
        functions, qat.engines(hardware.root, functions), others_serve_qat="Another device plugin"
    )
    mine = {"pciVendorSelector": "8086:4941", "resourceName": "intel.com/qat"}
    permitted = msgspec.convert({"pciHostDevices": [mine]}, PermittedHostDevices)
    found = offers.offers(inventory, offers.Wanted(permitted))
    assert found.by_resource["intel.com/qat"].units() == []
    assert "Another device plugin offers QAT on this node" in found.complaints[0]
    theirs = {**mine, "externalResourceProvider": True}
    assert offered(hardware, quick=True, pciHostDevices=[theirs]) == offers.Offers({}, ())
    intel = {**theirs, "resourceName": "qat.intel.com/cy"}
    found = offered(hardware, quick=True, pciHostDevices=[intel])
    assert len(found.by_resource["qat.intel.com/cy"].units()) == 2, "a node without Intel's plugin"


def test_a_node_without_iommu_or_right_to_lock_says_so_once(hardware: Hardware) -> None:
    hardware.qat("0000:3d:00.0", "8086:4940")
    found = offered(hardware, quick=True, locks=False)
    assert found.complaints == (offers.NO_MEMLOCK,)
    assert len(found.by_resource["qat.intel.com/cy"].units()) == 2
    for folder in hardware.functions.iterdir():
        (folder / "iommu_group").unlink()
    found = offered(hardware, quick=True)
    assert found.complaints == (offers.IOMMU_OFF,)
    assert found.by_resource["qat.intel.com/cy"].units() == []


def test_mediated_and_usb_devices(hardware: Hardware) -> None:
    uuid = "aa618089-8b16-4d01-a136-25a0f3c73123"
    parent = hardware.function("0000:05:00.0", "10de:1eb8", "nvidia", numa=1)
    write(parent / uuid / "mdev_type/name", "GRID T4-1Q")
    link(parent / uuid / "iommu_group", "../../../../kernel/iommu_groups/12")
    link(hardware.root / f"bus/mdev/devices/{uuid}", f"../../pci/devices/0000:05:00.0/{uuid}")
    for number in (4, 5, 6):
        folder = hardware.root / f"bus/usb/devices/1-{number}"
        for name, text in (
            ("idVendor", "46f4"),
            ("idProduct", "0001" if number < 6 else "0002"),
            ("busnum", "1"),
            ("devnum", str(number)),
        ):
            write(folder / name, text)
    found = offered(
        hardware,
        mediatedDevices=[{"mdevNameSelector": "GRID T4-1Q", "resourceName": "nvidia.com/T4"}],
        usb=[
            {
                "resourceName": "example.com/pair",
                "selectors": [
                    {"vendor": "46f4", "product": "0001"},
                    {"vendor": "46f4", "product": "0002"},
                ],
            }
        ],
    ).by_resource
    grant = found["nvidia.com/T4"].grant([uuid])
    assert grant.nodes == ("/dev/vfio/vfio", "/dev/vfio/12")
    assert grant.env == {"MDEV_PCI_RESOURCE_NVIDIA_COM_T4": uuid}
    [pair] = found["example.com/pair"].units()
    grant = found["example.com/pair"].grant([pair.id])
    assert grant.nodes == ("/dev/bus/usb/001/004", "/dev/bus/usb/001/006")
    assert grant.env == {"USB_RESOURCE_EXAMPLE_COM_PAIR": "1:4,1:6"}


async def test_a_mediated_device_that_leaves_is_offered_no_more(
    hardware: Hardware, tmp_path: Path
) -> None:
    free, given = "aa618089-8b16-4d01-a136-25a0f3c73123", "bb618089-8b16-4d01-a136-25a0f3c73123"
    parent = hardware.function("0000:05:00.0", "10de:1eb8", "nvidia")
    for group, uuid in (("12", free), ("13", given)):
        write(parent / uuid / "mdev_type/name", "GRID T4-1Q")
        link(parent / uuid / "iommu_group", f"../../../../kernel/iommu_groups/{group}")
        link(hardware.root / f"bus/mdev/devices/{uuid}", f"../../pci/devices/0000:05:00.0/{uuid}")
    leaving: frozenset[str] = frozenset()
    told = Told()
    mine = {"mdevNameSelector": "GRID T4-1Q", "resourceName": "nvidia.com/T4"}
    with tempfile.TemporaryDirectory(prefix="mdev") as made:
        folder = Path(made)
        holder = pod("p", **plugged("nvidia.com/T4", given))
        async with (
            kubelet(folder / "pod-resources", [holder]),
            watching(hardware, folder, told, leaving=lambda: leaving) as devices,
        ):
            devices.configured(configured(permittedHostDevices={"mediatedDevices": [mine]}))

            await offers_just(devices, free, given)
            leaving = frozenset({free, given})
            devices.wake()
            # A pod has got it meanwhile; it does not ail.
            await offers_just(devices, given)


def test_a_link_that_leads_to_itself_is_no_device(hardware: Hardware) -> None:
    folder = hardware.root / "bus/mdev/devices"
    folder.mkdir(parents=True)
    (folder / "aa618089-8b16-4d01-a136-25a0f3c73123").symlink_to(
        "aa618089-8b16-4d01-a136-25a0f3c73123"
    )
    assert sysfs.mediated(hardware.root) == []


@pytest.mark.parametrize("selector", ["GRID T4-1Q", "GRID_T4-1Q"])
def test_a_type_s_name_is_written_with_spaces_or_without(hardware: Hardware, selector: str) -> None:
    uuid = "aa618089-8b16-4d01-a136-25a0f3c73123"
    parent = hardware.function("0000:05:00.0", "10de:1eb8", "nvidia")
    write(parent / uuid / "mdev_type/name", "GRID T4-1Q")
    link(parent / uuid / "iommu_group", "../../../../kernel/iommu_groups/12")
    link(hardware.root / f"bus/mdev/devices/{uuid}", f"../../pci/devices/0000:05:00.0/{uuid}")
    mine = {"mdevNameSelector": selector, "resourceName": "nvidia.com/T4"}
    [unit] = offered(hardware, mediatedDevices=[mine]).by_resource["nvidia.com/T4"].units()
    assert unit.id == uuid


def keys(hardware: Hardware, *numbers: int) -> None:
    """USB devices of bus 1 as they are now: of one kind if even, of another if odd."""
    shutil.rmtree(hardware.root / "bus/usb", ignore_errors=True)
    for number in numbers:
        folder = hardware.root / f"bus/usb/devices/1-{number}"
        for name, text in (("idVendor", "46f4"), ("busnum", "1"), ("devnum", str(number))):
            write(folder / name, text)
        write(folder / "idProduct", f"000{1 + number % 2}")


PAIR = {
    "resourceName": "example.com/pair",
    "selectors": [{"vendor": "46f4", "product": "1"}, {"vendor": "46f4", "product": "2"}],
}


def test_what_a_pod_has_stays_in_its_usb_set(hardware: Hardware) -> None:
    def units(held: dict[str, str]) -> list[str]:
        found = offered(hardware, usb=[PAIR], held=held)
        return [each.id for each in found.by_resource["example.com/pair"].units()]

    keys(hardware, 2, 3, 4, 5)
    assert units({}) == ["1.2-1.3", "1.4-1.5"]
    held = {"1.4-1.5": "example.com/pair"}
    assert units(held) == ["1.4-1.5", "1.2-1.3"]
    keys(hardware, 3, 4, 5)
    assert units(held) == ["1.4-1.5"], "the one that is left is no reason to part them"
    keys(hardware, 2, 3, 5)
    assert units(held) == ["1.2-1.3"], "what is left of a set is not free"
    keys(hardware, 2, 5)
    assert units(held) == []
    assert units({}) == ["1.2-1.5"]
    keys(hardware, 4, 5)
    assert units({"1.4-1.5": "example.com/old"}) == [], "by whatever name"


async def test_usb_sets_stay_while_the_kubelet_does_not_tell_who_has_them(
    hardware: Hardware,
) -> None:
    keys(hardware, 2, 3, 4, 5)
    told = Told()
    with tempfile.TemporaryDirectory(prefix="usb") as made:
        folder = Path(made)
        async with watching(hardware, folder, told) as devices:
            holder = pod("p", **plugged("example.com/pair", "1.4-1.5"))
            async with kubelet(folder / "pod-resources", [holder]):
                devices.configured(configured(permittedHostDevices={"usb": [PAIR]}))
                await offers_just(devices, "1:2", "1:3", "1:4", "1:5")
            keys(hardware, 3, 4, 5)
            devices.wake()
            await offers_just(devices, "1:4", "1:5")


def test_usb_ids_may_lack_their_zeroes(hardware: Hardware) -> None:
    """As numbers in KubeVirt's selectors, which are read as hexadecimal."""
    folder = hardware.root / "bus/usb/devices/1-4"
    for name, text in (("idVendor", "046d"), ("idProduct", "000a"), ("busnum", "1")):
        write(folder / name, text)
    write(folder / "devnum", "4")
    key = {"resourceName": "example.com/key", "selectors": [{"vendor": "46D", "product": "a"}]}
    assert len(offered(hardware, usb=[key]).by_resource["example.com/key"].units()) == 1


def of(offer: offers.Offer, *parents: str) -> list[str]:
    return [unit.id for unit in offer.units() if unit.id[:7] in parents]


def test_several_come_from_one_device_and_single_ones_are_spread(hardware: Hardware) -> None:
    hardware.qat("0000:01:00.0", "8086:4940", functions=2, group=100)
    hardware.qat("0000:02:00.0", "8086:4940", functions=4, group=200)
    offer = offered(hardware, quick=True).by_resource["qat.intel.com/cy"]
    every = [unit.id for unit in offer.units()]
    small, large = of(offer, "0000:01"), of(offer, "0000:02")
    assert set(offer.prefer(every, [], 2)) == set(small), "the larger one is kept whole"
    assert set(offer.prefer(every, [], 3)) < set(large)
    assert offer.prefer(every, [], 1)[0] in large, "the one with most left"
    assert set(offer.prefer(every, [large[0]], 2)) < set(large)
    assert len(offer.prefer(every, [], 5)) == 5


def test_a_policy_balances_devices_or_packs_them(hardware: Hardware) -> None:
    for bus, group in ((1, 100), (2, 200), (3, 300)):
        hardware.qat(f"0000:0{bus}:00.0", "8086:4940", functions=4, group=group)

    def chosen(allocation: str, left: list[str], count: int) -> list[str]:
        by = offered(hardware, quick=True, allocation=allocation).by_resource
        return [each[:7] for each in by["qat.intel.com/cy"].prefer(left, [], count)]

    every = [
        unit.id for unit in offered(hardware, quick=True).by_resource["qat.intel.com/cy"].units()
    ]
    assert sorted(chosen("balanced", every, 3)) == ["0000:01", "0000:02", "0000:03"]
    assert sorted(chosen("balanced", every, 4)).count("0000:01") == 2
    begun = [each for each in every if each not in ("0000:02:01.0", "0000:02:01.1")]
    assert chosen("packed", begun, 2) == ["0000:02", "0000:02"], "what is begun is used up"
    assert chosen("packed", begun, 3).count("0000:02") == 2
    assert "0000:02" not in chosen("balanced", begun, 2)


@pytest.mark.parametrize("allocation", ["", "balanced", "packed"])
def test_those_of_one_numa_node_come_before_any_policy(hardware: Hardware, allocation: str) -> None:
    hardware.qat("0000:01:00.0", "8086:4940", functions=2, group=100, numa=0)
    hardware.qat("0000:81:00.0", "8086:4940", functions=3, group=200, numa=1)
    hardware.qat("0000:82:00.0", "8086:4940", functions=3, group=300, numa=1)
    by = offered(hardware, quick=True, allocation=allocation).by_resource
    offer = by["qat.intel.com/cy"]
    every = [unit.id for unit in offer.units()]
    for count in (1, 2, 3, 4, 6):
        chosen = offer.prefer(every, [], count)
        assert len(chosen) == count == len(set(chosen))
        assert len({offer.pieces[each].unit.numa for each in chosen}) == 1
    begun = of(offer, "0000:01")
    assert sorted(offer.prefer(every, begun[:1], 2)) == sorted(begun), "where it has begun"
    first = of(offer, "0000:82")[0]
    assert all(each[5] == "8" for each in offer.prefer(every, [first], 4))
    assert sorted(offer.prefer(every, [], len(every))) == sorted(every)


@any_of(st.binary(max_size=64), st.sampled_from(["vendor", "class", "numa_node", "qat/state"]))
def test_no_content_of_sysfs_is_too_odd(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    hardware = Hardware(folder / "sys", folder / "dev")
    hardware.qat("0000:3d:00.0", "8086:4940")
    (hardware.root / "bus/pci/devices/0000:3d:00.0" / name).write_bytes(content)
    (hardware.root / "bus/pci/devices/nonsense").mkdir()
    offered(hardware, quick=True, pciHostDevices=[NIC])
    shutil.rmtree(folder)


class Told:
    """Who is told of looks: the newest complaints, and each look."""

    def __init__(self, *policies: QATNodePolicy) -> None:
        self.given = policies
        self.complaints: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
        self.looks: list[Look] = []

    def node(self) -> dict[str, str]:
        return {"kubernetes.io/hostname": "node1"}

    def policies(self) -> tuple[QATNodePolicy, ...]:
        return self.given

    async def looked(self, look: Look) -> bool:
        if not self.looks or look.complaints != self.looks[-1].complaints:
            await self.complaints.put(look.complaints)
        self.looks.append(look)
        return True


@contextlib.asynccontextmanager
async def watching(
    hardware: Hardware,
    folder: Path,
    told: Told,
    guests: Callable[[], bool] = lambda: False,
    leaving: Callable[[], frozenset[str]] = frozenset,
    owner: Callable[[str, str], str] = lambda _namespace, pod: pod,
) -> AsyncIterator[hostdevices.HostDevices]:
    folders = hostdevices.Folders(
        hardware.root, hardware.dev, folder, folder / "pod-resources", folder / "registry"
    )
    with Inotify() as inotify:
        given = hostdevices.HostDevices(folders, inotify, told, guests, leaving, owner)
        task = asyncio.create_task(given.run())
        try:
            yield given
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def offers_just(devices: hostdevices.HostDevices, *addresses: str) -> None:
    async with asyncio.timeout(WITHIN):
        while devices.look.offered != set(addresses):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def configured(**configuration: Any) -> KubeVirt:
    return msgspec.convert({"spec": {"configuration": configuration}}, KubeVirt)


async def no_state(_resource: Any, _key: Any) -> Any:
    raise errors.NotFound("no QATNodeState")


async def test_a_state_of_before_waits_for_the_policies_and_is_not_forgotten() -> None:
    """Nothing is wanted any more, and nothing else would have it looked at again."""
    node = {"metadata": {"name": "node1", "uid": "1"}}
    stored = {"status": {"devices": [{"address": "0000:3d:00.0"}]}}
    applied: list[dict[str, Any]] = []

    async def get(_resource: Any, _key: Any) -> Any:
        return stored

    async def apply(_resource: Any, body: dict[str, Any]) -> None:
        applied.append(body["status"])

    client: Any = SimpleNamespace(get=get, apply=apply)
    policies: Any = SimpleNamespace(synced=False, values=tuple)
    nobody: Any = None
    tells = news.DeviceNews(client, nobody, "node1", lambda: node, nobody, policies, nobody)
    assert not await tells.looked(Look()), "not told yet"
    assert applied == []
    policies.synced = True
    for _ in range(2):
        assert await tells.looked(Look())
        assert [each["devices"] for each in applied] == [[]]


@pytest.mark.parametrize(("status", "told"), [("False", [()]), ("True", []), (None, [])])
async def test_what_an_agent_of_before_complained_of_is_taken_back(
    status: str | None, told: list[Any]
) -> None:
    said: list[tuple[str, ...]] = []
    conditions = [{"type": news.OFFERED, "status": status}] if status else []
    node: dict[str, Any] | None = None

    async def condition(complaints: Sequence[str]) -> None:
        said.append(tuple(complaints))

    policies: Any = SimpleNamespace(synced=True, values=tuple)
    nobody: Any = None
    stateless: Any = SimpleNamespace(get=no_state)
    tells = news.DeviceNews(stateless, nobody, "node1", lambda: node, condition, policies, nobody)
    assert not await tells.looked(Look()), "the node is not known: it must be told later"
    assert said == []
    node = {"metadata": {"name": "node1"}, "status": {"conditions": conditions}}
    for _ in range(2):
        assert await tells.looked(Look())
        assert said == told


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN):
        while not so():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_devices_that_others_gave_to_guests_are_watched_too(
    hardware: Hardware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a claim, say: nothing is permitted, and virt-handler offers nothing."""
    monkeypatch.setattr(hostdevices, "EVERY", 0.05)
    [first, _] = hardware.qat("0000:3d:00.0", "8086:4940")
    folder = tmp_path / "device-plugins"
    folder.mkdir()
    told = Told()
    guests = False
    has = [pod("gateway", "shop", **plugged("vendor.example/qat", first))]
    async with (
        kubelet(folder / "pod-resources", has),
        watching(hardware, folder, told, lambda: guests) as given,
    ):
        given.configured(configured())
        await until(lambda: bool(told.looks))
        assert told.looks == [Look()], "no guest has a device, and none is looked at"
        guests = True
        await until(lambda: bool(given.look.held))
        assert given.look.ailing == {}
        hardware.remove(first)
        await until(lambda: bool(given.look.ailing))
    [ailing] = given.look.ailing["shop", "gateway"]
    assert (ailing.addresses, ailing.reason) == ((first,), "DeviceRemoved")


async def test_what_a_container_has_by_a_driver_of_the_kernel_is_well(
    hardware: Hardware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network card's function, say: only a guest needs VFIO."""
    monkeypatch.setattr(hostdevices, "EVERY", 0.05)
    folder = tmp_path / "device-plugins"
    folder.mkdir()
    addresses = ("0000:5e:02.0", "0000:5e:02.1")
    for address in addresses:
        hardware.function(address, "8086:1889", "iavf", group="7")
    has = [
        pod(name, "shop", **plugged("intel.com/sriov", address))
        for name, address in zip(("router", "virt-launcher-x"), addresses, strict=True)
    ]
    told = Told()
    owners = {("shop", "virt-launcher-x"): "x"}
    async with (
        kubelet(folder / "pod-resources", has),
        watching(
            hardware, folder, told, lambda: True, owner=lambda *pod: owners.get(pod, "")
        ) as given,
    ):
        given.configured(configured())
        await until(lambda: bool(given.look.held))
        assert set(given.look.ailing) == {("shop", "virt-launcher-x")}
        [fault] = given.look.faults
        assert fault.reason == "DriverChanged"
        hardware.remove(addresses[0])
        await until(lambda: ("shop", "router") in given.look.ailing)


async def test_without_configuration(
    hardware: Hardware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither offers nor complaints."""
    monkeypatch.setattr(hostdevices, "EVERY", 0.05)
    folder = tmp_path / "device-plugins"
    folder.mkdir()
    hardware.function("0000:01:00.0", "8086:10ca", group="7")
    told = Told()
    async with Kubelet(folder).running(), watching(hardware, folder, told) as given:
        (folder / "qat.intel.com-cy.sock").touch()
        given.configured(configured(developerConfiguration={"featureGates": ["QAT"]}))
        await until(lambda: any(look.complaints for look in told.looks))
        given.configured(configured())
        await until(lambda: told.looks[-1].complaints == ())
        given.configured(configured(permittedHostDevices={"pciHostDevices": [NIC]}))
        await until(lambda: "example.com/nic" in given.look.offers.by_resource)
        given.configured(msgspec.convert({"spec": {}}, KubeVirt))
        await until(lambda: given.look.offers.by_resource == {})


async def test_a_kubelet_that_refuses_a_resource_is_told_of_on_the_node(
    hardware: Hardware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostdevices, "EVERY", 0.05)
    folder = tmp_path / "device-plugins"
    folder.mkdir()
    kubelet = Kubelet(folder)
    kubelet.refuses = "the ResourceName is invalid"
    hardware.function("0000:01:00.0", "8086:10ca", group="7")
    told = Told()
    async with kubelet.running(), watching(hardware, folder, told) as given:
        given.configured(configured(permittedHostDevices={"pciHostDevices": [NIC]}))
        said = await asyncio.wait_for(refusals(told, some=True), WITHIN)
        assert "example.com/nic" in said
        assert "permittedHostDevices" in said
        kubelet.refuses = ""
        async with kubelet.plugin() as (request, _):
            assert request.resource_name == "example.com/nic"
        await asyncio.wait_for(refusals(told, some=False), WITHIN)


async def refusals(told: Told, *, some: bool) -> str:
    """Once what the node says has a refusal of the kubelet's, or has none: that."""
    while True:
        found = [each for each in await told.complaints.get() if "ResourceName is invalid" in each]
        if bool(found) == some:
            return "; ".join(found)


async def test_offers_follow_the_host(
    hardware: Hardware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostdevices, "EVERY", 0.05)
    folder = tmp_path / "device-plugins"
    folder.mkdir()
    kubelet = Kubelet(folder)
    told_of = Told()
    complaints = told_of.complaints
    hardware.function("0000:01:00.0", "8086:10ca", group="7", numa=1)
    async with kubelet.running(), watching(hardware, folder, told_of) as given:
        given.configured(configured(permittedHostDevices={"pciHostDevices": [NIC]}))
        async with kubelet.plugin() as (request, channel):
            assert request.resource_name == "example.com/nic"
            assert request.options.get_preferred_allocation_available
            told = lists(channel)
            [unit] = (await asyncio.wait_for(anext(told), WITHIN)).devices
            assert (unit.ID, unit.health, unit.topology.nodes[0].ID) == (
                "0000:01:00.0",
                "Healthy",
                1,
            )

            (hardware.dev / "vfio/7").unlink()
            [unit] = (await asyncio.wait_for(anext(told), WITHIN)).devices
            assert unit.health == "Unhealthy"

            shutil.rmtree(hardware.root / "bus/pci/devices/0000:01:00.0")
            assert not (await asyncio.wait_for(anext(told), WITHIN)).devices
            allocate = channel.unary_unary(
                "/v1beta1.DevicePlugin/Allocate",
                request_serializer=api.AllocateRequest.SerializeToString,
                response_deserializer=api.AllocateResponse.FromString,
            )
            one = api.ContainerAllocateRequest(devices_ids=["0000:01:00.0"])
            with pytest.raises(Exception, match="not on this node any more"):
                await allocate(api.AllocateRequest(container_requests=[one]), timeout=WITHIN)

            hardware.function("0000:02:00.0", "8086:10ca", "igbvf", group="8")
            said: tuple[str, ...] = ()
            while not any("held by driver igbvf" in each for each in said):
                said = await asyncio.wait_for(complaints.get(), WITHIN)

            given.configured(configured())
            async with asyncio.timeout(WITHIN):
                with pytest.raises(grpc.aio.AioRpcError):
                    _ = [devices async for devices in told]
        while said:
            said = await asyncio.wait_for(complaints.get(), WITHIN)
