"""The parts of Kubernetes' core/v1 that virtual machine specs embed (affinity, probes, volumes).

Shape: https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

from typing import Annotated

from virtpod.api.base import AtomicList, Int32, Int64, IntOrString, Quantity, Wire, one_of
from virtpod.api.meta import LabelSelector


class NodeSelectorRequirement(Wire):
    operator: Annotated[str, one_of("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")]
    """In, NotIn, Exists, DoesNotExist, Gt or Lt."""
    key: str
    """The label."""
    values: AtomicList[str] | None = None
    """Values of the label."""


class NodeSelectorTerm(Wire):
    match_expressions: AtomicList[NodeSelectorRequirement] | None = None
    """Demands on labels; all must hold."""
    match_fields: AtomicList[NodeSelectorRequirement] | None = None
    """Demands on fields; all must hold."""


class NodeSelector(Wire):
    node_selector_terms: AtomicList[NodeSelectorTerm]
    """Terms of which one must hold."""


class PreferredSchedulingTerm(Wire):
    weight: Int32
    """1 to 100."""
    preference: NodeSelectorTerm
    """Nodes that are better."""


class NodeAffinity(Wire):
    preferred_during_scheduling_ignored_during_execution: (
        AtomicList[PreferredSchedulingTerm] | None
    ) = None
    """Nodes that are better."""
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Nodes that may be."""


class PodAffinityTerm(Wire):
    topology_key: str
    """Label of nodes that says what counts as one place."""
    label_selector: LabelSelector | None = None
    """Pods that count."""
    match_label_keys: AtomicList[str] | None = None
    """Labels in whose values the pods must equal this one."""
    mismatch_label_keys: AtomicList[str] | None = None
    """Labels in whose values the pods must differ from this one."""
    namespace_selector: LabelSelector | None = None
    """Namespaces of these pods, by label."""
    namespaces: AtomicList[str] | None = None
    """Namespaces of these pods, by name."""


class WeightedPodAffinityTerm(Wire):
    weight: Int32
    """1 to 100."""
    pod_affinity_term: PodAffinityTerm
    """Places that are better."""


class PodAffinity(Wire):
    preferred_during_scheduling_ignored_during_execution: (
        AtomicList[WeightedPodAffinityTerm] | None
    ) = None
    """Places that are better."""
    required_during_scheduling_ignored_during_execution: AtomicList[PodAffinityTerm] | None = None
    """Places that must be."""


class PodAntiAffinity(Wire):
    preferred_during_scheduling_ignored_during_execution: (
        AtomicList[WeightedPodAffinityTerm] | None
    ) = None
    """Places that are worse."""
    required_during_scheduling_ignored_during_execution: AtomicList[PodAffinityTerm] | None = None
    """Places that must not be."""


class Affinity(Wire):
    node_affinity: NodeAffinity | None = None
    """Nodes."""
    pod_affinity: PodAffinity | None = None
    """Pods to be near to."""
    pod_anti_affinity: PodAntiAffinity | None = None
    """Pods to be apart from."""


class CorePersistentVolumeClaimVolumeSource(Wire):
    claim_name: str
    """Name of the claim."""
    read_only: bool | None = None
    """Whether it is not written."""


class ObjectFieldSelector(Wire):
    field_path: str
    """Path of the field."""
    api_version: str | None = None
    """Version that the path is of."""


class ResourceFieldSelector(Wire):
    resource: str
    """Such as `limits.memory`."""
    container_name: str | None = None
    """The container."""
    divisor: Quantity | None = None
    """Unit of the value."""


class DownwardAPIVolumeFile(Wire):
    path: str
    """Path of the file."""
    field_ref: ObjectFieldSelector | None = None
    """A field of the pod."""
    mode: Int32 | None = None
    """Permission bits of the file."""
    resource_field_ref: ResourceFieldSelector | None = None
    """What a container asks for or may use."""


class ExecAction(Wire):
    command: AtomicList[str] | None = None
    """Program and arguments, without a shell."""


class HTTPHeader(Wire):
    value: str
    """Its value."""
    name: str
    """Its name."""


class HTTPGetAction(Wire):
    port: IntOrString
    """The port, by number or by name."""
    host: str | None = None
    """Host name; by default the guest's address."""
    http_headers: AtomicList[HTTPHeader] | None = None
    """Headers of the request."""
    path: str | None = None
    """Path of the request."""
    scheme: Annotated[str, one_of("HTTP", "HTTPS")] | None = None
    """HTTP or HTTPS."""


class LocalObjectReference(Wire):
    name: str | None = None
    """Name of the object."""


class TypedLocalObjectReference(Wire):
    name: str
    """Name of the object."""
    kind: str
    """Kind of the object."""
    api_group: str | None = None
    """Group of the object; empty for core."""


class TypedObjectReference(Wire):
    name: str
    """Name of the object."""
    kind: str
    """Kind of the object."""
    api_group: str | None = None
    """Group of the object; empty for core."""
    namespace: str | None = None
    """Namespace of the object."""


class VolumeResourceRequirements(Wire):
    limits: dict[str, Quantity] | None = None
    """Largest size."""
    requests: dict[str, Quantity] | None = None
    """Least size."""


class PersistentVolumeClaimSpec(Wire):
    access_modes: (
        AtomicList[
            Annotated[
                str, one_of("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
            ]
        ]
        | None
    ) = None
    """Access modes."""
    data_source: TypedLocalObjectReference | None = None
    """Object that the claim is filled from."""
    data_source_ref: TypedObjectReference | None = None
    """Object that the claim is filled from, of any kind."""
    resources: VolumeResourceRequirements | None = None
    """Size of the volume."""
    selector: LabelSelector | None = None
    """Labels of the volume."""
    storage_class_name: str | None = None
    """StorageClass."""
    volume_attributes_class_name: str | None = None
    """VolumeAttributesClass."""
    volume_mode: Annotated[str, one_of("Block", "Filesystem", "FromStorageProfile")] | None = None
    """Filesystem or Block."""
    volume_name: str | None = None
    """Name of the volume."""


class PodDNSConfigOption(Wire):
    name: str | None = None
    """Name of the option."""
    value: str | None = None
    """Its value."""


class PodDNSConfig(Wire):
    nameservers: AtomicList[str] | None = None
    """Addresses of DNS servers."""
    options: AtomicList[PodDNSConfigOption] | None = None
    """Options of the resolver."""
    searches: AtomicList[str] | None = None
    """Search domains."""


class TCPSocketAction(Wire):
    port: IntOrString
    """The port, by number or by name."""
    host: str | None = None
    """Host name; by default the guest's address."""


class Toleration(Wire):
    effect: Annotated[str, one_of("NoExecute", "NoSchedule", "PreferNoSchedule")] | None = None
    """NoSchedule, PreferNoSchedule or NoExecute; all when empty."""
    key: str | None = None
    """Key of the taint; all when empty."""
    operator: Annotated[str, one_of("Equal", "Exists")] | None = None
    """Equal (default) or Exists."""
    toleration_seconds: Int64 | None = None
    """Seconds that a NoExecute taint is tolerated; for ever by default."""
    value: str | None = None
    """Value of the taint."""


class TopologySpreadConstraint(Wire):
    when_unsatisfiable: Annotated[str, one_of("DoNotSchedule", "ScheduleAnyway")]
    """DoNotSchedule or ScheduleAnyway."""
    topology_key: str
    """Label of nodes that says what counts as one place."""
    max_skew: Int32
    """Most by which two places may differ."""
    label_selector: LabelSelector | None = None
    """Pods that count."""
    match_label_keys: AtomicList[str] | None = None
    """Labels in whose values the pods must equal this one."""
    min_domains: Int32 | None = None
    """Least number of places."""
    node_affinity_policy: Annotated[str, one_of("Honor", "Ignore")] | None = None
    """Honor (default) or Ignore."""
    node_taints_policy: Annotated[str, one_of("Honor", "Ignore")] | None = None
    """Honor or Ignore (default)."""
