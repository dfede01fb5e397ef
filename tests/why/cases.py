"""Broken VMs as they are found in a cluster, one for each rule: what is seen, as small as it may
be."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from virtpod.controllers.why import Node, Observed
from virtpod.kube.resources import Obj

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
AGO_5_S = "2027-01-15T07:59:55Z"
AGO_10_MIN = "2027-01-15T07:50:00Z"
IMAGE = "registry.example/guest:1"
SELECTOR = {
    "kubevirt.io/schedulable": "true",
    "kubernetes.io/arch": "amd64",
    "machine-type.node.kubevirt.io/q35": "true",
}
LABELS = {**SELECTOR, "kubernetes.io/hostname": "node1"}
READY = {"type": "Ready", "status": "True"}


def metadata(uid: str, created: str = AGO_5_S, **more: Any) -> Obj:
    name = "virt-launcher-demo-1" if uid.startswith("pod") else "demo"
    return {"name": name, "namespace": "team", "uid": uid, "creationTimestamp": created, **more}


def vm(strategy: str = "Always", status: Obj | None = None, **more: Any) -> Obj:
    return {
        "metadata": metadata("vm-1", **more),
        "spec": {"runStrategy": strategy, "template": {"spec": {}}},
        "status": status or {},
    }


def vmi(
    phase: str = "Scheduling",
    *conditions: Obj,
    spec: Obj | None = None,
    ran: Iterable[tuple[str, str]] = (),
    node: str = "",
    **more: Any,
) -> Obj:
    status: Obj = {"phase": phase, "conditions": list(conditions)}
    status["phaseTransitionTimestamps"] = [
        {"phase": each, "phaseTransitionTimestamp": at} for each, at in ran
    ]
    if node:
        status["nodeName"] = node
    return {"metadata": metadata("vmi-1", **more), "spec": spec or {}, "status": status}


def told(kind: str, status: str, reason: str = "", message: str = "") -> Obj:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def pod(
    node: str = "",
    compute: Obj | None = None,
    *,
    says: str = "",
    memory: str = "600Mi",
    init: Mapping[str, Obj] | None = None,
    spec: Obj | None = None,
    status: Obj | None = None,
    **more: Any,
) -> Obj:
    conditions = [told("PodScheduled", "False", "Unschedulable", says)] if says else []
    resources = {"requests": {"memory": memory, "cpu": "100m", "devices.kubevirt.io/kvm": "1"}}
    return {
        "metadata": metadata("pod-1", **more),
        "spec": {
            "nodeName": node,
            "nodeSelector": SELECTOR,
            "containers": [{"name": "compute", "resources": resources}],
            **(spec or {}),
        },
        "status": {
            "phase": "Pending",
            "conditions": conditions,
            "containerStatuses": [{"name": "compute", "state": compute}] if compute else [],
            "initContainerStatuses": [
                {"name": name, "image": IMAGE, "state": state}
                for name, state in (init or {}).items()
            ],
            **(status or {}),
        },
    }


def selecting(**labels: str) -> Obj:
    return {
        "nodeSelector": {**SELECTOR, **{name.replace("__", "/"): labels[name] for name in labels}}
    }


def event(
    reason: str, message: str, kind: str = "Pod", uid: str = "pod-1", type: str = "Warning"
) -> Obj:
    names = {"Pod": "virt-launcher-demo-1", "PersistentVolumeClaim": "data"}
    return {
        "involvedObject": {"kind": kind, "name": names.get(kind, "demo"), "uid": uid},
        "type": type,
        "reason": reason,
        "message": message,
        "lastTimestamp": AGO_5_S,
    }


def of_vmi(reason: str, message: str) -> Obj:
    return event(reason, message, "VirtualMachineInstance", "vmi-1")


NODE = Node(
    "node1",
    LABELS,
    {"kubevirt.io/heartbeat": AGO_5_S},
    {"memory": "8Gi", "cpu": "4", "devices.kubevirt.io/kvm": "1k", "example.com/gpu": "1"},
    ready=True,
    used={"memory": 7.5 * 2**30},
)


def node(name: str = "node1", *without: str, **changed: Any) -> Node:
    labels = {key: value for key, value in LABELS.items() if key not in without}
    fields = {**NODE.__dict__, "name": name, "labels": labels, **changed}
    return Node(**copy.deepcopy(fields))


def placed(says: str, *nodes: Node, **more: Any) -> Observed:
    """A pod that the scheduler does not place."""
    found = pod(says=says, **more)
    return Observed(NOW, vm(), vmi(), [found], nodes=list(nodes) or [NODE])


def claimed(claim: Obj | None, *events: Obj, says: str = "", classes: Any = ()) -> Observed:
    spec = {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}
    return Observed(
        NOW,
        vm(),
        vmi(spec=spec),
        [pod(says=says)],
        events,
        pvcs={"data": claim},
        storage_classes=classes,
    )


def claim(phase: str = "Pending", **spec: str) -> Obj:
    return {"metadata": {"name": "data"}, "spec": spec, "status": {"phase": phase}}


def storage_class(name: str, mode: str = "Immediate", default: str = "false") -> Obj:
    annotations = {"storageclass.kubernetes.io/is-default-class": default}
    return {"metadata": {"name": name, "annotations": annotations}, "volumeBindingMode": mode}


def on_node(*events: Obj, asked: str = "", **more: Any) -> Observed:
    """A pod that has a node and does not come up; `asked`: addresses that are asked for."""
    found = vmi()
    if asked:
        found["metadata"]["annotations"] = {"virtpod.io/addresses": asked}
    return Observed(NOW, vm(), found, [pod("node1", **more)], events, nodes=[NODE])


def scheduled(reason: str, message: str, *events: Obj) -> Observed:
    """virt-handler does not get the guest started."""
    broken = told("Synchronized", "False", reason, message)
    found = vmi("Scheduled", broken, node="node1")
    return Observed(NOW, vm(), found, [pod("node1")], events, nodes=[NODE])


RAN = [("Running", "2027-01-15T07:59:40Z"), ("Failed", "2027-01-15T07:59:52Z")]
STARTED = [("Running", AGO_10_MIN)]


def over(
    phase: str, *events: Obj, pods: Iterable[Obj] = (), ran: Any = RAN, strategy: str = "Manual"
) -> Observed:
    found = vmi(phase, ran=ran, node="node1")
    return Observed(NOW, vm(strategy), found, list(pods), events)


def terminated(**more: Any) -> Obj:
    return {"terminated": {"exitCode": 1, **more}}


def running(*conditions: Obj, spec: Obj | None = None, pods: Iterable[Obj] = ()) -> Observed:
    found = vmi("Running", *conditions, spec=spec, ran=STARTED, node="node1")
    return Observed(NOW, vm(), found, list(pods), nodes=[NODE])


STAYS = (
    told(
        "LiveMigratable",
        "False",
        "NotMigratable",
        "HostDeviceNotLiveMigratable: devices of its node stay there: gpu",
    ),
    told(
        "HostDeviceTargets",
        "False",
        "NoNodeForHostDevices",
        "crypto: no other node offers 8086:4941 for sym;asym: node2 has it by a driver "
        "that does not save its state (use qat_vfio_pci)",
    ),
)


def evicting(strategy: str) -> Obj:
    """The cluster's strategy."""
    return {
        "spec": {"configuration": {"evictionStrategy": strategy}},
        "status": {"phase": "Deployed"},
    }


def asked_to_leave(*conditions: Obj) -> Observed:
    found = vmi("Running", *conditions, ran=STARTED, node="node1")
    found["status"]["evacuationNodeName"] = "node1"
    return Observed(NOW, vm(), found, nodes=[NODE])


def plugged(reason: str, message: str) -> Obj:
    """A device that does not come, or go, as it shall."""
    return told("HostDevicesPlugged", "False", reason, message)


AWAITED = "crypto2 waits for pod hp-device-1f2e3d4c"
ALL_TAKEN = (
    "0/2 nodes are available: 1 Insufficient qat.intel.com/cy, 1 node(s) didn't match Pod's node "
    "affinity/selector. preemption: 0/2 nodes are available: 2 Preemption is not helpful."
)
NO_PORT = (
    "device crypto2 finds no free port on the guest's PCI bus (internal error: No more available "
    "PCI slots): restart the VM with the device"
)


def waiting(reason: str, message: str) -> Obj:
    return {"waiting": {"reason": reason, "message": message}}


ALL_TOO_SMALL = (
    "0/2 nodes are available: 2 Insufficient {}. preemption: 0/2 nodes are available: 2 No "
    "preemption victims found for incoming pod."
)
UNMATCHED = (
    "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: "
    "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
)
FAILURE = {
    "consecutiveFailCount": 3,
    "retryAfterTimestamp": "2027-01-15T08:01:30Z",
    "lastFailedVMIUID": "vmi-1",
}
STOPPED_BY_API = [
    {"manager": "kubectl-create", "time": AGO_10_MIN, "fieldsV1": {"f:spec": {"f:template": {}}}},
    {"manager": "virt-api", "time": AGO_5_S, "fieldsV1": {"f:spec": {"f:runStrategy": {}}}},
]

CASES: dict[str, tuple[str, Observed]] = {
    "nothing is there": ("NotFound", Observed(NOW)),
    "another's instance has its name": (
        "NameTaken",
        Observed(
            NOW,
            vm(),
            vmi(
                "Running",
                ownerReferences=[
                    {
                        "kind": "VirtualMachineInstanceReplicaSet",
                        "name": "web",
                        "uid": "set-1",
                        "controller": True,
                    }
                ],
            ),
        ),
    ),
    "a finalizer holds it": (
        "DeletionStuck",
        Observed(
            NOW,
            vm(),
            vmi("Running", deletionTimestamp=AGO_10_MIN, finalizers=["example.com/backup"]),
        ),
    ),
    "it is restarted": ("Deleting", Observed(NOW, vm(), vmi("Running", deletionTimestamp=AGO_5_S))),
    "it panics at each start": (
        "CrashLoopBackOff",
        Observed(
            NOW,
            vm(status={"startFailure": FAILURE}),
            events=[
                of_vmi(
                    "GuestPanicked", "The guest's kernel panicked. The guest's console tells more."
                )
            ],
        ),
    ),
    "its launcher fails at each start": (
        "CrashLoopBackOff",
        Observed(
            NOW,
            vm(status={"startFailure": FAILURE}),
            vmi("Failed"),
            [pod("node1", terminated(message="starting\nno such file: /image"))],
        ),
    ),
    "a quota": (
        "QuotaExceeded",
        Observed(
            NOW,
            vm(),
            vmi("Pending"),
            refusal='pods "virt-launcher-demo-1" is forbidden: exceeded quota: small, requested: '
            "requests.memory=600Mi, used: requests.memory=0, limited: requests.memory=100Mi",
        ),
    ),
    "a quota, told by the VM": (
        "QuotaExceeded",
        Observed(
            NOW,
            vm(
                status={
                    "conditions": [
                        told(
                            "Failure",
                            "True",
                            "FailedCreate",
                            "Error starting the virtual machine instance: exceeded quota: vmis, "
                            "requested: count/virtualmachineinstances.kubevirt.io=1",
                        )
                    ]
                }
            ),
        ),
    ),
    "no such instance type": (
        "InstancetypeNotFound",
        Observed(
            NOW,
            vm(
                status={
                    "conditions": [
                        told(
                            "Failure",
                            "True",
                            "FailedFindInstancetype",
                            "VirtualMachineInstancetype team/small not found",
                        )
                    ]
                }
            ),
        ),
    ),
    "pod security": (
        "PodSecurityRefused",
        Observed(
            NOW,
            vm(),
            vmi(
                "Pending",
                told(
                    "Synchronized",
                    "False",
                    "FailedCreate",
                    'violates PodSecurity "restricted:latest": unrestricted capabilities',
                ),
            ),
        ),
    ),
    "another policy": (
        "Refused",
        Observed(NOW, vm(), vmi("Pending"), refusal="minimum cpu usage per Container is 2"),
    ),
    "its node is away": (
        "NodeNotReady",
        Observed(NOW, vm(), vmi("Running", ran=STARTED, node="node1"), nodes=[node(ready=False)]),
    ),
    "virt-handler is away": (
        "HandlerSilent",
        Observed(
            NOW,
            vm(),
            vmi("Scheduled", node="node1"),
            [pod("node1")],
            nodes=[node("node1", "kubevirt.io/schedulable")],
        ),
    ),
    "no claim": ("PvcNotFound", claimed(None)),
    "the claim lost its volume": ("PvcLost", claimed(claim("Lost", volumeName="v1"))),
    "no such class": (
        "StorageClassNotFound",
        claimed(claim(storageClassName="fast"), classes=[storage_class("slow")]),
    ),
    "no default class": (
        "StorageClassNotFound",
        claimed(claim(), classes=[storage_class("slow")]),
    ),
    "the provisioner fails": (
        "PvcNotBound",
        claimed(
            claim(storageClassName="slow"),
            event("ProvisioningFailed", "no space in the pool", "PersistentVolumeClaim", "pvc-1"),
            classes=[storage_class("slow", "WaitForFirstConsumer")],
        ),
    ),
    "an unbound claim": (
        "PvcNotBound",
        claimed(
            claim(storageClassName="slow"),
            says="0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. "
            "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            classes=[storage_class("slow")],
        ),
    ),
    "the volume is on another node": (
        "VolumeInUse",
        on_node(
            event(
                "FailedAttachVolume",
                'Multi-Attach error for volume "pvc-7" Volume is already used by pod(s) other',
            )
        ),
    ),
    "another VM has its disk": (
        "VolumeInUse",
        Observed(
            NOW,
            vm(),
            vmi(
                "Pending",
                told(
                    "Synchronized",
                    "False",
                    "VolumeInUse",
                    "PVC default/data is in use by VirtualMachineInstance other",
                ),
            ),
        ),
    ),
    "another VM has the claim": (
        "VolumeInUse",
        Observed(
            NOW,
            vm(),
            vmi(
                "Pending",
                told(
                    "Synchronized",
                    "False",
                    "VolumeInUse",
                    "PVC team/data is in use by VirtualMachineInstance other",
                ),
                told("PodScheduled", "False", "Unschedulable", "PVC team/data is in use by other"),
            ),
        ),
    ),
    "a lost node has the volume attached": (
        "VolumeInUse",
        Observed(
            NOW,
            vm(),
            vmi(
                "Pending",
                told(
                    "Synchronized",
                    "False",
                    "FailedAttachVolume",
                    "The volume of PVC team/data is still attached to node far, which is lost and "
                    "may write to it",
                ),
            ),
        ),
    ),
    "a claim is awaited": (
        "PvcNotFound",
        Observed(
            NOW,
            vm(),
            vmi(
                "Pending",
                told(
                    "Synchronized",
                    "False",
                    "FailedPvcNotFound",
                    "PVC team/data does not exist, waiting for it to appear",
                ),
            ),
        ),
    ),
    "a network is awaited": (
        "NetworkNotFound",
        Observed(
            NOW,
            vm(),
            vmi(
                "Pending",
                told(
                    "Synchronized",
                    "False",
                    "FailedNetworkNotFound",
                    "NetworkAttachmentDefinition team/lan does not exist",
                ),
            ),
        ),
    ),
    "a DataVolume is importing": (
        "DataVolumeNotReady",
        Observed(
            NOW,
            vm(),
            vmi(
                "Pending",
                told("DataVolumesReady", "False", "NotAllDVsReady", "import of root: 40 %"),
            ),
        ),
    ),
    "a gate": (
        "SchedulingGated",
        placed("", spec={"schedulingGates": [{"name": "example.com/wait"}]}),
    ),
    "no virt-handler anywhere": (
        "NoVirtHandler",
        placed(UNMATCHED, node("node1", "kubevirt.io/schedulable", annotations={})),
    ),
    "another architecture": (
        "ArchitectureUnavailable",
        placed(UNMATCHED, spec={"nodeSelector": {**SELECTOR, "kubernetes.io/arch": "s390x"}}),
    ),
    "another machine type": (
        "MachineTypeUnavailable",
        placed(UNMATCHED, spec=selecting(**{"machine-type.node.kubevirt.io__pc-q35-99": "true"})),
    ),
    "another CPU": (
        "CpuModelUnavailable",
        placed(UNMATCHED, spec=selecting(**{"cpu-model.node.kubevirt.io__Turin": "true"})),
    ),
    "a label that no node has": (
        "NodeSelectorUnmatched",
        placed(UNMATCHED, node(labels={**LABELS, "disk": "hdd"}), spec=selecting(disk="nvme")),
    ),
    "labels that no node has together": (
        "NodeSelectorUnmatched",
        placed(
            UNMATCHED,
            node("node1", labels={**LABELS, "disk": "nvme"}),
            node("node2", labels={**LABELS, "zone": "a"}),
            spec=selecting(disk="nvme", zone="a"),
        ),
    ),
    "an affinity": (
        "NodeAffinityUnmatched",
        placed(
            UNMATCHED,
            spec={
                "affinity": {
                    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"a": 1}}
                }
            },
        ),
    ),
    "no KVM": (
        "NoKvm",
        placed(
            ALL_TOO_SMALL.format("devices.kubevirt.io/kvm"),
            node(allocatable={"memory": "8Gi", "devices.kubevirt.io/kvm": "0"}),
        ),
    ),
    "no such device": ("DeviceMissing", placed(ALL_TOO_SMALL.format("example.com/fpga"))),
    "all devices taken": ("DeviceBusy", placed(ALL_TOO_SMALL.format("example.com/gpu"))),
    "too much memory": (
        "NotEnoughMemory",
        placed(
            "0/2 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint "
            "{node-role.kubernetes.io/control-plane: }. preemption: 0/2 nodes are available: 1 No "
            "preemption victims found for incoming pod, 1 Preemption is not helpful.",
            memory="4Gi",
        ),
    ),
    "too much memory, and nobody may look at pods": (
        "NotEnoughMemory",
        placed(ALL_TOO_SMALL.format("memory"), node(used=None), memory="64Gi"),
    ),
    "too many cores": ("NotEnoughCpu", placed(ALL_TOO_SMALL.format("cpu"))),
    "hugepages": ("NotEnoughResources", placed(ALL_TOO_SMALL.format("hugepages-2Mi"))),
    "too many pods": (
        "NodesFull",
        placed("0/1 nodes are available: 1 Too many pods. preemption: none."),
    ),
    "the volume's zone": (
        "VolumeElsewhere",
        placed("0/1 nodes are available: 1 node(s) had volume node affinity conflict."),
    ),
    "anti-affinity": (
        "PodAffinityUnmatched",
        placed("0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."),
    ),
    "spread": (
        "TopologySpread",
        placed("0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints."),
    ),
    "cordoned": (
        "NodesCordoned",
        placed(
            "0/1 nodes are available: 1 node(s) were unschedulable. no new claims to deallocate, "
            "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            node(cordoned=True),
        ),
    ),
    "tainted": (
        "NodesTainted",
        placed(
            "0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: db}.",
            node(taints=({"key": "dedicated", "value": "db", "effect": "NoSchedule"},)),
        ),
    ),
    "tainted, and the scheduler does not say how": (
        "NodesTainted",
        placed(
            "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
            "1 node(s) had untolerated taint(s).",
            node(taints=({"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"},)),
        ),
    ),
    "something new": ("Unschedulable", placed("no nodes available to schedule pods")),
    "the kubelet says no": (
        "NodeRefused",
        Observed(
            NOW,
            vm(),
            vmi("Failed", node="node1"),
            [
                pod(
                    "node1",
                    status={
                        "phase": "Failed",
                        "reason": "OutOfmemory",
                        "message": "Node didn't have enough resource: memory",
                    },
                )
            ],
        ),
    ),
    "evicted": (
        "Evicted",
        over(
            "Failed",
            pods=[
                pod(
                    "node1",
                    status={
                        "phase": "Failed",
                        "reason": "Evicted",
                        "message": "The node was low on resource: memory.",
                    },
                )
            ],
        ),
    ),
    "out of memory": (
        "OOMKilled",
        over("Failed", pods=[pod("node1", terminated(exitCode=137, reason="OOMKilled"))]),
    ),
    "QEMU alone was out of memory": (
        "OOMKilled",
        over(
            "Failed",
            of_vmi(
                "Stopped",
                "The VirtualMachineInstance crashed: QEMU was killed by the kernel: OOMKilled, its "
                "container used up its memory. Give it more.",
            ),
            pods=[pod("node1", terminated(reason="Error"))],
        ),
    ),
    "the pod was deleted": (
        "PodDeleted",
        over("Failed", pods=[pod("node1", deletionTimestamp=AGO_5_S)]),
    ),
    "the launcher fails": (
        "LauncherFailed",
        Observed(
            NOW,
            vm("Manual"),
            vmi("Failed", node="node1"),
            [pod("node1", terminated(message="starting\nlibvirtd did not start: no /dev/kvm"))],
        ),
    ),
    "no such image": (
        "ImagePull",
        on_node(
            init={
                "volumeroot": waiting(
                    "ImagePullBackOff",
                    f'Back-off pulling image "{IMAGE}": ErrImagePull: failed to resolve '
                    f"reference: {IMAGE}: not found",
                )
            }
        ),
    ),
    "no credentials": (
        "ImagePull",
        on_node(
            init={"volumeroot": waiting("ErrImagePull", "pull access denied, 401 Unauthorized")}
        ),
    ),
    "no registry": (
        "ImagePull",
        on_node(
            event("Failed", "Failed to pull image: dial tcp: lookup registry.example"),
            compute=waiting("ImagePullBackOff", "Back-off pulling image"),
        ),
    ),
    "the container cannot be made": (
        "ContainerNotCreated",
        on_node(compute=waiting("CreateContainerError", "device /dev/kvm: not permitted")),
    ),
    "an address is taken": (
        "AddressNotAvailable",
        on_node(
            event(
                "FailedCreatePodSandBox",
                'Failed to create pod sandbox: rpc error: failed to setup network for sandbox "a1"'
                ': plugin type="bridge" failed (add): failed to allocate for range 0: requested '
                "IP address 10.244.1.7 is not available in range set 10.244.1.1-10.244.1.254",
            ),
            asked='{"default": ["10.244.1.7"]}',
        ),
    ),
    "no network for the pod": (
        "PodNetworkFailed",
        on_node(
            event(
                "FailedCreatePodSandBox",
                'Failed to create pod sandbox: rpc error: failed to setup network for sandbox "a1"'
                ': plugin type="loopback" failed',
            )
        ),
    ),
    "a secret is missing": (
        "ConfigNotFound",
        on_node(
            event(
                "FailedMount",
                'MountVolume.SetUp failed for volume "cloudinit" : secret "login" not found',
            )
        ),
    ),
    "a volume is not mounted": (
        "VolumeNotMounted",
        on_node(
            event(
                "FailedMount",
                'MountVolume.SetUp failed for volume "pvc-7" : wrong fs type, bad disk',
            )
        ),
    ),
    "an empty image": (
        "ContainerDiskInvalid",
        scheduled("ContainerDiskInvalid", "the image of volume root holds no file in /disk"),
    ),
    "libvirt says no": (
        "DomainRefused",
        scheduled("DomainRefused", "unsupported configuration: CPU model 'Turin' is not known"),
    ),
    "no disk in the claim": (
        "ClaimInvalid",
        scheduled("ClaimInvalid", "the claim of volume data holds a disk.img that is a link"),
    ),
    "no overlay": ("PreparationFailed", scheduled("PreparationFailed", "No space left on device")),
    "no tap": ("NetworkFailed", scheduled("NetworkFailed", "cannot prepare the pod's network: x")),
    "a hook that refuses": (
        "HookFailed",
        scheduled("HookFailed", "OnDefineDomain of side-car a (hook-sidecar-0): no (status 2)"),
    ),
    "too slow": ("StartTimeout", scheduled("StartTimeout", "the guest did not start within 60 s")),
    "a bug": ("StartFailed", scheduled("InternalError", "virt-handler cannot start the guest: x")),
    "a panic at boot": (
        "GuestPanicked",
        over(
            "Failed", of_vmi("GuestPanicked", "The guest's kernel panicked. Look at its console.")
        ),
    ),
    "it does not heed its power button": (
        "GraceExceeded",
        over(
            "Failed",
            of_vmi(
                "Stopped",
                "The VirtualMachineInstance crashed: it did not power off within its grace period "
                "and was ended. Raise it.",
            ),
        ),
    ),
    "QEMU was killed": (
        "GuestCrashed",
        over(
            "Failed",
            of_vmi(
                "Stopped", "The VirtualMachineInstance crashed: QEMU was killed or failed. Log: x."
            ),
        ),
    ),
    "QEMU was killed, and side-cars held the pod until it was deleted": (
        "GuestCrashed",
        over("Failed", pods=[pod("node1", terminated(), deletionTimestamp=AGO_5_S)]),
    ),
    "it powered off": (
        "GuestShutDown",
        over("Succeeded", ran=[("Running", AGO_10_MIN), ("Succeeded", AGO_5_S)]),
    ),
    "its disk is full": (
        "PausedIOError",
        running(told("Paused", "True", "PausedIOError", "disk vda: no space left on device")),
    ),
    "its pod goes": (
        "PodTerminating",
        running(READY, pods=[pod("node1", deletionTimestamp=AGO_5_S)]),
    ),
    "paused": ("Paused", running(told("Paused", "True", "PausedByUser", "VMI was paused by user"))),
    "a device finds no port": (
        "DeviceNotPlugged",
        running(READY, plugged("HotplugFailed", NO_PORT)),
    ),
    "a device that its node has not": (
        "DeviceNotFree",
        running(told("Ready", "False"), plugged("AttachmentPodPending", f"{AWAITED}: {ALL_TAKEN}")),
    ),
    "a device whose pod starts": (
        "DeviceComing",
        running(READY, plugged("AttachmentPodPending", f"{AWAITED}: ContainerCreating")),
    ),
    "a device that leaves": (
        "DeviceComing",
        running(READY, plugged("Detaching", "crypto2 is to go")),
    ),
    "it is not ready, and a device is on its way": (
        "NotReady",
        running(
            told("Ready", "False", "ContainersNotReady", "containers with unready status"),
            plugged("AttachmentPodPending", f"{AWAITED}: ContainerCreating"),
        ),
    ),
    "an agent probe without an agent": (
        "AgentMissing",
        running(READY, spec={"readinessProbe": {"guestAgentPing": {}}}),
    ),
    "its probe fails": (
        "NotReady",
        running(told("Ready", "False", "ContainersNotReady", "containers with unready status")),
    ),
    "all is well": ("Running", running(READY)),
    "all is well with its devices": (
        "Running",
        running(
            READY,
            told("HostDevicesPlugged", "True", "", "The guest was given crypto2 while it runs"),
            told("HostDeviceTargets", "True", "", "Nodes with devices as it has: node2"),
        ),
    ),
    "all is well, and it stays where it is": ("Running", running(READY, *STAYS)),
    "all is well, and its strategy says that it stays": (
        "Running",
        replace(
            running(READY, *STAYS, spec={"evictionStrategy": "None"}),
            kubevirt=evicting("LiveMigrate"),
        ),
    ),
    "all is well, but it cannot move as its strategy says": (
        "Running",
        running(READY, *STAYS, spec={"evictionStrategy": "LiveMigrate"}),
    ),
    "all is well, but it cannot move as the cluster's strategy says": (
        "Running",
        replace(running(READY, *STAYS), kubevirt=evicting("LiveMigrateIfPossible")),
    ),
    "all is well, but it was asked to leave its node": ("Running", asked_to_leave(READY, *STAYS)),
    "all is well as far as is known": ("Running", running()),
    "all is well until it is restarted": (
        "Running",
        replace(
            running(READY),
            vm=vm(
                status={
                    "conditions": [
                        told(
                            "RestartRequired",
                            "True",
                            "",
                            "a non-live-updatable field was changed in the template spec: "
                            "spec.domain.devices.gpus; restart the VM for it to take effect",
                        )
                    ]
                }
            ),
        ),
    ),
    "all is well again": (
        "Running",
        Observed(
            NOW,
            vm(),
            vmi("Running", READY, ran=STARTED, node="node1"),
            events=[
                event("GuestPanicked", "It panicked.", "VirtualMachineInstance", "vmi-0"),
                of_vmi("SyncFailed", "of this instance"),
            ],
        ),
    ),
    "stopped by virtctl": (
        "Halted",
        Observed(NOW, vm("Halted", managedFields=STOPPED_BY_API)),
    ),
    "nobody asked": ("NotAsked", Observed(NOW, vm("Manual"))),
    "once is enough": ("Done", Observed(NOW, vm("Once", status={"runStrategy": "Once"}))),
    "a receiver": ("WaitsForGuest", Observed(NOW, vm("WaitAsReceiver"))),
    "it is being installed": (
        "NotInstalled",
        Observed(
            NOW,
            vm(created=AGO_10_MIN),
            kubevirt={"status": {"phase": "Deploying"}},
        ),
    ),
    "no virt-controller": (
        "ControllerSilent",
        Observed(NOW, vm(), vmi("", created=AGO_10_MIN)),
    ),
    "an image is being pulled": (
        "Starting",
        on_node(event("Pulling", f"Pulling image {IMAGE}", type="Normal")),
    ),
}
