"""Each component ends while a guest runs: the guest does not notice, and all works again."""

from __future__ import annotations

import pytest

from tests.e2e.support import (
    SYSTEM,
    Console,
    Namespace,
    Object,
    component_pods,
    condition,
    eventually,
    kubectl,
    phase,
    vm,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAME = "steady"
FIND_LIBVIRT = """
for p in /proc/[0-9]*; do
    case $(cat $p/comm 2>/dev/null) in virtqemud|libvirtd) echo ${p#/proc/} ;; esac
done
"""


class Guest:
    """The guest, and what must not change while components come and go."""

    def __init__(self, namespace: Namespace, vmi: Object) -> None:
        self.namespace = namespace
        self.uid = vmi["metadata"]["uid"]
        self.node = vmi["status"]["nodeName"]
        self.transitions = vmi["status"]["phaseTransitionTimestamps"]
        self.pod = namespace.launcher(vmi)["metadata"]["name"]
        with Console(namespace.name, NAME) as console:
            self.boot = console.login().run("cat /proc/sys/kernel/random/boot_id")
            self.uptime = console.uptime()

    def goes_on(self) -> None:
        """The same guest in the same pod, at a later time, reached by a new console."""
        vmi = self.namespace.running(NAME)
        assert vmi["metadata"]["uid"] == self.uid
        assert vmi["status"]["phaseTransitionTimestamps"] == self.transitions
        pod = self.namespace.launcher(vmi)
        assert pod["metadata"]["name"] == self.pod
        assert all(each["restartCount"] == 0 for each in pod["status"]["containerStatuses"])
        with Console(self.namespace.name, NAME) as console:
            assert console.login().run("cat /proc/sys/kernel/random/boot_id") == self.boot
            later = console.uptime()
        assert later > self.uptime
        self.uptime = later

    def pauses(self) -> None:
        """A whole way there and back: virt-api, virt-handler, launcher, libvirt, and status."""
        self.namespace.virtctl("pause", "vmi", NAME)
        self.namespace.wait("vmi", NAME, lambda vmi: condition(vmi, "Paused") == "True", "paused")
        self.namespace.virtctl("unpause", "vmi", NAME)
        self.namespace.wait("vmi", NAME, lambda vmi: not condition(vmi, "Paused"), "unpaused")


@pytest.fixture(scope="module")
def guest(namespace: Namespace) -> Guest:
    namespace.apply(vm(NAME))
    return Guest(namespace, namespace.running(NAME))


@pytest.mark.parametrize("component", ["virt-api", "virt-controller", "virt-handler"])
def test_the_guest_goes_on_without_a_component(guest: Guest, component: str) -> None:
    with guest.namespace.watch("vmi", NAME) as watch:
        again(component)
        guest.goes_on()
        guest.pauses()
        assert watch.until(lambda _, vmi: condition(vmi, "Paused"), "seen paused", 60)
        assert {phase(vmi) for _, vmi in watch.seen} == {"Running"}


def test_the_guest_goes_on_without_virt_operator(guest: Guest) -> None:
    again("virt-operator")
    guest.goes_on()


def test_the_guest_goes_on_without_libvirt(guest: Guest) -> None:
    pod, namespace = guest.pod, guest.namespace

    def libvirt() -> str:
        return namespace.compute(pod, "sh", "-c", FIND_LIBVIRT).strip()

    before = libvirt()
    assert before.isdigit(), before
    namespace.compute(pod, "sh", "-c", f"kill -9 {before}")
    eventually(lambda: libvirt() not in ("", before), "libvirt was started again")
    guest.goes_on()
    eventually(lambda: NAME in virsh_list(namespace, pod), "libvirt knows the guest again")
    guest.pauses()
    guest.goes_on()


def test_a_guest_starts_while_no_leader_is_there(guest: Guest) -> None:
    """What is asked while virt-controller and virt-handler restart is done when they are back."""
    namespace = guest.namespace
    pods = [pod for each in ("virt-controller", "virt-handler") for pod in component_pods(each)]
    names = [pod["metadata"]["name"] for pod in pods]
    kubectl("-n", SYSTEM, "delete", "pod", *names, "--wait=false")
    namespace.apply(vm("meanwhile"))
    namespace.running("meanwhile")
    with Console(namespace.name, "meanwhile") as console:
        assert console.login().run("hostname") == "meanwhile"
    namespace.delete("vm", "meanwhile")
    guest.goes_on()


def again(component: str) -> None:
    """All pods of a component are deleted; returns when as many new ones are ready."""
    before = {pod["metadata"]["name"] for pod in component_pods(component)}
    assert before
    kubectl("-n", SYSTEM, "delete", "pod", *before, "--timeout=90s")

    def back() -> bool:
        ready = {
            pod["metadata"]["name"]
            for pod in component_pods(component)
            if condition(pod, "Ready") == "True"
        }
        return len(ready - before) >= len(before)

    eventually(back, f"{component} is back", 90)


def virsh_list(namespace: Namespace, pod: str) -> str:
    return namespace.compute(pod, "sh", "-c", "virsh list 2>/dev/null || true")
