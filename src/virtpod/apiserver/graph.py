"""The objects that a machine stands on, as a tree; from its own spec and status alone.

Each node has the label `kubevirt.io/dependency-type`: what it is for. What follows from the rest,
and would be made again, is optional: the instance and its pod, instance types and their copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from virtpod.api.core import TypedObjectReference
from virtpod.api.graph import ObjectGraphNode, ObjectGraphOptions
from virtpod.api.vm import VirtualMachine
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.api.volumes import Volume
from virtpod.controllers import instancetype
from virtpod.domain.selector import selects
from virtpod.features.machine import state
from virtpod.kube.resources import (
    CONFIGMAPS,
    CONTROLLER_REVISIONS,
    DATA_VOLUMES,
    NADS,
    PODS,
    PVCS,
    SECRETS,
    SERVICE_ACCOUNTS,
    VMIS,
    VMS,
    Resource,
)
from virtpod.render.pod import pod_name

TYPE = "kubevirt.io/dependency-type"
COMPUTE, STORAGE, NETWORK, CONFIG = "compute", "storage", "network", "config"


def of_vm(vm: VirtualMachine, vmi: VirtualMachineInstance | None) -> ObjectGraphNode:
    """Its instance, where there is one, has the rest below it."""
    namespace = vm.metadata.namespace or ""
    below = list(_chosen(vm, namespace))
    for template in vm.spec.data_volume_templates or ():
        name = (template.metadata and template.metadata.name) or ""
        below.append(_node(DATA_VOLUMES, name, namespace, STORAGE))
    spec = vm.spec.template.spec
    if vmi is not None:
        below.append(of_vmi(vmi))
    elif spec is not None:
        below += _stands_on(VirtualMachineInstance(metadata=vm.metadata, spec=spec))
    return _node(VMS, vm.metadata.name or "", namespace, COMPUTE, below)


def of_vmi(vmi: VirtualMachineInstance) -> ObjectGraphNode:
    """With its pod."""
    namespace = vmi.metadata.namespace or ""
    pod = _node(PODS, pod_name(vmi), namespace, COMPUTE, optional=True)
    below = [pod, *_stands_on(vmi)]
    return _node(VMIS, vmi.metadata.name or "", namespace, COMPUTE, below, optional=True)


def shown(root: ObjectGraphNode, options: ObjectGraphOptions) -> ObjectGraphNode:
    """What of the tree was asked for; the root is always there."""
    kept = [
        shown(each, options)
        for each in root.children or ()
        if (options.include_optional_nodes is not False or not each.optional)
        and selects(options.label_selector, each.labels or {})
    ]
    return ObjectGraphNode(
        object_reference=root.object_reference,
        optional=root.optional,
        labels=root.labels,
        children=kept or None,
    )


def _chosen(vm: VirtualMachine, namespace: str) -> Iterator[ObjectGraphNode]:
    """Instance type and preference, with the copies that are in use."""
    for which in instancetype.KINDS:
        matcher, used = getattr(vm.spec, which), getattr(vm.status, f"{which}_ref", None)
        kind = matcher and instancetype.resource(which, matcher.kind)
        if not matcher or not matcher.name or not kind:
            continue
        copy = (used and used.controller_revision_ref) or None
        revision = (copy and copy.name) or matcher.revision_name
        below = []
        if revision:
            below.append(_node(CONTROLLER_REVISIONS, revision, namespace, CONFIG, optional=True))
        place = namespace if kind.namespaced else ""
        yield _node(kind, matcher.name, place, CONFIG, below, optional=True)


def _stands_on(vmi: VirtualMachineInstance) -> Iterator[ObjectGraphNode]:
    namespace, spec = vmi.metadata.namespace or "", vmi.spec
    for volume in spec.volumes or ():
        for resource, name, kind in _behind(volume):
            yield _node(resource, name, namespace, kind)
    if state.asked(vmi):
        yield _node(PVCS, state.name(vmi), namespace, STORAGE)
    for network in spec.networks or ():
        if network.multus:
            place, _, name = network.multus.network_name.rpartition("/")
            yield _node(NADS, name, place or namespace, NETWORK)


def _behind(volume: Volume) -> Iterator[tuple[Resource, str, str]]:
    claim = volume.persistent_volume_claim or (
        volume.ephemeral and volume.ephemeral.persistent_volume_claim
    )
    if claim:
        yield PVCS, claim.claim_name, STORAGE
    if volume.data_volume:
        yield DATA_VOLUMES, volume.data_volume.name, STORAGE
        yield PVCS, volume.data_volume.name, STORAGE
    for cloud_init in (volume.cloud_init_no_cloud, volume.cloud_init_config_drive):
        if cloud_init:
            for secret in (cloud_init.secret_ref, cloud_init.network_data_secret_ref):
                if secret and secret.name:
                    yield SECRETS, secret.name, CONFIG
    if volume.secret and volume.secret.secret_name:
        yield SECRETS, volume.secret.secret_name, CONFIG
    if volume.config_map and volume.config_map.name:
        yield CONFIGMAPS, volume.config_map.name, CONFIG
    if volume.service_account and volume.service_account.service_account_name:
        yield SERVICE_ACCOUNTS, volume.service_account.service_account_name, CONFIG
    if volume.sysprep and volume.sysprep.secret and volume.sysprep.secret.name:
        yield SECRETS, volume.sysprep.secret.name, CONFIG
    if volume.sysprep and volume.sysprep.config_map and volume.sysprep.config_map.name:
        yield CONFIGMAPS, volume.sysprep.config_map.name, CONFIG


def _node(
    resource: Resource,
    name: str,
    namespace: str,
    kind: str,
    children: Sequence[ObjectGraphNode] = (),
    *,
    optional: bool = False,
) -> ObjectGraphNode:
    return ObjectGraphNode(
        object_reference=TypedObjectReference(
            name=name, kind=resource.kind, api_group=resource.group, namespace=namespace or None
        ),
        optional=optional,
        labels={TYPE: kind},
        children=list(children) or None,
    )
