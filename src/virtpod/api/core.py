"""The parts of Kubernetes' core/v1 that virtual machine specs embed (affinity, probes, volumes).

Shape: https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

from typing import Annotated

from virtpod.api.base import AtomicList, Int32, Int64, IntOrString, Quantity, Wire, one_of
from virtpod.api.meta import LabelSelector


class NodeSelectorRequirement(Wire):
    operator: Annotated[str, one_of("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")]
    key: str
    values: AtomicList[str] | None = None


class NodeSelectorTerm(Wire):
    match_expressions: AtomicList[NodeSelectorRequirement] | None = None
    match_fields: AtomicList[NodeSelectorRequirement] | None = None


class NodeSelector(Wire):
    node_selector_terms: AtomicList[NodeSelectorTerm]


class PreferredSchedulingTerm(Wire):
    weight: Int32
    preference: NodeSelectorTerm


class NodeAffinity(Wire):
    preferred_during_scheduling_ignored_during_execution: (
        AtomicList[PreferredSchedulingTerm] | None
    ) = None
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class PodAffinityTerm(Wire):
    topology_key: str
    label_selector: LabelSelector | None = None
    match_label_keys: AtomicList[str] | None = None
    mismatch_label_keys: AtomicList[str] | None = None
    namespace_selector: LabelSelector | None = None
    namespaces: AtomicList[str] | None = None


class WeightedPodAffinityTerm(Wire):
    weight: Int32
    pod_affinity_term: PodAffinityTerm


class PodAffinity(Wire):
    preferred_during_scheduling_ignored_during_execution: (
        AtomicList[WeightedPodAffinityTerm] | None
    ) = None
    required_during_scheduling_ignored_during_execution: AtomicList[PodAffinityTerm] | None = None


class PodAntiAffinity(Wire):
    preferred_during_scheduling_ignored_during_execution: (
        AtomicList[WeightedPodAffinityTerm] | None
    ) = None
    required_during_scheduling_ignored_during_execution: AtomicList[PodAffinityTerm] | None = None


class Affinity(Wire):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class CorePersistentVolumeClaimVolumeSource(Wire):
    claim_name: str
    read_only: bool | None = None


class ObjectFieldSelector(Wire):
    field_path: str
    api_version: str | None = None


class ResourceFieldSelector(Wire):
    resource: str
    container_name: str | None = None
    divisor: Quantity | None = None


class DownwardAPIVolumeFile(Wire):
    path: str
    field_ref: ObjectFieldSelector | None = None
    mode: Int32 | None = None
    resource_field_ref: ResourceFieldSelector | None = None


class ExecAction(Wire):
    command: AtomicList[str] | None = None


class HTTPHeader(Wire):
    value: str
    name: str


class HTTPGetAction(Wire):
    port: IntOrString
    host: str | None = None
    http_headers: AtomicList[HTTPHeader] | None = None
    path: str | None = None
    scheme: Annotated[str, one_of("HTTP", "HTTPS")] | None = None


class LocalObjectReference(Wire):
    name: str | None = None


class TypedLocalObjectReference(Wire):
    name: str
    kind: str
    api_group: str | None = None


class TypedObjectReference(Wire):
    name: str
    kind: str
    api_group: str | None = None
    namespace: str | None = None


class VolumeResourceRequirements(Wire):
    limits: dict[str, Quantity] | None = None
    requests: dict[str, Quantity] | None = None


class PersistentVolumeClaimSpec(Wire):
    access_modes: (
        AtomicList[
            Annotated[
                str, one_of("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
            ]
        ]
        | None
    ) = None
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    resources: VolumeResourceRequirements | None = None
    selector: LabelSelector | None = None
    storage_class_name: str | None = None
    volume_attributes_class_name: str | None = None
    volume_mode: Annotated[str, one_of("Block", "Filesystem", "FromStorageProfile")] | None = None
    volume_name: str | None = None


class PodDNSConfigOption(Wire):
    name: str | None = None
    value: str | None = None


class PodDNSConfig(Wire):
    nameservers: AtomicList[str] | None = None
    options: AtomicList[PodDNSConfigOption] | None = None
    searches: AtomicList[str] | None = None


class TCPSocketAction(Wire):
    port: IntOrString
    host: str | None = None


class Toleration(Wire):
    effect: Annotated[str, one_of("NoExecute", "NoSchedule", "PreferNoSchedule")] | None = None
    key: str | None = None
    operator: Annotated[str, one_of("Equal", "Exists")] | None = None
    toleration_seconds: Int64 | None = None
    value: str | None = None


class TopologySpreadConstraint(Wire):
    when_unsatisfiable: Annotated[str, one_of("DoNotSchedule", "ScheduleAnyway")]
    topology_key: str
    max_skew: Int32
    label_selector: LabelSelector | None = None
    match_label_keys: AtomicList[str] | None = None
    min_domains: Int32 | None = None
    node_affinity_policy: Annotated[str, one_of("Honor", "Ignore")] | None = None
    node_taints_policy: Annotated[str, one_of("Honor", "Ignore")] | None = None
