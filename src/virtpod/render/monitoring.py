"""What Prometheus is given: which endpoints to read, and what to raise an alarm about.

Each alert carries what its runbook says, so that docs/observability.md cannot lack one. Names are
KubeVirt's where the alert means the same.

https://prometheus-operator.dev/docs/api-reference/api/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
SERVICE = "kubevirt-prometheus-metrics"
RUNBOOKS = "docs/observability.md"
GROUP = "virtpod"
MONITOR = "prometheus-kubevirt"
BAD_ANSWERS = 'code=~"5..|429|<error>"'


@dataclass(frozen=True)
class Alert:
    """`looks` are what to look at, in order; `remedy` what then helps."""

    name: str
    severity: Literal["critical", "warning", "info"]
    expression: str
    lasting: str
    """For how long the expression holds before anybody is told."""
    summary: str
    meaning: str
    looks: tuple[str, ...]
    remedy: str


def _down(name: str, process: str, meaning: str) -> Alert:
    metric = f"kubevirt_{process.replace('-', '_')}_up"
    return Alert(
        f"{name}Down",
        "critical",
        f"(sum({metric}) or vector(0)) == 0",
        "5m",
        f"No {process} runs.",
        meaning,
        (
            f"`kubectl -n kubevirt get pods -l kubevirt.io={process} -o wide`",
            f"`kubectl -n kubevirt logs -l kubevirt.io={process} --prefix --tail=50`",
            "`kubectl -n kubevirt get kubevirt kubevirt -o yaml`: its conditions",
        ),
        "What keeps its pods from running is in their events: an image that cannot be pulled, a "
        "node without room. If they run, Prometheus does not reach them: see its targets.",
    )


def _leaderless(name: str, process: str, meaning: str) -> Alert:
    metric = f"kubevirt_{process.replace('-', '_')}_leading_status"
    return Alert(
        f"NoLeading{name}",
        "critical",
        f"(sum({metric}) or vector(0)) == 0",
        "5m",
        f"No {process} leads.",
        meaning,
        (
            f"`kubectl -n kubevirt get lease {process} -o yaml`: who holds it, and since when",
            f"`kubectl -n kubevirt logs -l kubevirt.io={process} --prefix --tail=50`",
        ),
        "A lease that nobody renews runs out by itself, and another takes it. If nobody does, "
        "the API server refuses: the logs have its answer.",
    )


def _few(name: str, many: str, process: str, missing: str) -> Iterator[Alert]:
    """Fewer than there shall be: that answer, and that can work; and none that can."""
    metric = f"kubevirt_{process.replace('-', '_')}"
    wanted = f'max(kube_deployment_spec_replicas{{deployment="{process}"}})'
    looks = (
        f"`kubectl -n kubevirt get pods -l kubevirt.io={process} -o wide`",
        f"`kubectl -n kubevirt describe deployment {process}`",
        f"`kubectl -n kubevirt logs -l kubevirt.io={process} --prefix --tail=50`",
    )
    yield Alert(
        f"Low{many}Count",
        "warning",
        f"sum({metric}_up) < {wanted}",
        "10m",
        f"Fewer replicas of {process} answer than there shall be.",
        f"With the last one {missing}",
        looks,
        "What keeps a pod from running is in its events: an image that cannot be pulled, a node "
        "without room, a placement that too few nodes fit.",
    )
    yield Alert(
        f"LowReady{many}Count",
        "warning",
        f"sum({metric}_ready_status) < sum({metric}_up)",
        "10m",
        f"Some replicas of {process} run and cannot work.",
        "They have not read what they rest on, or cannot reach the API server.",
        looks,
        "The log has the API server's answers. A pod that does not recover is safe to delete.",
    )
    yield Alert(
        f"NoReady{name}",
        "critical",
        f"sum({metric}_ready_status) == 0",
        "5m",
        f"{process} runs, and no replica of it can work.",
        f"As long as that is so {missing}",
        looks,
        "The log has the API server's answers: its rights may have been taken away, or the API "
        "server may be overloaded. virt-operator restores rights that are its own to give.",
    )


_HANDLERS = 'max by (node, pod) (kube_pod_info{pod=~"virt-handler-.+"})'
_QUEUES: tuple[tuple[str, Literal["critical", "warning"], int, str], ...] = (
    ("Warning", "warning", 10, "5m"),
    ("Critical", "critical", 20, "5m"),
)
ALERTS: tuple[Alert, ...] = (
    _down(
        "VirtAPI",
        "virt-api",
        "Nothing checks virtual machines, so that they can be neither made nor changed, and no "
        "console opens. Guests go on.",
    ),
    _down(
        "VirtController",
        "virt-controller",
        "No virtual machine starts, and none that is lost is started again. Guests go on.",
    ),
    _leaderless(
        "VirtController",
        "virt-controller",
        "It runs, but no replica of it may act: no virtual machine starts.",
    ),
    _down(
        "VirtOperator",
        "virt-operator",
        "Certificates are not renewed, and what is changed or lost of the installation stays so. "
        "Left alone it ends with certificates that have run out.",
    ),
    _leaderless(
        "VirtOperator",
        "virt-operator",
        "It runs, but no replica of it may act: certificates are not renewed.",
    ),
    *_few(
        "VirtAPI",
        "VirtAPI",
        "virt-api",
        "no virtual machine can be made or changed, and no console opens.",
    ),
    *_few(
        "VirtController",
        "VirtControllers",
        "virt-controller",
        "no virtual machine starts, and none that is lost is started again.",
    ),
    *_few(
        "VirtOperator",
        "VirtOperators",
        "virt-operator",
        "certificates are not renewed, and what is lost of the installation stays so.",
    ),
    Alert(
        "NoReadyVirtHandler",
        "critical",
        "sum(kubevirt_virt_handler_ready_status) == 0",
        "5m",
        "virt-handler runs, and can work on no node.",
        "No guest starts or is stopped in good order. Guests that run go on.",
        (
            "`kubectl -n kubevirt get pods -l kubevirt.io=virt-handler -o wide`",
            "`kubectl -n kubevirt logs ds/virt-handler`: whether it has read its pods, and whether "
            "the kubelet has taken its device plugins",
        ),
        "What all nodes have in common is the API server and the kubelets' configuration.",
    ),
    Alert(
        "LowReadyVirtHandlersCount",
        "warning",
        "sum(kubevirt_virt_handler_ready_status) < sum(kubevirt_virt_handler_up)",
        "10m",
        "virt-handler runs, and cannot work on some nodes.",
        "Those nodes take no new guests.",
        (
            "`kubectl get nodes -L kubevirt.io/schedulable`",
            "`kubectl -n kubevirt get pods -l kubevirt.io=virt-handler -o wide`: which are unready",
        ),
        "The log of the pod that is not ready says what it waits for; mostly the kubelet, which "
        "has to take its device plugins.",
    ),
    Alert(
        "VirtHandlerDown",
        "critical",
        f'up{{job="{SERVICE}", pod=~"virt-handler-.*"}} == 0',
        "10m",
        "{{ $labels.pod }} cannot be read.",
        "On its node no guest starts and none is stopped in good order. Guests that run go on; "
        "the node takes no new ones as soon as its heartbeat is too old.",
        (
            "`kubectl -n kubevirt get pods -l kubevirt.io=virt-handler -o wide`",
            "`kubectl -n kubevirt logs ds/virt-handler`",
        ),
        "A pod that is not there, or not ready, says why in its events. Deleting it is safe: "
        "guests do not depend on it.",
    ),
    Alert(
        "KubeVirtNoAvailableNodesToRunVMs",
        "critical",
        "sum(kubevirt_allocatable_nodes) == 0",
        "5m",
        "No node takes virtual machines.",
        "Every virtual machine that is started waits.",
        (
            "`kubectl get nodes -L kubevirt.io/schedulable`",
            "`kubectl -n kubevirt get pods -l kubevirt.io=virt-handler -o wide`",
        ),
        "A node is schedulable while its virt-handler tells so: see `VirtHandlerDown`.",
    ),
    Alert(
        "LowKVMNodesCount",
        "warning",
        "sum(kubevirt_allocatable_nodes) > 1 and sum(kubevirt_nodes_with_kvm) < 2",
        "5m",
        "Fewer than two nodes offer KVM.",
        "If the last one goes, no guest has anywhere to go.",
        (
            "`kubectl get nodes -o custom-columns="
            "'NAME:.metadata.name,KVM:.status.allocatable.devices\\.kubevirt\\.io/kvm'`",
        ),
        "Load `kvm_intel` or `kvm_amd`, and enable virtualisation in the firmware.",
    ),
    *(
        Alert(
            f"{name}RESTErrorsBurst",
            "warning",
            f'sum by (pod) (rate(kubevirt_rest_client_requests_total{{pod=~"{process}-.*", '
            f"{BAD_ANSWERS}}}[5m])) / sum by (pod) "
            f'(rate(kubevirt_rest_client_requests_total{{pod=~"{process}-.*"}}[5m])) > 0.05',
            "5m",
            "More than one request in twenty of {{ $labels.pod }} fails.",
            "The API server, or the way to it, is in trouble; what is asked of virtual machines "
            "comes about late.",
            (
                f"`kubectl -n kubevirt logs -l kubevirt.io={process} --prefix --tail=50`",
                "the API server's own metrics and logs",
            ),
            "Mend the API server or the network; the component tries again by itself.",
        )
        for name, process in (
            ("VirtController", "virt-controller"),
            ("VirtHandler", "virt-handler"),
            ("VirtOperator", "virt-operator"),
        )
    ),
    Alert(
        "VirtAPIErrorsHigh",
        "warning",
        'sum(rate(virtpod_api_requests_total{code=~"5.."}[5m])) '
        "/ sum(rate(virtpod_api_requests_total[5m])) > 0.05",
        "5m",
        "More than one request in twenty to virt-api ends with an error of its own.",
        "Users see failing consoles, starts and stops; webhooks that fail keep objects from "
        "being written.",
        (
            "`kubectl -n kubevirt logs -l kubevirt.io=virt-api --prefix --tail=100`",
            "the dashboard's row virt-api: which route",
        ),
        "Errors with 502 and 504 are a node's: see `VirtHandlerDown`. A traceback in the log is a "
        "bug to report, with `virtctl adm bundle`.",
    ),
    Alert(
        "VirtAPISlow",
        "warning",
        "histogram_quantile(0.99, sum by (le, route) "
        "(rate(virtpod_api_request_seconds_bucket[5m]))) > 1",
        "15m",
        "One request in a hundred to {{ $labels.route }} takes longer than a second.",
        "Whatever writes virtual machines waits for it, virt-controller too.",
        ("`kubectl -n kubevirt top pods`", "the dashboard's row virt-api"),
        "Give virt-api more replicas (`spec.infra.replicas` of the KubeVirt object), or its nodes "
        "more room.",
    ),
    Alert(
        "VirtWorkQueueStuck",
        "warning",
        "max by (pod, name) (kubevirt_workqueue_longest_running_processor_seconds) > 300",
        "5m",
        "{{ $labels.pod }} has worked on one object of queue {{ $labels.name }} for minutes.",
        "That object stands still, and others wait behind it.",
        (
            "the pod's logs",
            "`/debug/decisions` of the pod: what was decided last, and on what",
        ),
        "Deleting the pod is safe; report it, with `virtctl adm bundle`.",
    ),
    Alert(
        "OrphanedVirtualMachineInstances",
        "warning",
        '(sum by (node) (kubevirt_vmi_phase_count{phase="running"}) > 0) '
        f"unless on (node) ({_HANDLERS} and on (pod) (kubevirt_virt_handler_up == 1)) "
        # Without kube-state-metrics nobody knows which node a pod is on.
        f"and on () group({_HANDLERS})",
        "10m",
        "Guests run on node {{ $labels.node }}, and no virt-handler does.",
        "They go on, but nothing looks after them: they are neither stopped nor changed.",
        (
            "`kubectl get nodes`",
            "`kubectl -n kubevirt get pods -l kubevirt.io=virt-handler -o wide`",
        ),
        "Bring the node, or its virt-handler, back. If the node is gone for good, delete it.",
    ),
    Alert(
        "HostDeviceUnhealthy",
        "warning",
        "min by (node, pod, device, resource, reason) (virtpod_host_device_healthy) == 0",
        "2m",
        "{{ $labels.device }} ({{ $labels.resource }}) does not work: {{ $labels.reason }}.",
        "It is given to no guest, and a guest that has it may have lost it: its VMI's condition "
        "HostDevicesHealthy says so.",
        (
            "`virtpod_host_device_info` of the device: whose it is",
            "`kubectl get node NODE -o yaml`: the condition HostDevicesOffered has the remedy",
            "`kubectl get qatnodestate NODE -o yaml`, of a QAT device",
        ),
        "What the reason names: bind the driver again, set the QAT device up again (`qat/state`), "
        "look at the node's kernel log for AER. A guest whose device was removed must be "
        "restarted.",
    ),
    Alert(
        "QATDeviceNotConfigured",
        "warning",
        "min by (node, pod, device, policy, reason) (virtpod_qat_configured) == 0",
        "15m",
        "QAT device {{ $labels.device }} is not as {{ $labels.policy }} says: "
        "{{ $labels.reason }}.",
        "Its functions do what they did before, or are not offered at all.",
        (
            "`kubectl get qatnodestate NODE -o yaml`: the condition Configured of the device",
            "`kubectl -n kubevirt logs ds/virt-handler`: what the kernel has refused",
        ),
        "InUse: stop the guests that the message names, or take the device out of the policy. "
        "Otherwise the message has the remedy.",
    ),
    Alert(
        "VMNonRecoverableOSPanic",
        "warning",
        "sum by (namespace, name) (increase(kubevirt_vmi_guest_os_panic_total[10m])) > 0 "
        "or sum by (namespace, name) (kubevirt_vmi_guest_os_panic_total "
        "unless kubevirt_vmi_guest_os_panic_total offset 10m) > 0",
        "0m",
        "The kernel of {{ $labels.namespace }}/{{ $labels.name }} has panicked.",
        "What ran in the guest has ended.",
        (
            "`kubectl describe vmi NAME -n NAMESPACE`: when",
            "`virtctl console NAME -n NAMESPACE`, or the log of the container guest-console-log",
        ),
        "`virtctl restart NAME`, where its run strategy does not start it again.",
    ),
    Alert(
        "KubeVirtDeprecatedAPIRequested",
        "info",
        "sum by (resource, group, version) "
        "(increase(kubevirt_api_request_deprecated_total[10m])) > 0",
        "5m",
        "{{ $labels.resource }} of {{ $labels.group }} are asked for in version "
        "{{ $labels.version }}, which is deprecated.",
        "A later release may serve that version no more.",
        ("the API server's audit log: who asks",),
        "Have that client use the newest version (`kubectl api-resources`).",
    ),
    Alert(
        "VirtualMachineStuckInUnhealthyState",
        "warning",
        "(kubevirt_vm_error_status_last_transition_timestamp_seconds > 0 and time() - "
        "kubevirt_vm_error_status_last_transition_timestamp_seconds > 300) or "
        "(kubevirt_vm_starting_status_last_transition_timestamp_seconds > 0 and time() - "
        "kubevirt_vm_starting_status_last_transition_timestamp_seconds > 900)",
        "1m",
        "Virtual machine {{ $labels.namespace }}/{{ $labels.name }} does not come to run.",
        "It has been in error for five minutes, or starting for fifteen.",
        ("`virtctl why vm NAME -n NAMESPACE`: the one reason, and what to do about it",),
        "As `virtctl why` says; all its answers are in [why.md](why.md).",
    ),
    Alert(
        "VirtualMachineStuckOnNode",
        "warning",
        "(kubevirt_vm_starting_status_last_transition_timestamp_seconds > 0 and time() - "
        "kubevirt_vm_starting_status_last_transition_timestamp_seconds > 300) "
        'and on (namespace, name) kubevirt_vmi_info{node!=""}',
        "5m",
        "Virtual machine {{ $labels.namespace }}/{{ $labels.name }} has a node and does not start.",
        "Its pod is on a node, but there is no guest yet.",
        (
            "`virtctl why vm NAME -n NAMESPACE`: the one reason, and what to do about it",
            "`kubectl -n kubevirt logs ds/virt-handler`, on the machine's node",
        ),
        "As `virtctl why` says: an image that is still pulled, a volume that is not attached, a "
        "device that is gone; or the node's virt-handler, see `VirtHandlerDown`.",
    ),
    Alert(
        "VirtLauncherPodsStuckFailed",
        "warning",
        'sum(kube_pod_status_phase{phase="Failed", pod=~"virt-launcher-.+"}) >= 200',
        "10m",
        "There are 200 launcher pods that have failed.",
        "Each is kept for its log, and costs the control plane memory; so many mean that machines "
        "fail again and again.",
        (
            "`kubectl get pods -A -l kubevirt.io=virt-launcher | grep -v Running`",
            "`kubectl get vm -A | grep CrashLoopBackOff`: whose they are",
            "`virtctl why vm NAME -n NAMESPACE`",
        ),
        "Mend the machines, or stop them: a VMI takes its pods along when it goes.",
    ),
    Alert(
        "VMCannotBeEvicted",
        "info",
        "kubevirt_vmi_non_evictable > 0",
        "10m",
        "{{ $labels.namespace }}/{{ $labels.name }} shall migrate when its node is drained, and "
        "cannot.",
        "A drain of node {{ $labels.node }} waits until somebody stops the machine.",
        ("`kubectl get vmi NAME -o yaml`: condition LiveMigratable says why",),
        "Change what keeps it from migrating, or set its `evictionStrategy` to `None`.",
    ),
    Alert(
        "OutdatedVirtualMachineInstanceWorkloads",
        "info",
        "sum(kubevirt_vmi_number_of_outdated) > 0",
        "1d",
        "{{ $value }} instances run in launchers of an older version.",
        "They lack what was mended since. They get it with their next start.",
        ("`kubectl get vmi -A -l kubevirt.io/outdatedLauncherImage`",),
        "Restart them when it suits: `virtctl restart NAME`.",
    ),
    Alert(
        "KubeVirtVMGuestMemoryAvailableLow",
        "warning",
        "kubevirt_vmi_memory_usable_bytes / kubevirt_vmi_memory_available_bytes < 0.03",
        "15m",
        "The guest {{ $labels.namespace }}/{{ $labels.name }} is almost out of memory.",
        "It swaps, or ends processes.",
        ("within the guest: what takes its memory", "the dashboard's row Guests"),
        "Give it more (`spec.template.spec.domain.memory.guest`), or run less in it.",
    ),
    Alert(
        "KubeVirtVMGuestMemoryPressure",
        "warning",
        "kubevirt_vmi_memory_headroom_ratio < 0.05 and "
        "(kubevirt_vmi_pgmajfaults > 5 or kubevirt_vmi_swap_traffic_bytes > 1048576)",
        "5m",
        "The guest {{ $labels.namespace }}/{{ $labels.name }} lacks memory and waits for disks "
        "because of it.",
        "Less than a twentieth of its memory is left, and it fetches pages from disks or swaps.",
        ("within the guest: what takes its memory", "the dashboard's row Guests"),
        "Give it more (`spec.template.spec.domain.memory.guest`), or run less in it.",
    ),
    *(
        Alert(
            f"GuestVCPUQueueHigh{name}",
            severity,
            f"kubevirt_vmi_guest_queue_length > {length}",
            lasting,
            f"More than {length} tasks of {{{{ $labels.namespace }}}}/{{{{ $labels.name }}}} wait "
            "for its virtual CPUs or a disk.",
            "What runs in the guest is slow, for it has more to do than CPUs, or disks, to do it.",
            ("within the guest: `top`, `iostat`", "the dashboard's row Guests"),
            "Give it more CPUs (`spec.template.spec.domain.cpu`) or quicker disks, or run less in "
            "it.",
        )
        for name, severity, length, lasting in _QUEUES
    ),
    Alert(
        "GuestFilesystemAlmostOutOfSpace",
        "warning",
        "kubevirt_vmi_filesystem_used_bytes / (kubevirt_vmi_filesystem_capacity_bytes > 0) > 0.9",
        "5m",
        "{{ $labels.mount_point }} in {{ $labels.namespace }}/{{ $labels.name }} is almost full.",
        "What the guest writes there will fail.",
        ("`virtctl fslist NAME -n NAMESPACE`",),
        "Make room, or make the disk larger.",
    ),
    Alert(
        "GuestVCPUWaitsForNode",
        "warning",
        "avg by (node, namespace, name) (rate(kubevirt_vmi_vcpu_delay_seconds_total[5m])) > 0.2",
        "15m",
        "Virtual CPUs of {{ $labels.namespace }}/{{ $labels.name }} wait for node "
        "{{ $labels.node }} for a fifth of their time.",
        "The guest is slow, for its node has more to do than CPUs to do it.",
        ("`kubectl top node`", "the dashboard's row Guests"),
        "Move guests to other nodes, give this one `resources.requests.cpu`, or dedicated CPUs.",
    ),
)


@dataclass(frozen=True)
class Record:
    """A series that Prometheus makes of others; the name is KubeVirt's."""

    name: str
    expression: str
    meaning: str


def _rates(name: str, metrics: Iterable[str], meaning: str) -> Iterator[Record]:
    """Their sum; over five minutes under its plain name too."""
    for record, minutes in ((name, 5), (f"vmi:{name}:rate5m", 5), (f"vmi:{name}:rate30m", 30)):
        rates = (f"sum by ({_GUEST}) (rate({metric}[{minutes}m]))" for metric in metrics)
        yield Record(record, " + ".join(rates), f"{meaning}, per second over {minutes} minutes.")


def _usage(metric: str, reason: str) -> str:
    """Of each kind of container, the one that is furthest above what it asks for."""
    return (
        "label_replace(topk by (container) (1, max by (container, namespace, node) ("
        f"sum by (namespace, pod, container) ({metric}{{{_OURS}}}) "
        "- on (namespace, pod, container) group_right() max by (namespace, pod, container, node) "
        f'(kube_pod_container_resource_requests{{{_OURS}, resource="memory"}}))), '
        f'"reason", "{reason}", "", "")'
    )


def _margin(metric: str) -> str:
    return (
        "(sum by (namespace, pod, container) "
        f'(kube_pod_container_resource_requests{{{_LAUNCHER}, resource="memory"}}) '
        f"- sum by (namespace, pod, container) ({metric}{{{_LAUNCHER}}})) "
        "* on (namespace, pod) group_left (name) group by (namespace, pod, name) "
        '(label_replace(kubevirt_vmi_info{vmi_pod=~"virt-launcher-.+"}, '
        '"pod", "$1", "vmi_pod", "(.+)"))'
    )


_OURS = 'pod=~"virt-.+", container=~"virt-(api|controller|handler|operator)|compute"'
_LAUNCHER = 'pod=~"virt-launcher-.+", container="compute"'
_GUEST = "namespace, name"
_HEADROOM = (
    f"sum by ({_GUEST}) (kubevirt_vmi_memory_usable_bytes) "
    f"/ (sum by ({_GUEST}) (kubevirt_vmi_memory_available_bytes) > 0)"
)
_VCPUS = (
    "count by (node, namespace, name) (group by (node, namespace, name, id) "
    "(kubevirt_vmi_vcpu_seconds_total))"
)
_QUEUE = (
    "clamp_min(sum by (node, namespace, name) (kubevirt_vmi_guest_load_1m) "
    f"- on (node, namespace, name) {_VCPUS}, 0)"
)
_DELTA = " or ".join(
    _usage(f"container_memory_{metric}", f"memory_{reason}_delta_from_request")
    for metric, reason in (("working_set_bytes", "working_set"), ("rss", "rss"))
)
_CLAIM = "namespace, persistentvolumeclaim"
_ORPHANED = (
    f"max by ({_CLAIM}) (kube_persistentvolumeclaim_resource_requests_storage_bytes) "
    f"unless on ({_CLAIM}) kube_pod_spec_volumes_persistentvolumeclaims_info "
    f"unless on ({_CLAIM}) kubevirt_vm_disk_allocated_size_bytes "
    # While virt-controller tells nothing, no claim is a machine's.
    "and on () kubevirt_allocatable_nodes"
)
_DERIVED: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("kubevirt_vmi_memory_headroom_ratio", "vmi:kubevirt_vmi_memory_headroom_ratio:sum"),
        _HEADROOM,
        "What a guest can use without swapping, of what it sees.",
    ),
    (
        ("vmi:kubevirt_vmi_memory_available_bytes:sum",),
        f"sum by ({_GUEST}) (kubevirt_vmi_memory_available_bytes)",
        "What the guest sees.",
    ),
    (("vmi:kubevirt_vmi_vcpu:count",), _VCPUS, "Virtual CPUs of a guest."),
    (
        (
            "kubevirt_vmi_guest_queue_length",
            "vmi:kubevirt_vmi_guest_queue_length:sum",
            "kubevirt_vmi_guest_vcpu_queue",
        ),
        _QUEUE,
        "What of a guest's load of one minute is above the number of its virtual CPUs.",
    ),
    (
        (
            "kubevirt_memory_delta_from_requested_bytes",
            "container:kubevirt_memory_delta_from_requested_bytes:max",
        ),
        _DELTA,
        "Memory above what is asked for, of the pod that is furthest above it.",
    ),
    (
        (
            "kubevirt_suspected_orphaned_storage_bytes",
            "pvc:kubevirt_suspected_orphaned_storage_bytes:info",
        ),
        _ORPHANED,
        "A claim's request that no pod mounts and no virtual machine names.",
    ),
    *(
        (
            (
                f"kubevirt_vm_container_memory_request_margin_based_on_{what}_bytes",
                f"pod_container:kubevirt_vm_memory_request_margin_based_on_{what}:sum",
            ),
            _margin(metric),
            f"What of a guest's pod's requested memory is left; by {text}.",
        )
        for what, metric, text in (
            ("rss", "container_memory_rss", "its resident memory"),
            ("working_set", "container_memory_working_set_bytes", "its working set"),
        )
    ),
)
"""Names of one series, expression, meaning. Containers' numbers are the kubelet's, requests and
claims kube-state-metrics'."""


_DEPRECATED = "group, version, resource, subresource"
RECORDS: tuple[Record, ...] = (
    Record(
        "kubevirt_api_request_deprecated_total",
        f'group by ({_DEPRECATED}) (apiserver_requested_deprecated_apis{{group=~".*kubevirt.io"}}) '
        f"* on ({_DEPRECATED}) group_right() sum by ({_DEPRECATED}, verb) "
        '(apiserver_request_total{group=~".*kubevirt.io", verb!~"LIST|WATCH"})',
        "Requests for versions and kinds that are deprecated, as the API server counts them.",
    ),
    Record(
        "kubevirt_vm_created_total",
        "sum by (namespace) (kubevirt_vm_created_by_pod_total)",
        "Virtual machines whose creation was let in.",
    ),
    *(
        record
        for process in ("api", "controller", "handler", "operator")
        for record in (
            Record(
                f"kubevirt_virt_{process}_pods_running",
                f"sum(kubevirt_virt_{process}_up) or vector(0)",
                f"Pods of virt-{process} that answer.",
            ),
            Record(
                f"kubevirt_virt_{process}_ready",
                f"sum(kubevirt_virt_{process}_ready_status) or vector(0)",
                f"Those of virt-{process} that can work.",
            ),
        )
    ),
    *(
        Record(
            f"kubevirt_virt_{process}_leading",
            f"sum(kubevirt_virt_{process}_leading_status) or vector(0)",
            f"Those of virt-{process} that lead; one where all is well.",
        )
        for process in ("controller", "operator")
    ),
    *(Record(name, made, meaning) for names, made, meaning in _DERIVED for name in names),
    *_rates(
        "kubevirt_vmi_pgmajfaults",
        ("kubevirt_vmi_memory_pgmajfault_total",),
        "Page faults of a guest that needed a disk",
    ),
    *_rates(
        "kubevirt_vmi_swap_traffic_bytes",
        [f"kubevirt_vmi_memory_swap_{way}_traffic_bytes" for way in ("in", "out")],
        "What a guest reads from its swap and writes to it",
    ),
)


def rules(namespace: str = "kubevirt", runbooks: str = RUNBOOKS) -> Json:
    """The PrometheusRule; `groups` below its spec are also what Prometheus reads from a file.

    `runbooks`: where docs/observability.md is published.
    """
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": _metadata("prometheus-kubevirt-rules", namespace),
        "spec": {
            "groups": [
                {
                    "name": f"{GROUP}.rules",
                    "rules": [_rule(alert, runbooks) for alert in ALERTS],
                },
                {
                    "name": f"{GROUP}.records",
                    "rules": [
                        {"record": record.name, "expr": record.expression} for record in RECORDS
                    ],
                },
            ]
        },
    }


def service_monitor(namespace: str = "kubevirt", home: str = "") -> Json:
    """All components, by the one Service that stands before them; `home` is the namespace that it
    is to be in, where that is another."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": _metadata(MONITOR, home or namespace),
        "spec": {
            "selector": {"matchLabels": {"kubevirt.io": SERVICE}},
            "namespaceSelector": {"matchNames": [namespace]},
            "endpoints": [
                {
                    "port": "metrics",
                    "scheme": "https",
                    # The labels node, namespace and name are those of guests.
                    "honorLabels": True,
                    # The certificates are of Virtpod's own CA, which renews itself.
                    "tlsConfig": {"insecureSkipVerify": True},
                }
            ],
        },
    }


def _rule(alert: Alert, runbooks: str) -> Json:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.lasting,
        "labels": {
            "severity": alert.severity,
            "kubernetes_operator_part_of": "kubevirt",
            "kubernetes_operator_component": "kubevirt",
        },
        "annotations": {
            "summary": alert.summary,
            "description": alert.meaning,
            "runbook_url": f"{runbooks}#{alert.name.lower()}",
        },
    }


def _metadata(name: str, namespace: str) -> Json:
    labels = {"kubevirt.io": "", "prometheus.kubevirt.io": "true", "k8s-app": "kubevirt"}
    return {"name": name, "namespace": namespace, "labels": labels}


def runbook(alerts: Iterable[Alert] = ALERTS) -> str:
    """Markdown: one section for each alert, whose anchor its annotation names."""
    parts = []
    for alert in alerts:
        looks = "".join(f"- {look}\n" for look in alert.looks)
        parts.append(
            f"### {alert.name}\n\n{_plain(alert.summary)} ({alert.severity}, after "
            f"{alert.lasting})\n\n{_plain(alert.meaning)}\n\nLook at:\n\n{looks}\n{alert.remedy}\n"
        )
    return "\n".join(parts)


def _plain(text: str) -> str:
    """Prometheus' variables as words."""
    for variable in (
        "namespace",
        "mount_point",
        "resource",
        "version",
        "group",
        "route",
        "node",
        "name",
        "pod",
    ):
        text = text.replace(f"{{{{ $labels.{variable} }}}}", variable.upper())
    return text.replace("{{ $value }}", "Some")
