"""Strategies: every state that a VMI, its pods and a VM could be found in, likely or not."""

from __future__ import annotations

from hypothesis import strategies as st

from virtpod.controllers import launcher_pod, vm, vmi
from virtpod.controllers.conditions import stamp
from virtpod.domain.facts import Cluster
from virtpod.kube.resources import Obj

NOW = 1_800_000_000.0
CLUSTER = Cluster(launcher_image="registry.example/virt-launcher:1")
PHASES = ("", "Pending", "Scheduling", "Scheduled", "Running", "Succeeded", "Failed")
REASONS = ("GuestNotRunning", "PodTerminating", "ErrImagePull", "Unschedulable", "x")
TIMES = st.integers(0, 600).map(lambda ago: stamp(NOW - ago))
SPEC: Obj = {
    "domain": {
        "devices": {},
        "machine": {"type": "q35"},
        "cpu": {"sockets": 1, "cores": 1, "threads": 1},
        "memory": {"guest": "64Mi"},
        "resources": {"requests": {"memory": "64Mi"}},
        "firmware": {"uuid": "5d307ca9-b3ef-428c-8861-06e72d69f223"},
    },
    "architecture": "amd64",
    "terminationGracePeriodSeconds": 30,
}

PLAIN: Obj = {"name": "data", "persistentVolumeClaim": {"claimName": "plain"}}
IMPORTED: Obj = {"name": "root", "dataVolume": {"name": "imported"}}
CLAIMS = st.sampled_from(["plain", "imported"])


def conditions_of(*types: str) -> st.SearchStrategy[list[Obj]]:
    def one(type: str) -> st.SearchStrategy[Obj]:
        return st.fixed_dictionaries(
            {"type": st.just(type), "status": st.sampled_from(["True", "False"])},
            optional={
                "reason": st.sampled_from(REASONS),
                "message": st.sampled_from(["", "because"]),
                "lastTransitionTime": TIMES,
            },
        )

    return st.lists(st.sampled_from(types), unique=True).flatmap(
        lambda chosen: st.tuples(*(one(type) for type in chosen)).map(list)
    )


@st.composite
def pods(draw: st.DrawFn, name: str = "virt-launcher-demo-1", owner: str = "vmi-1") -> Obj:
    state = draw(
        st.one_of(
            st.none(),
            st.sampled_from(launcher_pod.WAITING).map(
                lambda reason: {"waiting": {"reason": reason}}
            ),
            TIMES.map(lambda at: {"running": {"startedAt": at}}),
            TIMES.map(lambda at: {"terminated": {"exitCode": 1, "finishedAt": at}}),
        )
    )
    status: Obj = {"phase": draw(st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]))}
    if state is not None:
        status["containerStatuses"] = [{"name": "compute", "state": state}]
    status["conditions"] = draw(
        conditions_of("PodScheduled", "Ready", "kubevirt.io/virtual-machine-unpaused")
    )
    metadata: Obj = {
        "name": name,
        "namespace": "default",
        "uid": f"pod-{name}",
        "creationTimestamp": draw(TIMES),
        "ownerReferences": [
            {
                "apiVersion": "kubevirt.io/v1",
                "kind": "VirtualMachineInstance",
                "name": "demo",
                "uid": owner,
                "controller": True,
            }
        ],
    }
    if draw(st.booleans()):
        metadata["deletionTimestamp"] = draw(TIMES)
    spec: Obj = {"containers": [{"name": "compute", "image": "i"}]}
    if draw(st.booleans()):
        spec["nodeName"] = "node1"
    return {"metadata": metadata, "spec": spec, "status": status}


@st.composite
def vmis(draw: st.DrawFn) -> Obj:
    phase = draw(st.sampled_from(PHASES))
    metadata: Obj = {
        "name": "demo",
        "namespace": "default",
        "uid": "vmi-1",
        "resourceVersion": "7",
        "creationTimestamp": draw(TIMES),
    }
    if draw(st.booleans()):
        metadata["finalizers"] = draw(
            st.lists(st.sampled_from([vmi.FINALIZER, "somebody.example/else"]), unique=True)
        )
    if draw(st.booleans()):
        metadata["deletionTimestamp"] = draw(TIMES)
    if draw(st.booleans()):
        metadata["labels"] = {"app": "demo"}
    if draw(st.booleans()):
        metadata["ownerReferences"] = [
            {
                "apiVersion": "kubevirt.io/v1",
                "kind": "VirtualMachine",
                "name": "demo",
                "uid": draw(st.sampled_from(["vm-1", "vm-0"])),
                "controller": True,
            }
        ]
    volumes = draw(st.sampled_from([[], [PLAIN], [IMPORTED], [PLAIN, IMPORTED]]))
    obj: Obj = {"metadata": metadata, "spec": {**SPEC, "volumes": volumes} if volumes else SPEC}
    status: Obj = {"phase": phase} if phase else {}
    if draw(st.booleans()):
        status["conditions"] = draw(
            conditions_of("Ready", "Paused", "PodScheduled", "Synchronized", "LiveMigratable")
        )
    if draw(st.booleans()):
        status["phaseTransitionTimestamps"] = [
            {"phase": each, "phaseTransitionTimestamp": draw(TIMES)}
            for each in draw(st.sampled_from([["Pending"], ["Pending", "Running"]]))
        ]
    if status or draw(st.booleans()):
        obj["status"] = status
    return obj


@st.composite
def instances_seen(draw: st.DrawFn) -> vmi.Seen:
    count = draw(st.integers(0, 2))
    found = [draw(pods(f"virt-launcher-demo-{number}")) for number in range(count)]
    return vmi.Seen(
        draw(vmis()),
        found,
        CLUSTER,
        NOW,
        pod_gone=not found and draw(st.booleans()),
        refusal=draw(st.sampled_from(["", "", "exceeded quota"])),
        claims={name: {"claimName": name} for name in draw(st.sets(CLAIMS))},
        attached=dict.fromkeys(draw(st.sampled_from([[], [], ["plain"]])), "lost"),
        holders=dict.fromkeys(draw(st.sampled_from([[], [], ["plain"]])), "other"),
        ended_for=draw(st.sampled_from([0.0, 30.0, 2 * vmi.UNNOTICED])),
    )


@st.composite
def machines_seen(draw: st.DrawFn) -> vm.Seen:
    metadata: Obj = {
        "name": "demo",
        "namespace": "default",
        "uid": "vm-1",
        "resourceVersion": "9",
        "generation": draw(st.integers(1, 3)),
    }
    if draw(st.booleans()):
        metadata["finalizers"] = draw(
            st.lists(st.sampled_from([vm.FINALIZER, vm.ORPHAN]), unique=True)
        )
    if draw(st.integers(0, 3)) == 0:
        metadata["deletionTimestamp"] = draw(TIMES)
    spec: Obj = {"template": {"metadata": {"labels": {"app": "demo"}}, "spec": SPEC}}
    if draw(st.booleans()):
        spec["running"] = draw(st.booleans())
    else:
        spec["runStrategy"] = draw(
            st.sampled_from(["Always", "Halted", "Manual", "RerunOnFailure", "Once", "Later"])
        )
    start = st.fixed_dictionaries(
        {"action": st.just("Start")},
        optional={"data": st.sampled_from([{}, {"paused": "true"}])},
    )
    stop = st.fixed_dictionaries(
        {"action": st.just("Stop"), "uid": st.sampled_from(["vmi-1", "vmi-0"])}
    )
    failures = st.fixed_dictionaries(
        {
            "consecutiveFailCount": st.integers(1, 9),
            "lastFailedVMIUID": st.sampled_from(["vmi-1", "vmi-0"]),
            "retryAfterTimestamp": st.integers(-100, 100).map(lambda left: stamp(NOW + left)),
        }
    )
    status = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "stateChangeRequests": st.lists(st.one_of(start, stop), min_size=1, max_size=2),
                "startFailure": failures,
                "runStrategy": st.sampled_from(["Always", "RerunOnFailure", "Once"]),
                "conditions": conditions_of("Ready", "Paused", "Failure", "RestartRequired"),
                "created": st.booleans(),
                "printableStatus": st.sampled_from(["Running", "Stopped"]),
            },
        )
    )
    instance = draw(st.one_of(st.none(), vmis()))
    return vm.Seen(
        {"metadata": metadata, "spec": spec, "status": status},
        instance,
        NOW,
        vmi_gone=instance is None and draw(st.booleans()),
    )
