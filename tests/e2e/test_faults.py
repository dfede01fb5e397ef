"""Faults, one after the other, on two nodes with real guests: where each ends, and how soon."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from localcluster import layout
from tests.e2e.invariants import Invariants, kill, pids, within
from tests.e2e.support import (
    SYSTEM,
    Console,
    Namespace,
    Object,
    component_pods,
    eventually,
    kubectl,
    on_node,
    phase,
    ready,
    vm,
    vmi,
    why,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

STEADY, FRAIL = "steady", "frail"
NODE = {"kubernetes.io/hostname": "node1"}
MOMENTS = (0.0, 0.3, 0.6, 0.9, 1.3)
"""Seconds after its creation: before the pod, on its way, while the guest starts, as it runs."""
WARNINGS = ("Stopped", "SyncFailed")


@pytest.fixture(scope="module")
def place(namespace: Namespace) -> Iterator[Namespace]:
    with Invariants(namespace, warnings=WARNINGS):
        yield namespace


class Steady:
    """A guest that must not notice anything."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        namespace.apply(vm(STEADY, nodeSelector=NODE))
        self.vmi = namespace.running(STEADY)
        with Console(namespace.name, STEADY) as console:
            self.boot = console.login().run("cat /proc/sys/kernel/random/boot_id")

    def goes_on(self) -> None:
        now = self.namespace.running(STEADY)
        assert now["metadata"]["uid"] == self.vmi["metadata"]["uid"]
        for name in ("phaseTransitionTimestamps", "activePods"):
            assert now["status"][name] == self.vmi["status"][name]
        with Console(self.namespace.name, STEADY) as console:
            assert console.login().run("cat /proc/sys/kernel/random/boot_id") == self.boot
        # The last thing in its way may be its node, which needs a moment to be heard again.
        eventually(lambda: why(self.namespace, STEADY)["code"] == "Running", "it is well", 60)


@pytest.fixture(scope="module")
def steady(place: Namespace) -> Steady:
    return Steady(place)


@pytest.fixture(scope="module")
def frail(place: Namespace) -> str:
    """A VM that is to run always, and whose instances die one after the other."""
    place.apply(vm(FRAIL, nodeSelector={"kubernetes.io/hostname": "node2"}))
    place.running(FRAIL)
    return FRAIL


def qemu(vmi: Object) -> str:
    return f"guest={vmi['metadata']['namespace']}_{vmi['metadata']['name']},"


def launcher(vmi: Object) -> str:
    return f"virt-launcher --namespace {vmi['metadata']['namespace']}"


def dies(vmi: Object, pod: Object, how: str) -> None:
    node, name = vmi["status"]["nodeName"], pod["metadata"]["name"]
    match how:
        case "QEMU is killed":
            kill(node, qemu(vmi))
        case "virt-launcher is killed":
            (number,) = [
                pid for pid in pids(node, "/usr/bin/virt-launcher") if in_pod(node, pid, pod)
            ]
            on_node(node, f"kill -9 {number}")
        case "its pod is deleted":
            kubectl("-n", vmi["metadata"]["namespace"], "delete", "pod", name, "--wait=false")
        case "its pod is deleted by force":
            force = ("--grace-period=0", "--force", "--wait=false")
            kubectl("-n", vmi["metadata"]["namespace"], "delete", "pod", name, *force)
        case "the guest powers off":
            with Console(vmi["metadata"]["namespace"], FRAIL) as console:
                console.login().type("poweroff -f\n")
                console.closed()


def in_pod(node: str, pid: int, pod: Object) -> bool:
    return pod["metadata"]["uid"] in on_node(node, f"cat /proc/{pid}/cgroup 2>/dev/null || true")


@pytest.mark.parametrize(
    ("how", "end", "soon"),
    [
        ("QEMU is killed", "Failed", 20),
        ("virt-launcher is killed", "Failed", 20),
        ("its pod is deleted", "Succeeded", 40),
        ("its pod is deleted by force", "Failed", 40),  # by virt-handler, with the kubelet done
        ("the guest powers off", "Succeeded", 20),
    ],
)
def test_an_instance_dies_and_another_follows(
    place: Namespace, frail: str, how: str, end: str, soon: float
) -> None:
    before = place.running(frail)
    pod = place.launcher(before)
    uid = before["metadata"]["uid"]
    with place.watch("vmi", frail) as watch:
        began = time.monotonic()
        dies(before, pod, how)
        watch.until(
            lambda _, seen: seen["metadata"]["uid"] == uid and phase(seen) == end,
            f"{end} after {how}",
            soon + 20,
        )
        within(soon + 10, began)
    place.running(frail, other_than=uid)
    said = [message for reason, message in place.told(frail, "Stopped") if reason == "Stopped"]
    found = why(place, frail)
    assert found["code"] == "Running"
    if end == "Failed":
        before_it = [each for each in found["evidence"] if "an instance before this one" in each]
        assert any(text[:40] in each for text in said for each in before_it), found


def test_libvirt_is_killed_and_comes_back(place: Namespace, steady: Steady) -> None:
    pod = place.launcher(steady.vmi)
    mine = [pid for pid in pids("node1", "libvirtd -f") if in_pod("node1", pid, pod)]
    assert len(mine) == 1
    on_node("node1", f"kill -9 {mine[0]}")

    def again() -> bool:
        now = [pid for pid in pids("node1", "libvirtd -f") if in_pod("node1", pid, pod)]
        return bool(now) and now != mine

    eventually(again, "libvirtd runs again")
    steady.goes_on()


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_instance_is_deleted_while_it_starts(place: Namespace, moment: float) -> None:
    """Twice at once, as impatient people do."""
    place.apply(vmi("early", terminationGracePeriodSeconds=2))
    time.sleep(moment)
    began = time.monotonic()
    for _ in range(2):
        place.kubectl("delete", "vmi", "early", "--wait=false", "--ignore-not-found")
    place.gone("vmi", "early", 60)
    within(30, began)


def test_a_name_is_taken_again_at_once(place: Namespace) -> None:
    place.apply(vmi("again", terminationGracePeriodSeconds=0))
    first = place.running("again")
    place.kubectl("delete", "vmi", "again")
    place.apply(vmi("again", terminationGracePeriodSeconds=0))
    second = place.running("again", other_than=first["metadata"]["uid"])
    assert list(second["status"]["activePods"]) != list(first["status"]["activePods"])
    place.delete("vmi", "again")


@pytest.mark.parametrize("moment", MOMENTS[1:4])
def test_virt_handler_goes_while_a_guest_starts(
    place: Namespace, steady: Steady, moment: float
) -> None:
    """Its pod is deleted by force, so that the kubelet's back-off does not hold the next one."""
    (pod,) = [each for each in component_pods("virt-handler") if node_of(each) == "node1"]
    place.apply(vmi("begun", nodeSelector=NODE, terminationGracePeriodSeconds=0))
    time.sleep(moment)
    force = ("--grace-period=0", "--force", "--wait=false")
    kubectl("-n", SYSTEM, "delete", "pod", pod["metadata"]["name"], *force)
    place.running("begun", seconds=90)
    place.delete("vmi", "begun")
    steady.goes_on()


def node_of(pod: Object) -> str:
    return str(pod["spec"].get("nodeName"))


def test_virt_controller_goes_while_guests_start(place: Namespace) -> None:
    """The pod may be made and its VMI not know of it: the next leader takes it up."""
    names = [f"led{index}" for index in range(3)]
    place.apply(*(vmi(name, terminationGracePeriodSeconds=0) for name in names))
    for node in ("node1", "node2"):
        if pids(node, "/usr/bin/virt-controller"):
            kill(node, "/usr/bin/virt-controller")
    for name in names:
        place.running(name, seconds=90)
        place.launcher(place.get("vmi", name))  # one, whoever made it
    place.delete("vmi", *names)


def test_a_leader_that_slept_does_no_harm(place: Namespace, steady: Steady) -> None:
    """Stopped for longer than its lease, then let go on: another leads, and one pod is made."""
    lease = ("get", "lease", "virt-controller", "-o", "jsonpath={.spec.holderIdentity}")
    holder = kubectl("-n", SYSTEM, *lease).strip()
    [pod] = [p for p in component_pods("virt-controller") if p["metadata"]["name"] == holder]
    node = node_of(pod)
    found = [pid for pid in controllers(node) if in_pod(node, pid, pod)]
    assert found, f"no process of {holder}"
    on_node(node, f"kill -STOP {' '.join(map(str, found))}")
    try:
        time.sleep(20)
        place.apply(vmi("calm", terminationGracePeriodSeconds=0))
        place.running("calm", seconds=60)
    finally:
        on_node(node, f"kill -CONT {' '.join(map(str, found))}")
    time.sleep(3)
    calm = place.running("calm")
    assert place.launcher(calm)
    place.delete("vmi", "calm")
    steady.goes_on()


def controllers(node: str) -> list[int]:
    return pids(node, "/usr/bin/virt-controller")


@pytest.mark.parametrize("service", ["containerd", "kubelet"])
def test_a_node_s_service_goes(place: Namespace, steady: Steady, service: str) -> None:
    kill("node1", {"containerd": "bin/containerd --config", "kubelet": "kubelet --"}[service])
    time.sleep(2)
    eventually(lambda: ready("node1"), f"node1 is Ready after {service}", 90)
    steady.goes_on()
    place.apply(vmi("after", nodeSelector=NODE, terminationGracePeriodSeconds=0))
    place.running("after")
    place.delete("vmi", "after")


def test_the_api_server_is_away(place: Namespace, steady: Steady) -> None:
    """During a start and during a stop; guests go on, and what was asked is done afterwards."""
    place.apply(vmi("going", nodeSelector=NODE, terminationGracePeriodSeconds=1))
    place.running("going")
    place.kubectl("delete", "vmi", "going", "--wait=false")
    place.apply(vmi("coming", nodeSelector=NODE, terminationGracePeriodSeconds=1))
    apiserver("STOP")
    try:
        time.sleep(45)
    finally:
        apiserver("CONT")
    place.gone("vmi", "going", 60)
    place.running("coming", seconds=60)
    place.delete("vmi", "coming")
    steady.goes_on()


def apiserver(signal: str) -> None:
    kill(layout.CONTROL_PLANE, "kube-apiserver", signal)


@pytest.mark.shows("terminationGracePeriodSeconds")
def test_a_guest_that_heeds_nothing_is_ended_in_time(place: Namespace) -> None:
    grace = 4
    place.apply(vmi("deaf", terminationGracePeriodSeconds=grace))
    place.running("deaf")
    with Console(place.name, "deaf") as console:
        console.login().run("rm -r /etc/acpi; killall acpid")
    with place.watch("vmi", "deaf") as watch:
        began = time.monotonic()
        place.kubectl("delete", "vmi", "deaf", "--wait=false")
        watch.until(lambda _, seen: phase(seen) == "Failed", "ended", 60)
        took = time.monotonic() - began
    assert grace - 0.5 <= took < 30, took  # 30: of who asks for none
    place.gone("vmi", "deaf")


def test_a_pod_with_forged_labels_is_nobody_s(place: Namespace, steady: Steady) -> None:
    """CVE-2025-64435: a pod that says it is a VMI's launcher, and is not its by owner."""
    real = place.launcher(steady.vmi)
    forged: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "forged", "labels": real["metadata"]["labels"]},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "compute", "image": "registry.invalid/none:1"}],
        },
    }
    place.apply(forged)
    time.sleep(3)
    place.kubectl("delete", "pod", "forged", "--wait=false")
    steady.goes_on()


def test_a_vm_is_started_and_stopped_and_started(place: Namespace) -> None:
    """Stop during a start, several times over, and no instance is left behind."""
    place.apply(vm("hasty", "Halted", terminationGracePeriodSeconds=0))
    for moment in (0.2, 0.8, 1.2):
        place.virtctl("start", "hasty")
        eventually(lambda: place.items("vmi", "vm=hasty"), "there is an instance")
        time.sleep(moment)
        place.virtctl("stop", "hasty")
        place.gone("vmi", "hasty", 60)
    place.virtctl("start", "hasty")
    place.running("hasty")
    place.delete("vm", "hasty")
    eventually(lambda: not place.items("vmi", "vm=hasty"), "no instance is left", 60)
