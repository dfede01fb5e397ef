"""The stories: whole lives, told by what happens to them."""

from __future__ import annotations

from typing import Any

from tests.stories.world import World
from virtpod.kube.resources import VMIRS, VMIS, VMS, Obj

TEMPLATE: Obj = {
    "metadata": {"labels": {"app": "demo"}},
    "spec": {
        "domain": {"devices": {}, "memory": {"guest": "64Mi"}},
        "terminationGracePeriodSeconds": 30,
    },
}


def instance(name: str = "demo") -> Obj:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": name, "namespace": "default"},
        "spec": TEMPLATE["spec"],
    }


def machine(strategy: str, name: str = "demo") -> Obj:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"runStrategy": strategy, "template": TEMPLATE},
    }


def replicas(count: int) -> Obj:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstanceReplicaSet",
        "metadata": {"name": "many", "namespace": "default"},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": {"app": "demo"}},
            "template": TEMPLATE,
        },
    }


def up(world: World, name: str = "demo") -> None:
    world.compute_runs(name)
    world.guest_runs(name)


def asks(world: World, *requests: Any, saying: str) -> None:
    world.edit(VMS, "demo", {"status": {"stateChangeRequests": list(requests)}}, saying)


# Instances


def vmi_runs_and_is_deleted(world: World) -> None:
    world.apply(instance())
    up(world)
    world.delete(VMIS, "demo")
    world.guest_ends("demo", "Succeeded")


def vmi_powers_off(world: World) -> None:
    world.apply(instance())
    up(world)
    world.guest_ends("demo", "Succeeded")
    world.delete(VMIS, "demo")


def vmi_is_paused(world: World) -> None:
    world.apply(instance())
    up(world)
    told = world.get(VMIS, "demo")["status"]["conditions"]
    paused = {"type": "Paused", "status": "True", "reason": "PausedByUser"}
    world.edit(
        VMIS,
        "demo",
        {"status": {"conditions": [*told, paused]}},
        "virt-handler: the guest is paused",
    )
    status = world.pod()["status"]
    not_ready = {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady"}
    others = [each for each in status["conditions"] if each["type"] != "Ready"]
    world.kubelet("the pod is not ready", {"conditions": [*others, not_ready]})


def vmi_image_is_missing(world: World) -> None:
    world.apply(instance())
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        waiting = {"waiting": {"reason": reason, "message": "no such image"}}
        status = {
            "phase": "Pending",
            "containerStatuses": [{"name": "compute", "state": waiting}],
        }
        world.kubelet(f"compute waits: {reason}", status, node="node1")
    up(world)


def vmi_fits_nowhere(world: World) -> None:
    world.apply(instance())
    told = world.pod()["status"].get("conditions") or []
    unschedulable = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient memory.",
    }
    world.kubelet(
        "no node takes the pod", {"phase": "Pending", "conditions": [*told, unschedulable]}
    )
    world.delete(VMIS, "demo")


def vmi_meets_a_quota(world: World) -> None:
    world.quota = "exceeded quota: pods=0"
    world.apply(instance())
    world.time_passes(30)
    world.quota = ""
    world.time_passes(30)


def vmi_loses_its_pod(world: World) -> None:
    world.apply(instance())
    up(world)
    world.pod_is_gone()


def vmi_pod_dies_early(world: World) -> None:
    world.apply(instance())
    ended = {"terminated": {"exitCode": 1, "message": "no KVM here", "finishedAt": "x"}}
    world.kubelet(
        "compute has failed",
        {"phase": "Failed", "containerStatuses": [{"name": "compute", "state": ended}]},
        node="node1",
    )


def vmi_ends_unnoticed(world: World) -> None:
    """virt-handler is down while the launcher dies."""
    world.apply(instance())
    up(world)
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    ended["terminated"]["finishedAt"] = "2027-01-15T08:00:10Z"
    world.kubelet(
        "compute was killed",
        {"phase": "Failed", "containerStatuses": [{"name": "compute", "state": ended}]},
    )
    world.time_passes(90)


def vmi_side_car_outlives_it(world: World) -> None:
    world.apply(instance())
    up(world)
    over = {"terminated": {"exitCode": 0, "finishedAt": "2027-01-15T08:00:10Z"}}
    running = {"running": {"startedAt": "2027-01-15T08:00:00Z"}}
    world.edit(VMIS, "demo", {"status": {"phase": "Succeeded"}}, "virt-handler: the guest ended")
    states = [{"name": "compute", "state": over}, {"name": "volumedisk", "state": running}]
    world.kubelet("compute has exited, the disk's container has not", {"containerStatuses": states})
    world.pod_is_gone()


def vmi_deleted_before_it_ran(world: World) -> None:
    world.apply(instance())
    world.delete(VMIS, "demo")


# Machines


def vm_always(world: World) -> None:
    world.apply(machine("Always"))
    up(world)
    world.guest_ends("demo", "Succeeded")
    up(world)
    world.edit(VMS, "demo", {"spec": {"runStrategy": "Halted"}}, "user stops the VM")
    world.guest_ends("demo", "Succeeded")


def vm_restart(world: World) -> None:
    world.apply(machine("Always"))
    up(world)
    stop = {"action": "Stop", "uid": world.get(VMIS, "demo")["metadata"]["uid"]}
    asks(world, stop, {"action": "Start"}, saying="user restarts the VM")
    world.guest_ends("demo", "Succeeded")
    up(world)


def vm_manual(world: World) -> None:
    world.apply(machine("Manual"))
    asks(world, {"action": "Start"}, saying="user starts the VM")
    up(world)
    stop = {"action": "Stop", "uid": world.get(VMIS, "demo")["metadata"]["uid"]}
    asks(world, stop, saying="user stops the VM")
    world.guest_ends("demo", "Succeeded")


def vm_rerun_on_failure(world: World) -> None:
    world.apply(machine("RerunOnFailure"))
    up(world)
    world.guest_ends("demo", "Failed")
    up(world)
    world.guest_ends("demo", "Succeeded")


def vm_once(world: World) -> None:
    world.apply(machine("Once"))
    up(world)
    world.guest_ends("demo", "Failed")


def vm_started_paused(world: World) -> None:
    world.apply(machine("Halted"))
    asks(
        world,
        {"action": "Start", "data": {"paused": "true"}},
        saying="user starts the VM, paused",
    )
    assert world.get(VMIS, "demo")["spec"]["startStrategy"] == "Paused"


def vm_crash_loop(world: World) -> None:
    world.apply(machine("Always"))
    for _ in range(2):
        ended = {"terminated": {"exitCode": 1, "finishedAt": "2027-01-15T08:00:10Z"}}
        world.kubelet(
            "compute has failed",
            {"phase": "Failed", "containerStatuses": [{"name": "compute", "state": ended}]},
            node="node1",
        )
        world.time_passes(5)
        world.time_passes(60)
    up(world)


def vm_deleted(world: World) -> None:
    world.apply(machine("Always"))
    up(world)
    world.delete(VMS, "demo")
    world.guest_ends("demo", "Succeeded")


def vm_orphans(world: World) -> None:
    """`kubectl delete --cascade=orphan`; garbage collection is not played."""
    world.apply(machine("Always"))
    up(world)
    world.delete(VMIS, "demo", "user deletes the instance of the VM")
    world.guest_ends("demo", "Succeeded")


# Sets


def set_grows_and_shrinks(world: World) -> None:
    world.apply(replicas(2))
    first = world.pod()["metadata"]["ownerReferences"][0]["name"]
    up(world, first)
    world.edit(VMIRS, "many", {"spec": {"replicas": 1}}, "user wants one")


def set_replaces_a_finished_one(world: World) -> None:
    world.apply(replicas(1))
    first = world.pod()["metadata"]["ownerReferences"][0]["name"]
    up(world, first)
    world.guest_ends(first, "Failed")


def vm_changes_while_it_runs(world: World) -> None:
    """What was changed waits for the next start, and is said until then."""
    world.apply(machine("Always"))
    up(world)
    domain = {"domain": {"memory": {"guest": "128Mi"}}}
    world.edit(VMS, "demo", {"spec": {"template": {"spec": domain}}}, "user gives it more memory")
    uid = world.get(VMIS, "demo")["metadata"]["uid"]
    asks(world, {"action": "Stop", "uid": uid}, {"action": "Start"}, saying="user restarts it")
    world.guest_ends("demo", "Succeeded")
    up(world)


def vm_adopts_what_an_orphan_left(world: World) -> None:
    world.apply(instance())
    up(world)
    world.apply(machine("Always"))
    world.delete(VMS, "demo")
    world.guest_ends("demo", "Succeeded")


def vm_waits_for_a_guest(world: World) -> None:
    world.apply(machine("WaitAsReceiver"))
    world.delete(VMS, "demo")


def set_is_paused(world: World) -> None:
    """While it is, nothing of it is replaced."""
    world.apply(replicas(1))
    (name,) = [key.name for resource, key in world.objects if resource == VMIS]
    up(world, name)
    world.edit(VMIRS, "many", {"spec": {"paused": True}}, "user pauses the set")
    world.guest_ends(name, "Failed")
    world.edit(VMIRS, "many", {"spec": {"paused": False}}, "user lets it go on")


LIVES = {
    "vmi": (
        vmi_runs_and_is_deleted,
        vmi_powers_off,
        vmi_is_paused,
        vmi_image_is_missing,
        vmi_fits_nowhere,
        vmi_meets_a_quota,
        vmi_loses_its_pod,
        vmi_pod_dies_early,
        vmi_ends_unnoticed,
        vmi_side_car_outlives_it,
        vmi_deleted_before_it_ran,
    ),
    "vm": (
        vm_always,
        vm_restart,
        vm_manual,
        vm_rerun_on_failure,
        vm_once,
        vm_started_paused,
        vm_crash_loop,
        vm_deleted,
        vm_orphans,
        vm_adopts_what_an_orphan_left,
        vm_changes_while_it_runs,
        vm_waits_for_a_guest,
    ),
    "replicaset": (set_grows_and_shrinks, set_replaces_a_finished_one, set_is_paused),
}
