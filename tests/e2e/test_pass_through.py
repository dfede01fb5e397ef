"""PCI functions given to a guest in earnest: the node is a virtual machine with an emulated IOMMU,
a network card with SR-IOV and an NVMe disk, and the guest runs in it (`make test-hostdev`).

The node's CPU is emulated with its own hardware virtualization, so that the guest runs under KVM
there: emulation within emulation would be fifty times slower. Each step says what was seen, and
when.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from images import catalogue
from images.layers import Store
from localcluster import cluster as embedded
from localcluster import node as nodes
from localcluster.progress import Failed, say, step, tail
from scripts import hostdev
from scripts.hostdev import guest, machine
from tests.e2e.support import (
    SYSTEM,
    Console,
    Namespace,
    Object,
    available,
    component_pods,
    condition,
    kubectl,
    kubevirt,
    phase,
)

NODE = hostdev.NODE.name
CARD, DISK = "example.com/card", "example.com/disk"
PREFIX = "virtpod.local"
ROUTER = "10.0.2.2"
"""Of QEMU's own network beyond the card."""
LEASE = re.compile(r"lease of (10\.0\.2\.[0-9]+) obtained")
FUNCTIONS = (
    'cd /sys/bus/pci/devices && for each in *; do echo "$each $(cut -c 3- $each/vendor):'
    '$(cut -c 3- $each/device) $(basename "$(readlink $each/driver)")"; done'
)
DRIVERS = "cat /sys/bus/pci/devices/*/modalias | xargs modprobe -abq || true"
"""What a larger guest's udev would do; not all devices have a driver."""
BLOCK = 4096
PAUSE = 2.0
BOOTED, STARTED, ANSWERED = 900.0, 1200.0, 300.0
"""Seconds; the node is some twenty times as slow as its host."""

pytestmark = [pytest.mark.e2e, pytest.mark.hostdev, pytest.mark.timeout(6000)]


class Outer:
    """The node, as its host sees it."""

    def __init__(self, parts: machine.Parts, process: subprocess.Popen[bytes], image: str) -> None:
        self.parts = parts
        self.image = image
        self._process = process
        self._told = 0

    def tell(self) -> None:
        """Says what is new on its console. Raises Failed where it has ended."""
        lines = self.parts.console.read_text(errors="replace").splitlines()
        for line in lines[self._told :]:
            if line.startswith(f"{NODE}: "):
                say(line)
        self._told = len(lines)
        if self._process.poll() is not None:
            raise Failed(f"{NODE} has ended", self.parts.console)


@pytest.fixture(scope="module")
def outer(cluster: None) -> Iterator[Outer]:
    with _alone():
        yield from _booted()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """No second virt-api and virt-controller: they would be put on the node that is slow, and take
    virt-handler's time there."""
    before = kubevirt()["spec"].get("infra")
    _patch({"infra": {"replicas": 1}})
    yield
    _patch({"infra": before})


def _booted() -> Iterator[Outer]:
    store = Store()
    built = guest.image(store)
    images = [
        (image, image.reference(PREFIX))
        for image in (catalogue.VIRTPOD.build(store), catalogue.LAUNCHER.build(store), built)
    ]
    with step(f"what {NODE} is started from"):
        parts = machine.make(images, store)
    with machine.running(parts) as process:
        made = Outer(parts, process, images[-1][1])
        try:
            _boot(made)
            yield made
        except BaseException:
            for log in (parts.console, *nodes.logs(hostdev.NODE)):
                say(tail(log, 60))
            raise
        finally:
            kubectl("delete", "node", NODE, "--ignore-not-found", "--wait=false")


def _boot(made: Outer) -> None:
    def started() -> bool:
        made.tell()
        return "starting containerd" in made.parts.console.read_text(errors="replace")

    with step(f"{NODE} boots, makes virtual functions and binds them to vfio-pci"):
        _until(started, lambda: tail(made.parts.console), BOOTED)
    with step(f"{NODE} joins the cluster"):
        embedded.join(hostdev.NODE, seconds=BOOTED)
    with step(f"virt-handler on {NODE}"):
        _until(_handled, lambda: kubectl("-n", SYSTEM, "get", "pods", "-o", "wide"), STARTED)


def _until(look: Callable[[], bool], what: Callable[[], str], seconds: float) -> None:
    """Looks seldom: what looks is on the CPUs that emulate the node."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what()}"
        time.sleep(PAUSE)


def _handled() -> bool:
    pods = [pod for pod in component_pods("virt-handler") if pod["spec"].get("nodeName") == NODE]
    return bool(pods) and all(condition(pod, "Ready") == "True" for pod in pods) and _schedulable()


def _schedulable() -> bool:
    labels = _node()["metadata"]["labels"]
    return bool(labels.get("kubevirt.io/schedulable") == "true")


def _node() -> Object:
    found: Object = json.loads(kubectl("get", "node", NODE, "-o", "json"))
    return found


def _counted() -> tuple[str, str]:
    there = _node()["status"]["allocatable"]
    return there.get(CARD, "0"), there.get(DISK, "0")


@pytest.fixture
def permitted() -> Iterator[None]:
    before = kubevirt()["spec"]["configuration"]
    developer = before.get("developerConfiguration") or {}
    gates, emulation = developer.get("featureGates"), developer.get("useEmulation")
    _configure(
        {
            "developerConfiguration": {
                "useEmulation": False,
                "featureGates": [*(gates or ()), "HostDevices"],
            },
            "permittedHostDevices": {
                "pciHostDevices": [
                    {"pciVendorSelector": hostdev.FUNCTION, "resourceName": CARD},
                    {"pciVendorSelector": hostdev.DISK, "resourceName": DISK},
                ]
            },
        }
    )
    yield
    _configure(
        {
            "developerConfiguration": {"useEmulation": emulation, "featureGates": gates},
            "permittedHostDevices": before.get("permittedHostDevices"),
        }
    )


def _configure(changes: Object) -> None:
    _patch({"configuration": changes})


def _patch(changes: Object) -> None:
    body = json.dumps({"spec": changes})
    kubectl("-n", SYSTEM, "patch", "kubevirt", "kubevirt", "--type", "merge", "-p", body)
    available()


GIVEN_CARD, GIVEN_DISK = (
    {"name": "card", "deviceName": CARD},
    {"name": "disk", "deviceName": DISK},
)


def _spec(image: str, *devices: Object) -> Object:
    """It has no network but the card that it is given."""
    return {
        "terminationGracePeriodSeconds": 0,
        "nodeSelector": {"kubernetes.io/hostname": NODE},
        "domain": {
            "memory": {"guest": "256Mi"},
            "devices": {
                "autoattachPodInterface": False,
                "autoattachGraphicsDevice": False,
                "autoattachMemBalloon": False,
                "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                "hostDevices": list(devices),
            },
        },
        "volumes": [{"name": "root", "containerDisk": {"image": image}}],
    }


def _vmi(image: str) -> Object:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "given"},
        "spec": _spec(image, GIVEN_CARD, GIVEN_DISK),
    }


def _vm(image: str) -> Object:
    """Without a device, and with ports that stay free."""
    ports = {"kubevirt.io/pci-topology-version": "v3"}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "lent"},
        "spec": {
            "runStrategy": "Always",
            "template": {"metadata": {"annotations": ports}, "spec": _spec(image)},
        },
    }


@pytest.mark.shows("domain.devices.hostDevices.name", "domain.devices.hostDevices.deviceName")
def test_a_guest_drives_functions_of_its_node(
    outer: Outer, permitted: None, namespace: Namespace
) -> None:
    with step("the device plugin offers two virtual functions and the disk"):
        _until(lambda: _counted() == ("2", "1"), lambda: f"{_counted()}", ANSWERED)
    namespace.apply(_vmi(outer.image))
    with step("the guest is started"):
        running = namespace.wait(
            "vmi", "given", lambda found: phase(found) in ("Running", "Failed"), "runs", STARTED
        )
    assert phase(running) == "Running", running["status"]
    pod = namespace.launcher(running)["metadata"]["name"]
    given = dict(
        line.split("=", 1) for line in namespace.compute(pod, "env").splitlines() if "=" in line
    )
    for name in ("PCI_RESOURCE_EXAMPLE_COM_CARD", "PCI_RESOURCE_EXAMPLE_COM_DISK"):
        say(f"the pod was given {name}={given[name]}")

    with step("its console is opened"):
        console = Console(namespace.name, "given")
    with console:
        with step("its login prompt comes"):
            console.login(seconds=STARTED)
        _card_works(console)
        _disk_works(console, outer)
    with step("the guest is deleted"):
        namespace.kubectl("delete", "vmi", "given", f"--timeout={ANSWERED:.0f}s", seconds=ANSWERED)


def test_devices_come_and_go_while_the_guest_runs(
    outer: Outer, permitted: None, namespace: Namespace
) -> None:
    _until(lambda: _counted() == ("2", "1"), lambda: f"{_counted()}", ANSWERED)
    namespace.apply(_vm(outer.image))
    with step("a guest without devices is started"):
        running = namespace.wait(
            "vmi", "lent", lambda found: phase(found) in ("Running", "Failed"), "runs", STARTED
        )
    assert phase(running) == "Running", running["status"]
    with Console(namespace.name, "lent") as console:
        with step("its login prompt comes"):
            console.login(seconds=STARTED)
        _give(namespace, GIVEN_CARD, GIVEN_DISK)
        with step("the guest is given a function and the disk"):
            _plugged(namespace, "True")
        assert sorted(_in_use(namespace)) == [CARD, DISK]
        console.run(DRIVERS, ANSWERED)
        _card_works(console)
        _disk_works(console, outer)
        _give(namespace, GIVEN_CARD)
        with step("the guest lets the disk go"):
            _until(lambda: _in_use(namespace) == [CARD], lambda: f"{_in_use(namespace)}", ANSWERED)
        functions = console.run(FUNCTIONS, ANSWERED)
        say("the guest's PCI bus:\n" + functions)
        assert hostdev.DISK not in functions
        assert hostdev.FUNCTION in functions

        holder = _holders(namespace)[0]["metadata"]["name"]
        namespace.kubectl("delete", "pod", holder, f"--timeout={ANSWERED:.0f}s", seconds=ANSWERED)
        with step("somebody deleted the card's pod: it was taken out, and comes again"):
            _until(
                lambda: [p["metadata"]["name"] for p in _holders(namespace)] == [holder],
                lambda: f"{_holders(namespace)}",
                ANSWERED,
            )
            _plugged(namespace, "True")
        assert hostdev.FUNCTION in console.run(FUNCTIONS, ANSWERED)
    assert not condition(namespace.get("vm", "lent"), "RestartRequired")
    with step("the VM is deleted, and the node has all of its devices again"):
        namespace.kubectl("delete", "vm", "lent", f"--timeout={ANSWERED:.0f}s", seconds=ANSWERED)
        _until(lambda: not _in_use(namespace), lambda: f"{_in_use(namespace)}", ANSWERED)


def _give(namespace: Namespace, *devices: Object) -> None:
    """What the VM's template is to have."""
    spec = {"domain": {"devices": {"hostDevices": list(devices)}}}
    namespace.patch("vm", "lent", {"spec": {"template": {"spec": spec}}})


def _plugged(namespace: Namespace, status: str) -> None:
    namespace.wait(
        "vmi",
        "lent",
        lambda found: condition(found, "HostDevicesPlugged") == status,
        f"HostDevicesPlugged {status}",
        ANSWERED,
    )


def _holders(namespace: Namespace) -> list[Object]:
    """The pods that devices are given to while the guest runs."""
    return namespace.items("pod", "kubevirt.io=hotplug-device")


def _in_use(namespace: Namespace) -> list[str]:
    """The resources that they have."""
    return [
        resource
        for pod in _holders(namespace)
        for resource in pod["spec"]["containers"][0]["resources"]["limits"]
        if resource in (CARD, DISK)
    ]


def _card_works(console: Console) -> None:
    """The guest finds it by its ids, drives it, and reaches what is beyond it."""
    functions = console.run(FUNCTIONS, ANSWERED)
    say("the guest's PCI bus:\n" + functions)
    assert re.search(rf"{hostdev.FUNCTION} igbvf", functions), functions
    assert re.search(rf"{hostdev.DISK} nvme", functions), functions
    macs = [hostdev.MAC.format(number) for number in range(hostdev.FUNCTIONS)]
    assert console.run("cat /sys/class/net/eth0/address", ANSWERED) in macs
    console.run("ip link set eth0 up", ANSWERED)
    leased = console.run("udhcpc -i eth0 -n -q -t 20 -T 10", ANSWERED)
    say("DHCP over the function:\n" + leased)
    found = LEASE.search(leased)
    assert found, leased
    console.run(f"ip address add {found[1]}/24 dev eth0", ANSWERED)  # no script does it
    answered = console.run(f"ping -c 3 -W 60 {ROUTER}", ANSWERED)
    say(answered)
    assert "3 packets received" in answered, answered
    interrupts = console.run("grep -E 'eth0|nvme' /proc/interrupts", ANSWERED)
    say("interrupts of the functions:\n" + interrupts)
    assert sum(int(line.split()[1]) for line in interrupts.splitlines()) > 0, interrupts


def _disk_works(console: Console, outer: Outer) -> None:
    """What the guest writes to its disk lies in the file behind the node's disk."""
    token = secrets.token_hex(8)
    disk = "/dev/nvme0n1"
    console.run(f"echo {token} | dd of={disk} bs={BLOCK} seek=1 conv=sync,fsync", ANSWERED)
    console.run("echo 3 >/proc/sys/vm/drop_caches", ANSWERED)
    read = console.run(f"dd if={disk} bs={BLOCK} skip=1 count=1 2>/dev/null | head -n 1", ANSWERED)
    assert read == token, read
    with outer.parts.given.open("rb") as file:
        file.seek(BLOCK)
        assert file.read(len(token)).decode() == token
    say(f"{token} was written by the guest and found in the file behind the disk")
