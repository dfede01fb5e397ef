"""Start, stop, restart, pause, and the guest that powers off by itself."""

from __future__ import annotations

import pytest

from tests.e2e.support import (
    Console,
    Namespace,
    Object,
    condition,
    conditions,
    eventually,
    on_node,
    phase,
    vm,
    vmi,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAME = "power"

REMAINS = """
uid={pod}
for process in /proc/[0-9]*; do
    grep -q "$uid" $process/cgroup 2>/dev/null && tr '\\0' ' ' <$process/cmdline && echo
done
find /var/lib/kubelet/pods -maxdepth 1 -name "$uid"
find /run/kubevirt* /var/run/kubevirt* /var/lib/kubevirt* -name '*{vmi}*' 2>/dev/null
find /run/netns /var/run/netns -inum {netns} 2>/dev/null
grep "$uid" /proc/mounts
true
"""


def remains(vmi: Object, pod: Object, netns: str) -> str:
    """What of a VMI is still on its node: processes, folders, mounts, the pod's network (and the
    tap in it)."""
    script = REMAINS.format(pod=pod["metadata"]["uid"], vmi=vmi["metadata"]["uid"], netns=netns)
    return on_node(vmi["status"]["nodeName"], script).strip()


def network_of(vmi: Object, pod: Object) -> str:
    """The inode of the pod's network namespace."""
    script = (
        f"for p in /proc/[0-9]*; do grep -q {pod['metadata']['uid']} $p/cgroup 2>/dev/null &&"
        " readlink $p/ns/net && break; done"
    )
    return on_node(vmi["status"]["nodeName"], script).strip().strip("net:[]")


def stopped(namespace: Namespace, name: str) -> Object:
    return namespace.wait(
        "vm", name, lambda vm: vm["status"].get("printableStatus") == "Stopped", "VM is Stopped"
    )


@pytest.fixture(scope="module")
def power(namespace: Namespace) -> Object:
    namespace.apply(vm(NAME))
    return namespace.running(NAME)


def test_pause_and_unpause(namespace: Namespace, power: Object) -> None:
    pod = namespace.launcher(power)["metadata"]["name"]
    with Console(namespace.name, NAME) as console:
        console.login()
        console.type("while true; do read -r up _ </proc/uptime; echo tick-$up; done\n")
        console.expect(r"tick-\d")

        namespace.virtctl("pause", "vm", NAME)
        paused = namespace.wait(
            "vmi", NAME, lambda vmi: condition(vmi, "Paused") == "True", "paused"
        )
        assert conditions(paused)["Paused"]["reason"] == "PausedByUser"
        assert phase(paused) == "Running"
        namespace.kubectl("wait", "--for=condition=Ready=False", f"pod/{pod}", "--timeout=60s")
        domain = f"{namespace.name}_{NAME}"
        assert namespace.compute(pod, "virsh", "domstate", domain).strip() == "paused"
        assert (
            namespace.wait(
                "vm", NAME, lambda vm: vm["status"]["printableStatus"] == "Paused", "VM Paused"
            )["status"]["ready"]
            is not True
        )

        namespace.virtctl("unpause", "vm", NAME)
        namespace.wait("vmi", NAME, lambda vmi: not condition(vmi, "Paused"), "not paused")
        namespace.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=60s")
        assert namespace.compute(pod, "virsh", "domstate", domain).strip() == "running"
        console.type("\x03")
        console.expect(r"[#$] ")
        assert console.run("hostname")


def test_pausing_twice_is_refused(namespace: Namespace, power: Object) -> None:
    namespace.virtctl("pause", "vmi", NAME)
    namespace.wait("vmi", NAME, lambda vmi: condition(vmi, "Paused") == "True", "paused")
    with pytest.raises(AssertionError, match="paused"):
        namespace.virtctl("pause", "vmi", NAME)
    namespace.virtctl("unpause", "vmi", NAME)
    namespace.running(NAME)


def test_restart_is_another_instance(namespace: Namespace, power: Object) -> None:
    before = namespace.get("vmi", NAME)
    namespace.virtctl("restart", NAME)
    after = namespace.running(NAME, other_than=before["metadata"]["uid"])
    assert after["metadata"]["ownerReferences"] == before["metadata"]["ownerReferences"]


def test_a_guest_that_powers_off_comes_back(namespace: Namespace, power: Object) -> None:
    before = namespace.get("vmi", NAME)
    with Console(namespace.name, NAME) as console:
        console.login()
        console.type("poweroff -f\n")
        console.closed()
    namespace.running(NAME, other_than=before["metadata"]["uid"])


def test_stop_leaves_nothing_and_start_runs_again(namespace: Namespace, power: Object) -> None:
    before = namespace.get("vmi", NAME)
    pod = namespace.launcher(before)
    netns = network_of(before, pod)
    assert remains(before, pod, netns), "the look at the node finds a guest that runs"
    with Console(namespace.name, NAME) as console:
        console.login()  # so that the guest can hear its power button

    namespace.virtctl("stop", NAME)
    namespace.gone("vmi", NAME)
    namespace.gone("pod", pod["metadata"]["name"])
    found = stopped(namespace, NAME)
    assert found["spec"]["runStrategy"] == "Halted"
    assert not found["status"].get("ready")
    assert not found["status"].get("created")
    left = "?"

    def nothing() -> bool:
        nonlocal left
        left = remains(before, pod, netns)
        return not left

    eventually(nothing, lambda: f"on the node there is still:\n{left}")

    namespace.virtctl("start", NAME)
    namespace.running(NAME, other_than=before["metadata"]["uid"])
    assert namespace.get("vm", NAME)["spec"]["runStrategy"] == "Always"
    namespace.delete("vm", NAME)
    namespace.gone("vmi", NAME)


def test_rerun_on_failure_leaves_a_guest_that_powered_off(namespace: Namespace) -> None:
    namespace.apply(vm("once", "RerunOnFailure"))
    namespace.running("once")
    with Console(namespace.name, "once") as console:
        console.login()
        console.type("poweroff -f\n")
        console.closed()
    namespace.wait("vmi", "once", lambda vmi: phase(vmi) == "Succeeded", "Succeeded")
    found = stopped(namespace, "once")
    assert found["spec"]["runStrategy"] == "RerunOnFailure"
    namespace.delete("vm", "once")


def test_a_deleted_instance_is_asked_to_power_off(namespace: Namespace) -> None:
    namespace.apply(vmi("asked"))
    namespace.running("asked")
    with Console(namespace.name, "asked") as console, namespace.watch("vmi", "asked") as watch:
        console.login()
        namespace.kubectl("delete", "vmi", "asked", "--wait=false")
        console.expect("power button, powering off")
        watch.until(lambda event, _: event == "DELETED", "deleted", 60)
        assert "Succeeded" in [phase(seen) for _, seen in watch.seen]
    assert not namespace.items("pod")
