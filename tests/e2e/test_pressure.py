"""A container that runs out of memory, and a node that is to be emptied: what becomes of guests,
and what is said about it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.invariants import Invariants, pids
from tests.e2e.support import (
    Namespace,
    Object,
    Refused,
    eventually,
    kubectl,
    obstructed,
    on_node,
    phase,
    vm,
    why,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NODE = "node2"
HERE = {"nodeSelector": {"kubernetes.io/hostname": NODE}}
GUARDED, MOBILE = "guarded", "mobile"
MEMORY = {"qemu": ("128Mi", "160Mi", "24m"), "virt-launcher": ("2Gi", "2100Mi", "200m")}
"""By whom the kernel is to choose: the container's request and limit, and what each eater takes.
It chooses who has most, less than QEMU for the first. Who is marked for it has a part of the limit
on top, which counts where that is large."""

LARGEST = 96 * 2**20
"""Bytes; no eater comes near it."""


def eaters(size: str) -> str:
    """Slow enough for a launcher to end in order between two of them; none comes once QEMU has no
    memory any more: the kernel would choose once more, while the launcher sees to QEMU's end."""
    return f"""
    qemu=$(dirname $(grep -ls qemu-system /proc/[0-9]*/comm))
    i=0
    while [ $((i += 1)) -le 20 ] && grep -qs VmRSS $qemu/status; do
        {{ head -c {size} /dev/zero; sleep 60; }} | tail >/dev/null &
        sleep 0.3
    done
    wait
    """


@pytest.fixture(scope="module")
def place(namespace: Namespace) -> Iterator[Namespace]:
    with Invariants(namespace, warnings=("Stopped", "EvictionRefused")):
        yield namespace


@pytest.mark.parametrize("victim", MEMORY)
def test_memory_runs_out_in_the_container(place: Namespace, victim: str) -> None:
    request, limit, size = MEMORY[victim]
    greedy = f"greedy-{victim}"
    machine = vm(greedy, "Once", **HERE)
    resources = {"requests": {"memory": request}, "limits": {"memory": limit}}
    machine["spec"]["template"]["spec"]["domain"]["resources"] = resources
    place.apply(machine)
    vmi = place.running(greedy)
    pod = place.launcher(vmi)["metadata"]
    program = {"qemu": "/usr/bin/qemu-system", "virt-launcher": "/usr/bin/virt-launcher"}[victim]
    [process] = [
        pid
        for pid in pids(NODE, program)
        if pod["uid"] in on_node(NODE, f"cat /proc/{pid}/cgroup 2>/dev/null || true")
    ]
    if victim == "virt-launcher":
        on_node(NODE, f"echo 1000 >/proc/{process}/oom_score_adj")
    else:  # has most once its guest has booted
        eventually(lambda: resident(process) > LARGEST, lambda: f"{resident(process)} bytes")
    with place.watch("vmi", greedy) as watch:
        with pytest.raises(Refused):  # it ends with its container
            place.compute(pod["name"], "sh", "-c", eaters(size))
        uid = vmi["metadata"]["uid"]
        watch.until(
            lambda _, seen: seen["metadata"]["uid"] == uid and phase(seen) == "Failed", "Failed", 90
        )
    said = place.told(greedy, "Stopped")
    [stopped] = [message for reason, message in said if reason == "Stopped"]
    assert "OOMKilled" in stopped
    assert "limits.memory" in stopped
    whom = {"qemu": "QEMU was killed", "virt-launcher": "virt-launcher was ended by SIGKILL"}
    assert whom[victim] in stopped
    over = terminated(place.wait("pod", pod["name"], lambda seen: phase(seen) == "Failed", "over"))
    if victim == "qemu":
        assert over["exitCode"] == 1
        assert "OOMKilled" in over["message"]
    else:
        assert (over["exitCode"], over["reason"]) == (137, "OOMKilled")
    found = why(place, greedy)
    assert found["code"] == "OOMKilled", found
    place.wait("vmi", greedy, obstructed("OOMKilled"), "says so itself")
    place.delete("vm", greedy)


def resident(pid: int) -> int:
    """Bytes of memory that a process on the node has."""
    _, pages, *_ = on_node(NODE, f"cat /proc/{pid}/statm").split()
    return int(pages) * 4096


def terminated(pod: Object) -> Object:
    [found] = [each for each in pod["status"]["containerStatuses"] if each["name"] == "compute"]
    over: Object = found["state"]["terminated"]
    return over


@pytest.mark.shows("evictionStrategy")
def test_a_node_is_drained(place: Namespace) -> None:
    place.apply(vm(GUARDED, **HERE, evictionStrategy="LiveMigrate"), vm(MOBILE, **HERE))
    guarded, mobile = place.running(GUARDED), place.running(MOBILE)
    try:
        with pytest.raises(Refused) as refused:
            drain()
        said = str(refused.value)
        assert f'VMI "{place.name}/{GUARDED}" is configured with an eviction strategy' in said, said
        assert "not live-migratable" in said
        events = place.told(GUARDED, "EvictionRefused")
        told = [message for reason, message in events if reason == "EvictionRefused"]
        assert any("Shut it down" in each for each in told), told
        ended = place.running(GUARDED)
        assert ended["metadata"]["uid"] == guarded["metadata"]["uid"]
    finally:
        kubectl("uncordon", NODE)
    place.running(MOBILE, other_than=mobile["metadata"]["uid"])
    place.delete("vm", GUARDED)
    place.delete("vm", MOBILE)


def drain() -> str:
    """Of guests alone: there would be no virt-controller left on such a small cluster."""
    flags = ("--delete-emptydir-data", "--ignore-daemonsets", "--force", "--timeout=25s")
    return kubectl("drain", NODE, "--pod-selector=kubevirt.io=virt-launcher", *flags)
