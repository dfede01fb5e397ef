"""A container that runs out of memory, and a node that is to be emptied: what becomes of guests,
and what is said about it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.invariants import Invariants, pids
from tests.e2e.support import (
    BOOT,
    Namespace,
    Object,
    Refused,
    condition,
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
MEMORY = {"qemu": ("128Mi", "160Mi"), "virt-launcher": ("2Gi", "2100Mi")}
"""By whom the kernel is to choose: the container's request and limit. It chooses who has most,
which is QEMU while its guest boots. Who is marked has a part of the limit on top, which counts
where that is large."""

FILL = """
import os, pathlib, time

groups = pathlib.Path("/sys/fs/cgroup")
old = groups / "memory"
limit, stat = "memory.max", "memory.stat"
if old.is_dir():
    groups, limit = old, "memory.limit_in_bytes"
used = dict(line.split() for line in (groups / stat).read_text().splitlines())
kept = int(used.get("anon") or used["rss"]) + int(used["shmem"])
held = os.memfd_create("held")
for _ in range((int((groups / limit).read_text()) - kept) // 2**20 - 48):
    os.write(held, bytes(2**20))
if os.fork():
    os._exit(0)
nothing = os.open(os.devnull, os.O_RDWR)
for stream in range(3):
    os.dup2(nothing, stream)
time.sleep(300)
"""
"""Leaves a container 48 MiB, and holds the rest in a file of memory, which counts for no process. A
guest that boots takes 140: it is QEMU that asks for what is not there. Were it another, then the
kernel would now and then choose twice, before it has what QEMU had."""


@pytest.fixture(scope="module")
def place(namespace: Namespace) -> Iterator[Namespace]:
    with Invariants(namespace, warnings=("Stopped", "EvictionRefused")):
        yield namespace


@pytest.mark.parametrize("victim", MEMORY)
def test_memory_runs_out_in_the_container(place: Namespace, victim: str) -> None:
    request, limit = MEMORY[victim]
    greedy = f"greedy-{victim}"
    machine = vm(greedy, "Once", **HERE, startStrategy="Paused")
    resources = {"requests": {"memory": request}, "limits": {"memory": limit}}
    machine["spec"]["template"]["spec"]["domain"]["resources"] = resources
    place.apply(machine)
    vmi = place.wait(
        "vmi", greedy, lambda seen: condition(seen, "Paused") == "True", "paused", BOOT
    )
    pod = place.launcher(vmi)["metadata"]
    if victim == "virt-launcher":
        [process] = [
            pid
            for pid in pids(NODE, "/usr/bin/virt-launcher")
            if pod["uid"] in on_node(NODE, f"cat /proc/{pid}/cgroup 2>/dev/null || true")
        ]
        on_node(NODE, f"echo 1000 >/proc/{process}/oom_score_adj")
    place.compute(pod["name"], "python3", "-c", FILL)
    with place.watch("vmi", greedy) as watch:
        place.virtctl("unpause", "vm", greedy)
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
