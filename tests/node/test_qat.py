"""QAT devices brought to what their policies say, followed as they fail, and told of."""

from __future__ import annotations

import asyncio
import errno
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as any_of
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from tests.node.hardware import Hardware, Kernel, Player, link, write
from tests.node.pod_resources import claimed, kubelet, plugged, pod
from tests.node.test_devices import WITHIN, Kubelet, lists
from tests.node.test_host_devices import Told, configured, watching
from tests.node.world import vmi
from virtpod.api.qat import QATNodePolicy
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers.node_devices import Ailing, condition
from virtpod.domain.qat import MODELS, Model
from virtpod.domain.steps import WriteAttribute
from virtpod.node.devices import health, holders, hostdevices, qat, qat_state, setup, sysfs
from virtpod.node.devices.holders import Held
from virtpod.node.devices.metrics import Devices
from virtpod.node.devices.outfit import PATIENCE, Outcome, Outfitter
from virtpod.node.devices.setup import Round
from virtpod.node.devices.sysfs import Errors
from virtpod.node.steps import attributes
from virtpod.wire import podresources_pb2 as api

PF = "0000:3d:00.0"
VFS = ("0000:3d:01.0", "0000:3d:01.1")
SYM: dict[str, Any] = {"service": "sym", "committedPermille": 100, "peakPermille": 300}
GATES = {"developerConfiguration": {"featureGates": ["HostDevices", "QAT"]}}


@pytest.fixture
def hardware(tmp_path: Path) -> Hardware:
    made = Hardware(tmp_path / "sys", tmp_path / "dev")
    for driver in ("vfio-pci", "qat_vfio_pci"):
        made.driver(driver)
    return made


@pytest.fixture
def folder() -> Iterator[Path]:
    """Whose name leaves room for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="qat") as made:
        yield Path(made)


@pytest.fixture
def kernel(hardware: Hardware) -> Kernel:
    return Kernel(hardware)


def policy(name: str = "crypto", **spec: Any) -> QATNodePolicy:
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, QATNodePolicy)


class Site:
    """An agent's part, over a kernel that plays."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        (kernel.hardware.root / "proc").mkdir(parents=True)
        self.outfitter = Outfitter(
            kernel.hardware.root, kernel.hardware.root / "proc", kernel.write
        )
        self.now = 0.0

    def advance(
        self,
        *policies: QATNodePolicy,
        held: Mapping[str, str] | None = {},
        offered: Sequence[str] = (),
        labels: Mapping[str, str] = {},
    ) -> Outcome:
        return self.outfitter.advance(policies, labels, held, frozenset(offered), self.now)


@pytest.fixture
def site(kernel: Kernel) -> Site:
    return Site(kernel)


def drivers(outcome: Outcome) -> dict[str, str]:
    [engine] = outcome.engines.values()
    return {child: outcome.functions[child].driver for child in engine.function.children}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_each_generation_is_set_up_from_nothing(
    hardware: Hardware, site: Site, model: Model
) -> None:
    hardware.qat(PF, model.physical, "sym;asym", functions=0)
    write(hardware.root / "module/vfio_pci/parameters/disable_denylist", "Y")
    spec: dict[str, Any] = {"numVFs": 2, "driver": "vfio-pci", "autoReset": True}
    if model.by_service:
        spec["services"] = ["dc"]
    if model.migratable:
        spec["driver"] = "qat_vfio_pci"
    outcome = site.advance(policy(**spec))
    assert outcome.rounds == {PF: Round(setup.DONE)}, site.kernel.written
    assert drivers(outcome) == dict.fromkeys(VFS, spec["driver"])
    engine = outcome.engines[PF]
    assert (engine.state, engine.auto_reset) == ("up", True)
    if model.by_service:
        assert engine.resource == "qat.intel.com/dc"
        folder = f"devices/{PF}"
        assert site.kernel.written[:4] == [
            f"{folder}/qat/state=down",
            f"{folder}/qat/cfg_services=dc",
            f"{folder}/qat/state=up",
            f"{folder}/sriov_numvfs=2",
        ]
    written = len(site.kernel.written)
    assert site.advance(policy(**spec)).rounds[PF].done
    assert len(site.kernel.written) == written, "what is so is not written"


def test_services_and_numbers_change_by_way_of_none(hardware: Hardware, site: Site) -> None:
    hardware.qat(PF, "8086:4948", "sym;asym", functions=2)
    spec = {"services": ["dc", "sym", "decomp"], "numVFs": 3, "driver": "vfio-pci"}
    outcome = site.advance(policy(**spec))
    assert outcome.rounds[PF].done
    assert outcome.engines[PF].resource == "qat.intel.com/sym-dc-decomp"
    assert len(drivers(outcome)) == 3
    assert site.kernel.written[:5] == [
        f"devices/{PF}/sriov_numvfs=0",
        f"devices/{PF}/qat/state=down",
        f"devices/{PF}/qat/cfg_services=sym;dc;decomp",
        f"devices/{PF}/qat/state=up",
        f"devices/{PF}/sriov_numvfs=3",
    ]
    assert site.advance(policy(numVFs=0)).engines[PF].function.children == ()


def test_a_function_goes_from_one_driver_to_another(hardware: Hardware, site: Site) -> None:
    hardware.qat(PF, "8086:4940", functions=2)
    hardware.unbind(VFS[1])
    hardware.bind(VFS[1], "igb_uio")
    outcome = site.advance(policy(driver="vfio-pci"))
    assert outcome.rounds[PF].done
    assert site.kernel.written == [
        f"devices/{VFS[1]}/driver_override=vfio-pci",
        f"devices/{VFS[1]}/driver/unbind={VFS[1]}",
        f"drivers/vfio-pci/bind={VFS[1]}",
    ], "the other one is left alone"


def test_plain_files_and_a_player_come_to_the_same(hardware: Hardware) -> None:
    """Writing for real, as the end-to-end tests have it, whose kernel is played from outside."""
    hardware.qat(PF, "8086:4948", "dc", functions=0, numa=1)
    player = Player(hardware, {PF: 9000})
    proc = hardware.root / "proc"
    proc.mkdir()
    outfitter = Outfitter(hardware.root, proc)
    asked = policy(services=["asym", "sym"], numVFs=2, driver="qat_vfio_pci")
    player.start()
    try:
        for _ in range(200):
            outcome = outfitter.advance([asked], {}, {}, frozenset(), 0.0)
            if outcome.rounds[PF].done:
                break
            time.sleep(0.05)
    finally:
        player.stop()
    assert outcome.rounds[PF].done, outcome.rounds
    assert drivers(outcome) == dict.fromkeys(VFS, "qat_vfio_pci")
    assert outcome.engines[PF].services == ("sym", "asym")
    assert {outcome.functions[each].numa for each in VFS} == {1}


def test_what_somebody_holds_is_not_touched(hardware: Hardware, site: Site) -> None:
    hardware.qat(PF, "8086:4940", "dc", functions=2)
    held = {VFS[0]: "pod shop/virt-launcher-a"}
    crypto = policy(services=["sym", "asym"], numVFs=4, driver="qat_vfio_pci")
    found = site.advance(crypto, held=held).rounds[PF]
    assert found.reason == "InUse"
    assert f"{VFS[0]} (pod shop/virt-launcher-a)" in found.message
    # Another driver for the one that is free is as far as that one alone goes.
    both = site.advance(policy(driver="qat_vfio_pci"), held=held).rounds[PF]
    assert both.reason == "InUse"
    unknown = site.advance(crypto, held=None).rounds[PF]
    assert unknown.reason == "HoldersUnknown"
    assert site.kernel.written == []
    assert site.advance(crypto).rounds[PF].done


def lent_whole(hardware: Hardware) -> None:
    """The physical function itself is vfio-pci's, so that its driver shows nothing of QAT."""
    hardware.qat(PF, "8086:4940", functions=0)
    hardware.unbind(PF)
    hardware.bind(PF, "vfio-pci")
    for name in ("state", "cfg_services", "auto_reset"):
        (hardware.functions / PF / "qat" / name).unlink()


@pytest.mark.parametrize(
    "spec", [{"numVFs": 2}, {"services": ["dc"]}, {"autoReset": True}], ids=str
)
def test_a_device_that_is_lent_whole_is_not_touched(
    hardware: Hardware, site: Site, spec: dict[str, Any]
) -> None:
    lent_whole(hardware)
    found = site.advance(policy(**spec), held={PF: "pod shop/virt-launcher-a"}).rounds[PF]
    assert (found.reason, site.kernel.written) == ("InUse", [])
    assert f"{PF} (pod shop/virt-launcher-a)" in found.message
    same = site.advance(policy(numVFs=0), held={PF: "pod shop/virt-launcher-a"}).rounds[PF]
    assert same.done, "nothing is asked of it"


@pytest.mark.parametrize(
    "spec", [{"numVFs": 3}, {"services": ["sym"]}, {"autoReset": True}], ids=str
)
def test_a_device_is_not_touched_under_who_has_its_physical_function(
    hardware: Hardware, site: Site, spec: dict[str, Any]
) -> None:
    """Whatever driver it has."""
    hardware.qat(PF, "8086:4940", "dc", functions=2)
    found = site.advance(policy(**spec), held={PF: "pod shop/a"}).rounds[PF]
    assert (found.reason, site.kernel.written) == ("InUse", [])
    hardware.qat(PF, "8086:4940", "dc", functions=0, state="down")
    found = site.advance(policy(), held={PF: "pod shop/a"}).rounds[PF]
    assert (found.reason, site.kernel.written) == ("InUse", [])


@pytest.mark.parametrize(
    "spec", [{"numVFs": 2}, {"services": ["dc"]}, {"autoReset": True}], ids=str
)
def test_a_process_may_have_a_physical_function(
    hardware: Hardware, site: Site, spec: dict[str, Any]
) -> None:
    lent_whole(hardware)
    process = hardware.root / "proc/4711"
    (process / "fd").mkdir(parents=True)
    (process / "comm").write_text("qemu-system-x86\n")
    (process / "fd/7").symlink_to("/dev/vfio/100")
    found = site.advance(policy(**spec)).rounds[PF]
    assert (found.reason, site.kernel.written) == ("InUse", [])
    assert f"{PF} (process 4711 qemu-system-x86)" in found.message


def test_a_physical_function_that_is_offered_is_withdrawn_first(
    hardware: Hardware, site: Site
) -> None:
    lent_whole(hardware)
    first = site.advance(policy(numVFs=2), offered=[PF])
    assert (first.rounds[PF].reason, site.kernel.written) == ("InProgress", [])
    assert first.touched == {PF}


@pytest.mark.parametrize("opened", ["/dev/vfio/102", "/dev/vfio/devices/vfio5"])
def test_a_process_of_the_node_holds_as_well(hardware: Hardware, site: Site, opened: str) -> None:
    """By its group, or by the device itself, as with IOMMUFD."""
    hardware.qat(PF, "8086:4940", "dc", functions=2)
    process = hardware.root / "proc/4711"
    (process / "fd").mkdir(parents=True)
    (process / "comm").write_text("dpdk-testpmd\n")
    (process / "fd/7").symlink_to(opened)
    link(hardware.root / "class/vfio-dev/vfio5/device", f"../../../bus/pci/devices/{VFS[1]}")
    asked = policy(services=["sym"])
    found = site.advance(asked).rounds[PF]
    assert (found.reason, site.kernel.written) == ("InUse", [])
    assert f"{VFS[1]} (process 4711 dpdk-testpmd)" in found.message
    shutil.rmtree(process)
    site.now += PATIENCE
    assert site.advance(asked).rounds[PF].done


def test_what_is_offered_is_withdrawn_before_it_is_touched(hardware: Hardware, site: Site) -> None:
    hardware.qat(PF, "8086:4940", "dc", functions=2)
    asked = policy(services=["sym"])
    first = site.advance(asked, offered=VFS)
    assert first.touched == {PF, *VFS}
    assert (first.rounds[PF].reason, site.kernel.written) == ("InProgress", [])
    # The kubelet gave one away before it heard: it stays.
    late = site.advance(asked, offered=(), held={VFS[0]: "pod a/b"})
    assert (late.rounds[PF].reason, site.kernel.written) == ("InUse", [])
    assert site.advance(asked, offered=()).rounds[PF].done


def test_a_device_that_was_put_down_comes_up_under_its_holders(
    hardware: Hardware, site: Site
) -> None:
    hardware.qat(PF, "8086:4940", state="down")
    outcome = site.advance(policy(), held={VFS[0]: "pod a/b"}, offered=VFS)
    assert outcome.rounds[PF].done
    assert site.kernel.written == [f"devices/{PF}/qat/state=up"]


@pytest.mark.parametrize(
    ("physical", "spec", "reason", "says"),
    [
        ("8086:37c8", {"services": ["sym"]}, "Unfit", "C62x has no services to choose"),
        ("8086:4940", {"services": ["sym", "asym", "dc"]}, "Unfit", "4xxx can have 2 services"),
        ("8086:4940", {"numVFs": 17}, "Unfit", "it can have 16, not 17"),
        ("8086:4946", {"driver": "qat_vfio_pci"}, "Unfit", "does not know 420xx; use vfio-pci"),
        ("8086:37c8", {"driver": "vfio-pci"}, "Denied", "disable_denylist=1"),
        ("8086:37c8", {"rateLimits": [SYM]}, "Unfit", "spec.rateLimits: C62x has none"),
        ("8086:4940", {"rateLimits": [SYM]}, "Unfit", "driver 4xxx has none (qat_rl"),
        ("8086:4940", {"driver": "vfio-pci"}, "DriverNotLoaded", "modprobe vfio_pci"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_done(
    hardware: Hardware, site: Site, physical: str, spec: dict[str, Any], reason: str, says: str
) -> None:
    hardware.qat(PF, physical, driver="")
    if reason == "DriverNotLoaded":
        shutil.rmtree(hardware.root / "bus/pci/drivers/vfio-pci")
    found = site.advance(policy(**spec)).rounds[PF]
    assert (found.reason, site.kernel.written) == (reason, [])
    assert says in found.message


@pytest.mark.parametrize(
    ("physical", "says"),
    [
        ("8086:37c8", "load that of C62x, of Linux (qat_c62x)"),
        ("8086:4944", "load that of 402xx, of Linux (qat_4xxx)"),
        ("8086:4948", "load that of 6xxx, of Linux 6.16 and later (qat_6xxx)"),
        ("8086:18a0", "load that of C4xxx, which is Intel's and not in Linux"),
    ],
)
def test_the_driver_of_a_device_that_has_none_is_named(
    hardware: Hardware, site: Site, physical: str, says: str
) -> None:
    hardware.qat(PF, physical, functions=0)
    hardware.unbind(PF)
    found = site.advance(policy(numVFs=2)).rounds[PF]
    assert found.reason == "NoDriver"
    assert says in found.message


@pytest.mark.parametrize("physical", ["8086:6f54", "8086:18a0"])
def test_vfio_pci_takes_what_is_not_on_its_deny_list(
    hardware: Hardware, site: Site, physical: str
) -> None:
    """The list has three models of generation 2, and no other."""
    hardware.driver("vfio-pci")
    hardware.qat(PF, physical, functions=0)
    assert site.advance(policy(numVFs=2, driver="vfio-pci")).rounds[PF].done


def test_old_drivers_and_firmware_say_what_they_lack(hardware: Hardware, site: Site) -> None:
    hardware.qat(PF, "8086:4940", functions=0)
    folder = hardware.functions / PF
    (folder / "qat/cfg_services").unlink()
    assert "Linux 6.0" in site.advance(policy(services=["dc"])).rounds[PF].message
    (folder / "qat/auto_reset").unlink()
    assert "leave it out" in site.advance(policy(autoReset=True)).rounds[PF].message
    (folder / "sriov_totalvfs").unlink()
    assert "SR-IOV" in site.advance(policy(numVFs=1)).rounds[PF].message
    hardware.unbind(PF)
    assert site.advance(policy()).rounds[PF].reason == "NoDriver"
    assert site.kernel.written == []


def test_what_the_kernel_refuses_is_said_and_tried_again_later(
    hardware: Hardware, site: Site
) -> None:
    hardware.qat(PF, "8086:4940", "dc", functions=0)
    site.kernel.refuse = {"cfg_services"}
    asked = policy(services=["sym"], numVFs=1)
    found = site.advance(asked).rounds[PF]
    assert found.reason == "Failed"
    assert f"/sys/bus/pci/devices/{PF}/qat/cfg_services: Input/output error" in found.message
    tried = len(site.kernel.written)
    site.now += PATIENCE / 2
    assert site.advance(asked).rounds[PF] == found
    assert len(site.kernel.written) == tried
    site.kernel.refuse = set()
    site.now += PATIENCE
    outcome = site.advance(asked)
    assert outcome.rounds[PF].done, "it had been left down"
    assert outcome.engines[PF].state == "up"


@pytest.mark.parametrize("then", ["sym", "dc"])
def test_what_the_kernel_refuses_costs_no_functions(
    hardware: Hardware, site: Site, then: str
) -> None:
    """They were taken away for other services, and the policy says nothing of their number."""
    hardware.qat(PF, "8086:4940", "dc", functions=2)
    site.kernel.refuse = {"cfg_services"}
    for _ in range(2):
        assert site.advance(policy(services=["sym"])).rounds[PF].reason == "Failed"
        site.now += PATIENCE
    site.kernel.refuse = set()
    outcome = site.advance(policy(services=[then]))
    assert outcome.rounds[PF].done
    assert outcome.engines[PF].services == (then,)
    assert outcome.engines[PF].function.children == tuple(VFS)
    hardware.remove(VFS[0])
    hardware.remove(VFS[1])
    assert not site.advance(policy(services=[then])).engines[PF].function.children, (
        "somebody's wish"
    )


def test_an_attribute_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        attributes.write(tmp_path, [WriteAttribute("bus/pci/devices/x/sriov_numvfs", "1")])
    assert raised.value.filename == "bus/pci/devices/x/sriov_numvfs"


# Rate limits.


def limits(kernel: Kernel, address: str = PF) -> set[tuple[str, int, int, int]]:
    return {
        (sla.service, sla.rings, sla.committed, sla.peak)
        for sla in kernel.slas.get(address, {}).values()
    }


def test_limits_are_set_when_all_else_is(hardware: Hardware, site: Site) -> None:
    hardware.qat(PF, "8086:4940", "dc", functions=0, limits=True)
    asked = policy(
        services=["sym", "asym"],
        numVFs=2,
        driver="vfio-pci",
        autoReset=True,
        rateLimits=[SYM, {"service": "asym", "committedPermille": 50}],
    )
    outcome = site.advance(asked)
    assert outcome.rounds[PF].done, outcome.rounds
    assert limits(site.kernel) == {
        ("sym", 0b1010, 100, 300),
        ("sym", 0b1010_0000, 100, 300),
        ("asym", 0b0101, 50, 50),
        ("asym", 0b0101_0000, 50, 50),
    }
    engine = outcome.engines[PF]
    assert (engine.ring_pairs, engine.rings) == (64, ("asym", "sym") * 2)
    assert engine.spare == {"sym": 800, "asym": 900}
    assert [(each.service, each.peak) for each in engine.limits_of(1)] == [
        ("sym", 300),
        ("asym", 50),
    ]
    written, said = len(site.kernel.written), site.kernel.notices[PF]
    assert site.advance(asked).rounds[PF].done
    assert len(site.kernel.written) == written, "what is so is not written"
    assert site.kernel.notices[PF] == said, "nor is the kernel's log filled"


def test_limits_change_under_whoever_has_the_function(hardware: Hardware, site: Site) -> None:
    hardware.qat(PF, "8086:4940", limits=True)
    site.advance(policy(rateLimits=[SYM]))
    del site.kernel.written[:]
    held = {VFS[0]: "pod shop/virt-launcher-a"}
    more = policy(rateLimits=[SYM | {"committedPermille": 500, "peakPermille": 1000}])
    outcome = site.advance(more, held=held, offered=VFS)
    assert outcome.rounds[PF].done
    assert outcome.touched == frozenset()
    assert {each[2:] for each in limits(site.kernel)} == {(500, 1000)}
    assert {each.split("/")[2] for each in site.kernel.written} == {"qat_rl"}
    assert not any("=rm" in each for each in site.kernel.written), "not for a moment without"
    assert site.advance(policy(rateLimits=[]), held=held).rounds[PF].done
    assert limits(site.kernel) == set()


def test_limits_of_others_stay_only_where_no_policy_speaks_of_limits(
    hardware: Hardware, site: Site
) -> None:
    hardware.qat(PF, "8086:4940", limits=True)
    folder = hardware.functions / PF / "qat_rl"

    def by_hand(**operands: str) -> None:
        site.kernel.write(
            hardware.root,
            [
                WriteAttribute(f"bus/pci/devices/{PF}/qat_rl/{name}", value)
                for name, value in operands.items()
            ],
        )

    by_hand(cir="0", pir="700", srv="sym", rp="0x2", sla_op="add")
    outcome = site.advance(policy(autoReset=False))
    assert outcome.rounds[PF].done
    assert outcome.engines[PF].limits is None
    assert (folder / "pir").read_text() == "700\n", "operands that somebody may be using"
    assert site.advance(policy(rateLimits=[SYM])).rounds[PF].done
    assert {each[1] for each in limits(site.kernel)} == {0b1010, 0b1010_0000}
    # Whoever takes from what there is, is seen; what was set by hand is set anew.
    by_hand(id="4", cir="10", pir="10", sla_op="update")
    assert site.advance(policy(rateLimits=[SYM])).rounds[PF].done
    by_hand(cir="1", pir="1", srv="asym", rp="0x1", sla_op="add")
    assert site.advance(policy(rateLimits=[SYM])).rounds[PF].done
    assert {each[2:] for each in limits(site.kernel)} == {(100, 300)}


def test_limits_go_with_the_state_and_come_again(hardware: Hardware, site: Site) -> None:
    hardware.qat(PF, "8086:4940", limits=True)
    asked = policy(rateLimits=[SYM])
    site.advance(asked)
    before = limits(site.kernel)
    site.kernel._turn(hardware.functions / PF, "down")
    write(hardware.functions / PF / "qat/state", "down")
    assert limits(site.kernel) == set()
    outcome = site.advance(asked, held={VFS[0]: "pod a/b"})
    assert outcome.rounds[PF].done
    assert limits(site.kernel) == before


def test_what_is_left_is_reckoned_before_the_kernel_is_asked(
    hardware: Hardware, site: Site
) -> None:
    hardware.qat(PF, "8086:4940", functions=11, limits=True)
    found = site.advance(policy(rateLimits=[SYM])).rounds[PF]
    assert found.reason == "Unfit"
    assert "spec.rateLimits[0].committedPermille: 11 functions cannot be assured" in found.message
    assert "at most 90" in found.message
    found = site.advance(policy(rateLimits=[SYM | {"service": "dc"}])).rounds[PF]
    assert "spec.rateLimits[0].service: the device does sym;asym, not dc" in found.message
    assert site.kernel.written == []


def test_a_limit_that_the_kernel_refuses_is_told(hardware: Hardware, site: Site) -> None:
    hardware.qat(PF, "8086:4940", limits=True)
    site.kernel.refuse = {"sla_op"}
    assert site.advance(policy(rateLimits=[SYM])).rounds[PF].reason == "Unfit"
    site.kernel.refuse = {"srv"}
    found = site.advance(policy(rateLimits=[SYM])).rounds[PF]
    assert found.reason == "Failed"
    assert "qat_rl/srv: Input/output error" in found.message
    site.kernel.refuse = set()
    site.now += PATIENCE
    assert site.advance(policy(rateLimits=[SYM])).rounds[PF].done


@pytest.mark.parametrize(
    ("operands", "code"),
    [
        ({"cir": "1001", "srv": "sym", "rp": "0x2"}, errno.EINVAL),
        ({"cir": "10", "pir": "1001", "srv": "sym", "rp": "0x2"}, errno.EINVAL),
        ({"cir": "10", "srv": "sym", "rp": "0x1"}, errno.EINVAL),
        ({"cir": "10", "srv": "sym", "rp": "0x0"}, errno.EINVAL),
        ({"cir": "10", "srv": "sym", "rp": "0x2aa"}, errno.EINVAL),
        ({"cir": "10", "srv": "dc", "rp": "0x1"}, errno.EINVAL),
        ({"cir": "10", "srv": "sym", "rp": "0x2aa", "pir": "5"}, errno.EINVAL),
        ({"cir": "10", "srv": "sym", "rp": "0x2", "pir": "5"}, 0),
    ],
)
def test_the_kernel_that_plays_refuses_as_linux_does(
    hardware: Hardware, kernel: Kernel, operands: dict[str, str], code: int
) -> None:
    hardware.qat(PF, "8086:4940", limits=True)
    folder = f"bus/pci/devices/{PF}/qat_rl"
    steps = [WriteAttribute(f"{folder}/{name}", value) for name, value in operands.items()]
    try:
        kernel.write(hardware.root, [*steps, WriteAttribute(f"{folder}/sla_op", "add")])
        got = 0
    except OSError as error:
        got = error.errno or 0
    assert got == code
    assert len(limits(kernel)) == (not code)


RATES = st.tuples(st.integers(0, 250), st.integers(1, 1000)).map(
    lambda pair: {"committedPermille": pair[0], "peakPermille": max(pair)}
)
WANTED = st.dictionaries(st.sampled_from(["sym", "asym"]), RATES).map(
    lambda chosen: [{"service": name} | rates for name, rates in chosen.items()]
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@any_of(st.lists(WANTED, min_size=1, max_size=4), st.integers(0, 4))
def test_from_any_limits_to_any_the_kernel_never_refuses(
    tmp_path_factory: pytest.TempPathFactory, plans: list[list[dict[str, Any]]], functions: int
) -> None:
    folder = tmp_path_factory.mktemp("rates")
    hardware = Hardware(folder / "sys", folder / "dev")
    hardware.qat(PF, "8086:4940", functions=functions, limits=True)
    site = Site(Kernel(hardware))
    for plan in plans:
        outcome = site.advance(policy(rateLimits=plan))
        assert outcome.rounds[PF].done, outcome.rounds
        assert sorted(each[0] for each in limits(site.kernel)) == sorted(
            limit["service"] for limit in plan for _ in range(functions)
        )
        wanted = {(x["service"], x["committedPermille"], x["peakPermille"]) for x in plan}
        assert {(a, c, d) for a, _, c, d in limits(site.kernel)} == (wanted if functions else set())
        assert len(outcome.engines[PF].limits or ()) == len(plan) * functions
    shutil.rmtree(folder)


def test_limits_are_told_and_measured(hardware: Hardware, site: Site) -> None:
    hardware.qat(PF, "8086:4940", limits=True)
    found = look(hardware, site, policy(rateLimits=[SYM]))
    [device] = qat_state.status(found, {}, 1e9)["devices"]
    assert [each["rateLimits"] for each in device["functions"]] == [[SYM], [SYM]]
    assert device["spareRates"] == [
        {"service": "asym", "permille": 1000},
        {"service": "sym", "permille": 800},
    ]
    registry = CollectorRegistry()
    registry.register(Devices(lambda: found, lambda _namespace, _pod: ""))
    said = generate_latest(registry).decode()
    of = f'device="{VFS[1]}",parent="{PF}"'
    for line in (
        f'virtpod_qat_rate_limit{{{of},rate="committed",service="sym"}} 100.0',
        f'virtpod_qat_rate_limit{{{of},rate="peak",service="sym"}} 300.0',
        f'virtpod_qat_rate_spare{{device="{PF}",service="sym"}} 800.0',
    ):
        assert line in said, said


def test_policies_choose_nodes_and_devices(hardware: Hardware, site: Site) -> None:
    hardware.qat(PF, "8086:4940", numa=0, group=100)
    hardware.qat("0000:40:00.0", "8086:4942", numa=1, group=200)
    here = {"role": "gateway", "kubernetes.io/hostname": "n"}
    first = policy("one", nodeSelector={"role": "gateway"}, deviceSelector={"models": ["4xxx"]})
    second = policy("two", deviceSelector={"numaNodes": [1], "addresses": ["0000:40:00.0"]})
    other = policy("three", nodeSelector={"role": "storage"})
    outcome = site.advance(first, second, other, labels=here)
    assert outcome.policies == {PF: "one", "0000:40:00.0": "two"}
    assert site.advance(first, labels={}).policies == {}
    clash = site.advance(first, policy("all", numVFs=1), labels=here)
    assert clash.policies == {"0000:40:00.0": "all"}
    assert clash.rounds[PF].reason == "Conflict"
    assert "all, one" in clash.rounds[PF].message


def test_errors_count_from_now_on_and_are_forgotten() -> None:
    watch = health.Watch()
    assert watch.seen(PF, Errors(fatal=4), 0) is None, "of before we came"
    fault = watch.seen(PF, Errors(fatal=5), 10)
    assert fault
    assert fault.reason == "FatalErrors"
    assert watch.seen(PF, Errors(fatal=5), 10 + health.QUIET / 2) == fault
    assert watch.seen(PF, Errors(fatal=5), 10 + health.QUIET) is None
    assert watch.seen(PF, Errors(fatal=6), 700)
    assert watch.seen(PF, Errors(fatal=0), 701) is None, "it was reset"
    assert watch.seen(PF, Errors(), 702) is None


# Who has what.


async def test_the_kubelet_tells_of_plugins_and_claims(tmp_path: Path) -> None:
    claim = api.ClaimResource(
        driver_name="qat.intel.com", pool_name="node1", device_name="qatvf-0000-3d-01-1"
    )
    given = [
        pod("a", "shop", **plugged("qat.intel.com/cy", VFS[0])),
        pod("b", "shop", **claimed("c", claim, namespace="shop")),
    ]
    async with kubelet(tmp_path, given):
        told = await holders.of_pods(tmp_path)
    assert told == (
        Held("shop", "a", "qat.intel.com/cy", VFS[0]),
        Held("shop", "b", "qat.intel.com", "qatvf-0000-3d-01-1", claimed=True),
    )
    assert [each.address for each in told] == list(VFS)
    assert Held("", "", "nvidia.com/T4", "aa618089-8b16-4d01-a136-25a0f3c73123").address == ""
    assert await holders.of_pods(tmp_path / "none") is None


# Health, from the node to the guest.


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN):
        while not so():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_device_that_fails_is_told_everywhere(
    hardware: Hardware, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostdevices, "EVERY", 0.05)
    hardware.qat(PF, "8086:4940")
    told, plugins = Told(), Kubelet(folder)
    held = [pod("gateway", "shop", **plugged("qat.intel.com/cy", VFS[0]))]
    async with (
        plugins.running(),
        kubelet(folder / "pod-resources", held),
        watching(hardware, folder, told) as given,
    ):
        given.configured(configured(**GATES))
        async with plugins.plugin() as (_, channel):
            lived = lists(channel)

            async def seen(healths: list[str], reason: str) -> Ailing | None:
                """Each by the kubelet, and what the pod ails."""
                while True:
                    devices = (await asyncio.wait_for(anext(lived), WITHIN)).devices
                    if [each.health for each in devices] == healths:
                        break

                def ailing() -> tuple[Ailing, ...]:
                    return given.look.ailing.get(("shop", "gateway"), ())

                await until(lambda: "".join(each.reason for each in ailing()) == reason)
                return next(iter(ailing()), None)

            assert await seen(["Healthy", "Healthy"], "") is None
            both = ["Unhealthy", "Unhealthy"]
            hardware.debug(PF, "heartbeat/status", "-1")
            ailing = await seen(both, "NoHeartbeat")
            assert ailing
            assert ailing.addresses == (VFS[0],)
            assert f"{PF} has no heartbeat" in ailing.message
            hardware.debug(PF, "heartbeat/status", "0")
            await seen(["Healthy", "Healthy"], "")
            write(hardware.functions / PF / "qat/state", "down")
            await seen(both, "DeviceDown")
            write(hardware.functions / PF / "qat/state", "up")
            await seen(["Healthy", "Healthy"], "")
            hardware.errors(PF, 1)
            await seen(both, "FatalErrors")
            hardware.errors(PF, 0)
            await seen(["Healthy", "Healthy"], "")
            (hardware.dev / "vfio/101").unlink()
            await seen(["Unhealthy", "Healthy"], "NoDeviceNode")
            write(hardware.dev / "vfio/101", "")
            await seen(["Healthy", "Healthy"], "")
            hardware.unbind(VFS[0])
            hardware.bind(VFS[0], "igb_uio")
            taken = await seen(["Healthy"], "DriverChanged")
            assert taken
            assert "has driver igb_uio now" in taken.message
            hardware.remove(VFS[0])
            await until(lambda: given.look.ailing["shop", "gateway"][0].reason == "DeviceRemoved")


async def test_an_agent_sets_up_what_is_free_and_offers_it(
    hardware: Hardware, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole loop, over a kernel that plays: nothing is touched that is offered."""
    monkeypatch.setattr(hostdevices, "EVERY", 0.05)
    monkeypatch.setattr(hostdevices, "SOON", 0.05)
    hardware.qat(PF, "8086:4940", "dc")
    kernel = Kernel(hardware)
    told, plugins = Told(policy(services=["sym", "asym"], driver="vfio-pci")), Kubelet(folder)
    held = [pod("gateway", "shop", **plugged("qat.intel.com/cy", VFS[0]))]
    async with (
        plugins.running(),
        kubelet(folder / "pod-resources", held),
        watching(hardware, folder, told) as given,
    ):
        monkeypatch.setattr(given._outfitter, "_write", kernel.write)
        given.configured(configured(**GATES))

        async def at(reason: str) -> None:
            await until(lambda: given.look.rounds.get(PF, Round("")).reason == reason)

        await at("InUse")
        [complaint] = [each for each in given.look.complaints if "once these are free" in each]
        assert f"{VFS[0]} (pod shop/gateway)" in complaint
        assert kernel.written == []
        held.clear()
        await at(setup.DONE)
        [offer] = given.look.offers.by_resource.values()
        assert (offer.resource, len(offer.units())) == ("qat.intel.com/cy", 2)
        first = next(each for each in told.looks if each.inventory.touched)
        assert first.rounds[PF].reason == "InProgress"


@pytest.mark.parametrize(
    ("socket", "claimed", "says"),
    [
        ("qat.intel.com-cy.sock", False, "Another device plugin"),
        ("registry/qat.intel.com-reg.sock", False, "A driver of resource claims"),
        ("", True, "A driver of resource claims"),
    ],
)
def test_a_device_has_one_owner(
    hardware: Hardware, kernel: Kernel, folder: Path, socket: str, claimed: bool, says: str
) -> None:
    """Beside Intel's device plugin, or its driver of claims, nothing is offered nor set up."""
    hardware.qat(PF, "8086:4940", "dc")
    (folder / "registry").mkdir()
    if socket:
        (folder / socket).touch()
    folders = hostdevices.Folders(
        hardware.root, hardware.dev, folder, folder, folder / "registry", folder
    )
    agent = hostdevices.HostDevices(
        folders,
        None,  # type: ignore[arg-type]
        Told(policy(services=["sym"])),
    )
    agent._outfitter._write = kernel.write
    agent._wanted = hostdevices.Wanted(qat=True)
    held = (Held("a", "b", "qat.intel.com", "qatvf-0000-3d-01-0", claimed=True),)
    look = agent._look(held if claimed else ())
    [complaint] = look.complaints
    assert complaint.startswith(says)
    assert (dict(look.offers.by_resource), kernel.written) == ({}, [])
    assert look.holders == ({VFS[0]: ("a", "b")} if claimed else {})
    (folder / socket).unlink() if socket else None
    assert agent._look(()).offers.by_resource, "it is gone: we are the owner"
    assert kernel.written


def test_a_socket_that_a_plugin_left_behind_is_named(hardware: Hardware, folder: Path) -> None:
    """As Intel's plugin does when it is taken away; the kubelet clears up when it starts."""
    hardware.qat(PF, "8086:4940")
    folders = hostdevices.Folders(hardware.root, hardware.dev, folder, folder, folder, folder)
    agent = hostdevices.HostDevices(folders, None, Told())  # type: ignore[arg-type]
    agent._wanted = hostdevices.Wanted(qat=True)
    left = folder / "qat.intel.com-cy.sock"
    with socket.socket(socket.AF_UNIX) as plugin:
        plugin.bind(str(left))
        plugin.listen()
        [complaint] = agent._look(()).complaints
        assert "delete" not in complaint
    [complaint] = agent._look(()).complaints
    assert f"nobody answers at {left}: delete it" in complaint


# What is written of it.


def look(hardware: Hardware, site: Site, *policies: QATNodePolicy) -> Any:
    outcome = site.advance(*policies)
    inventory = hostdevices.Inventory(outcome.functions, outcome.engines)
    return hostdevices.Look(
        inventory,
        hostdevices.offers(inventory, hostdevices.Wanted(qat=True)),
        (Held("shop", "virt-launcher-gateway-x", "qat.intel.com/cy", VFS[0]),),
        outcome.policies,
        outcome.rounds,
    )


def test_the_state_says_what_was_found(hardware: Hardware, site: Site) -> None:
    hardware.qat(PF, "8086:4940")
    status = qat_state.status(look(hardware, site, policy(driver="vfio-pci")), {}, 1e9)
    stamp = "2001-09-09T01:46:40Z"
    assert status == {
        "summary": "1 of 1 devices as they shall be",
        "devices": [
            {
                "address": PF,
                "model": "4xxx",
                "generation": 4,
                "driver": "4xxx",
                "numaNode": 0,
                "state": "up",
                "services": ["sym", "asym"],
                "totalVFs": 16,
                "ringPairs": 64,
                "ringPairServices": ["asym", "sym", "asym", "sym"],
                "resource": "qat.intel.com/cy",
                "policy": "crypto",
                "functions": [
                    {
                        "address": VFS[0],
                        "driver": "vfio-pci",
                        "iommuGroup": "101",
                        "holder": "shop/virt-launcher-gateway-x",
                    },
                    {"address": VFS[1], "driver": "vfio-pci", "iommuGroup": "102"},
                ],
                "conditions": [
                    {
                        "type": "Configured",
                        "status": "True",
                        "reason": "AsConfigured",
                        "lastTransitionTime": stamp,
                    },
                    {
                        "type": "Healthy",
                        "status": "True",
                        "reason": "Healthy",
                        "lastTransitionTime": stamp,
                    },
                ],
            }
        ],
    }
    hardware.debug(PF, "heartbeat/status", "-1")
    after = qat_state.status(look(hardware, site), status, 2e9)
    [ails] = after["devices"][0]["conditions"]
    assert (ails["status"], ails["reason"]) == ("False", "NoHeartbeat")
    assert ails["lastTransitionTime"] != stamp
    assert after["summary"] == "0 of 1 devices as they shall be"
    assert qat_state.status(look(hardware, site), after, 3e9) == after


def test_devices_and_their_owners_are_measured(hardware: Hardware, site: Site) -> None:
    hardware.qat(PF, "8086:4940")
    hardware.debug(PF, "heartbeat/queries_failed", "2")
    hardware.debug(PF, "telemetry/control", "1")
    hardware.debug(PF, "telemetry/device_data", "bw_in 17\nutil_cpr0 3 1 4 2\nnonsense\n")
    registry = CollectorRegistry()
    found = look(hardware, site, policy(driver="vfio-pci"))
    registry.register(Devices(lambda: found, lambda _namespace, _pod: "gateway"))
    said = generate_latest(registry).decode()
    for line in (
        'virtpod_host_devices{health="healthy",resource="qat.intel.com/cy"} 2.0',
        f'virtpod_host_device_info{{device="{VFS[0]}",driver="vfio-pci",name="gateway",'
        f'namespace="shop",numa="0",parent="{PF}",resource="qat.intel.com/cy"}} 1.0',
        f'name="",namespace="",numa="0",parent="{PF}",resource="qat.intel.com/cy"}} 1.0',
        f'virtpod_host_device_healthy{{device="{VFS[0]}",reason="",resource="qat.intel.com/cy"}} 1',
        f'virtpod_qat_info{{device="{PF}",driver="4xxx",model="4xxx",numa="0",policy="crypto",'
        'services="sym;asym"} 1.0',
        f'virtpod_qat_healthy{{device="{PF}"}} 1.0',
        f'virtpod_qat_configured{{device="{PF}",policy="crypto",reason=""}} 1.0',
        f'virtpod_qat_virtual_functions{{device="{PF}"}} 2.0',
        f'virtpod_qat_heartbeat_failures_total{{device="{PF}"}} 2.0',
        f'virtpod_qat_aer_errors_total{{device="{PF}",severity="correctable"}} 3.0',
        f'virtpod_qat_telemetry{{counter="bw_in",device="{PF}"}} 17.0',
        f'virtpod_qat_telemetry{{counter="util_cpr0",device="{PF}"}} 3.0',
        f'virtpod_qat_ring_pairs{{device="{PF}"}} 64.0',
        f'virtpod_qat_function_ring_pairs{{device="{VFS[1]}",parent="{PF}",service="sym"}} 2.0',
    ):
        assert line in said, said


def test_a_device_that_two_pods_share_is_measured_once(hardware: Hardware) -> None:
    """By one claim. Prometheus takes no series twice."""
    hardware.qat(PF, "8086:4940", state="down")
    held = tuple(
        Held("shop", pod, "qat.intel.com", "qatvf-0000-3d-01-0", claimed=True) for pod in "ab"
    )
    functions = sysfs.functions(hardware.root)
    inventory = hostdevices.Inventory(functions, qat.engines(hardware.root, functions))
    registry = CollectorRegistry()
    look = hostdevices.Look(inventory, held=held)
    registry.register(Devices(lambda: look, lambda _, pod: pod))
    told = generate_latest(registry).decode()
    labels = f'device="{VFS[0]}",reason="DeviceDown",resource="qat.intel.com"'
    assert told.count(f"virtpod_host_device_healthy{{{labels}}} 0.0") == 1, told


def test_what_others_gave_to_guests_is_measured_too(hardware: Hardware) -> None:
    """By Intel's plugin or a driver of claims; what a pod that is no guest's has is its own."""
    *_, third = hardware.qat(PF, "8086:4940", numa=1, driver="qat_vfio_pci", functions=3)
    held = tuple(
        Held("shop", pod, resource, name, claimed=resource == "qat.intel.com")
        for pod, resource, name in (
            ("launcher", "qat.intel.com/cy", VFS[0]),
            ("launcher", "qat.intel.com", "qatvf-0000-3d-01-2"),
            ("launcher", "qat.intel.com", "intel.com/qat=qatvf-0000-3d-01-2"),
            ("container", "qat.intel.com/cy", VFS[1]),
        )
    )
    functions = sysfs.functions(hardware.root)
    inventory = hostdevices.Inventory(functions, qat.engines(hardware.root, functions))
    look = hostdevices.Look(inventory, held=held)
    registry = CollectorRegistry()
    registry.register(Devices(lambda: look, lambda _, pod: "gateway" if pod == "launcher" else ""))
    told = generate_latest(registry).decode()
    whose = f'driver="qat_vfio_pci",name="gateway",namespace="shop",numa="1",parent="{PF}"'
    for device, resource in ((VFS[0], "qat.intel.com/cy"), (third, "qat.intel.com")):
        labels = f'device="{device}",{whose},resource="{resource}"'
        assert f"virtpod_host_device_info{{{labels}}} 1.0" in told
        labels = f'device="{device}",reason="",resource="{resource}"'
        assert f"virtpod_host_device_healthy{{{labels}}} 1.0" in told
    assert told.count("virtpod_host_device_info{") == 2


def test_a_guest_s_condition_names_the_device() -> None:
    obj = vmi()
    devices = obj["spec"]["domain"]["devices"]
    devices["hostDevices"] = [
        {"name": name, "deviceName": "qat.intel.com/cy"} for name in ("crypto0", "crypto1")
    ]
    typed = msgspec.convert(obj, VirtualMachineInstance)
    ailing = Ailing("qat.intel.com/cy", (VFS[1],), "NoHeartbeat", "it has no heartbeat")
    told = condition(typed, (ailing,), {"crypto0": VFS[0], "crypto1": VFS[1]})
    assert told == {
        "type": "HostDevicesHealthy",
        "status": "False",
        "reason": "NoHeartbeat",
        "message": f"crypto1 ({VFS[1]}): it has no heartbeat",
    }
    guessed = condition(typed, (ailing,), {})
    assert guessed
    assert guessed["message"].startswith("crypto0 or crypto1 (")
    good = condition(typed, (), {})
    assert good
    assert good["status"] == "True"


def test_a_guest_s_condition_names_its_network_card_s_function() -> None:
    obj = vmi()
    obj["spec"]["domain"]["devices"]["interfaces"] = [
        {"name": "fast", "sriov": {}},
        {"name": "slow", "masquerade": {}},
    ]
    typed = msgspec.convert(obj, VirtualMachineInstance)
    ailing = Ailing("intel.com/sriov", (VFS[1],), "DeviceRemoved", "it is gone")
    told = condition(typed, (ailing,), {"fast": VFS[1]})
    assert told
    assert (told["status"], told["reason"]) == ("False", "DeviceRemoved")
    assert told["message"] == f"fast ({VFS[1]}): it is gone"
    good = condition(typed, (), {})
    assert good
    assert good["status"] == "True"
    del obj["spec"]["domain"]["devices"]["interfaces"][0]
    assert condition(msgspec.convert(obj, VirtualMachineInstance), (), {}) is None


# Whatever stands in sysfs.

ATTRIBUTES = (
    "vendor",
    "device",
    "class",
    "numa_node",
    "qat/state",
    "qat/cfg_services",
    "qat/auto_reset",
    "qat/num_rps",
    "qat/rp2srv",
    "qat_rl/rp",
    "qat_rl/id",
    "qat_rl/cir",
    "qat_rl/srv",
    "qat_rl/cap_rem",
    "sriov_totalvfs",
    "aer_dev_fatal",
)
DEBUG = (
    "heartbeat/status",
    "heartbeat/queries_failed",
    "telemetry/control",
    "telemetry/device_data",
)
TEXTS = st.one_of(
    st.binary(max_size=64),
    st.sampled_from(
        [b"up", b"-1", b"99999999999999999999999", b"\xd9\xa3", b"TOTAL_ERR_FATAL", b""]
    ),
    st.text("0123456789 \n;:-_acdemnopsuy", max_size=40).map(str.encode),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@any_of(
    st.dictionaries(st.sampled_from([*ATTRIBUTES, *DEBUG]), TEXTS, max_size=6),
    st.lists(
        st.sampled_from(["driver", "physfn", "iommu_group", "virtfn0", "virtfn1"]), max_size=3
    ),
    st.sampled_from(
        ["../nowhere", ".", "../0000:3d:00.0", "../../..", "a" * 200, "../0000:3d:01.0"]
    ),
)
def test_no_content_of_sysfs_stops_the_agent(
    tmp_path_factory: pytest.TempPathFactory,
    contents: dict[str, bytes],
    links: list[str],
    target: str,
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    hardware = Hardware(folder / "sys", folder / "dev")
    hardware.driver("vfio-pci")
    hardware.qat(PF, "8086:4940", limits=True)
    hardware.debug(PF, "telemetry/control", "1")
    for name, content in contents.items():
        base = hardware.functions / PF
        if name in DEBUG:
            base = hardware.root / f"kernel/debug/qat_4xxx_{PF}"
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(content)
    for name in links:
        place = hardware.functions / (PF if name.startswith("virtfn") else VFS[0]) / name
        place.unlink(missing_ok=True)
        place.symlink_to(target)
    agent = hostdevices.HostDevices(
        hostdevices.Folders(
            hardware.root, hardware.dev, folder, folder, folder, hardware.root / "no"
        ),
        None,  # type: ignore[arg-type]
        Told(
            policy(
                services=["dc"],
                numVFs=2,
                driver="vfio-pci",
                autoReset=True,
                rateLimits=[SYM | {"service": "dc"}],
            )
        ),
    )
    (hardware.root / "no").mkdir()
    agent._wanted = hostdevices.Wanted(qat=True)
    held = (Held("a", "b", "qat.intel.com/cy", VFS[0]), Held("a", "c", "x", "\u0661"))
    for known in (held, (), None):
        found = agent._look(known)
        assert isinstance(found.complaints, tuple)
        msgspec.json.encode(qat_state.status(found, {}, 0.0))
        registry = CollectorRegistry()
        registry.register(Devices(lambda found=found: found, lambda *_: ""))  # type: ignore[misc]
        generate_latest(registry)
    shutil.rmtree(folder)
