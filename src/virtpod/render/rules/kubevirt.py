"""KubeVirt: an installation that would stand, and one of it.

Asked by virt-operator, so that a configuration can be mended while virt-api is down.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from virtpod.api.devices import Devices
from virtpod.api.domain import DomainSpec
from virtpod.api.kubevirt import (
    CertConfig,
    ComponentConfig,
    DeveloperConfiguration,
    InterfaceBindingPlugin,
    KubeVirt,
    KubeVirtConfiguration,
    KubeVirtWorkloadUpdateStrategy,
    LiveUpdateConfiguration,
    PermittedHostDevices,
    ReloadableComponentConfiguration,
)
from virtpod.api.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
from virtpod.domain import ciphers, qat, quantity, support
from virtpod.domain.duration import seconds
from virtpod.domain.facts import Cluster
from virtpod.features import gates
from virtpod.features.contract import UNSUPPORTED, Cause
from virtpod.features.network import MANAGED_TAP, PLUGIN_TAP
from virtpod.features.network.multus import is_name
from virtpod.features.placement import scheduling
from virtpod.features.placement.eviction import STRATEGIES as EVICTIONS
from virtpod.render import knobs
from virtpod.render.rules import Asked, Rules
from virtpod.render.rules._common import OPERATIONS, one_of

CONFIG = "spec.configuration"
DEVELOPER = f"{CONFIG}.developerConfiguration"
CERTIFICATES = "spec.certificateRotateStrategy.selfSigned"
TLS = f"{CONFIG}.tlsConfiguration"
SELECTOR = re.compile("[0-9a-f]{4}:[0-9a-f]{4}")
USB_ID = re.compile("[0-9a-fA-F]{1,4}")
RESOURCE = re.compile(
    r"(?!requests\.)(?!.*kubernetes\.io/)[a-z0-9]([-a-z0-9.]{0,242}[a-z0-9])?"
    r"/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
"""An extended resource: what the kubelet lets a device plugin serve."""
TLS_VERSIONS = ("VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13")
PATCH_TYPES = ("json", "merge", "strategic")
UNINSTALLS = ("RemoveWorkloads", "BlockUninstallIfWorkloadsExist")
UPDATES = ("LiveMigrate", "Evict")
BINDINGS = f"{CONFIG}.network.binding"
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
CA_DURATION, SERVER_DURATION = 168 * 3600.0, 24 * 3600.0
"""Seconds, where the object does not say."""


def _causes(asked: Asked[KubeVirt]) -> Iterable[Cause]:
    new = asked.new
    if asked.old is None and (others := asked.seen.get("kubevirts")):
        other = others[0]["metadata"]
        yield Cause(
            "metadata.name",
            "Kubevirt is already created: "
            f"{other.get('namespace')}/{other['name']} is in charge of this cluster",
            UNSUPPORTED,
        )
    spec = new.spec
    yield from one_of("spec.uninstallStrategy", spec.uninstall_strategy, UNINSTALLS)
    yield from _batches(spec.workload_update_strategy)
    yield from _product(new)
    for index, method in enumerate(
        (spec.workload_update_strategy and spec.workload_update_strategy.workload_update_methods)
        or ()
    ):
        where = f"spec.workloadUpdateStrategy.workloadUpdateMethods[{index}]"
        yield from one_of(where, method, UPDATES)
    if spec.infra and spec.infra.replicas == 0:
        yield Cause("spec.infra.replicas", "infra replica count can't be 0")
    for name, part in (("infra", spec.infra), ("workloads", spec.workloads)):
        yield from _placement(f"spec.{name}.nodePlacement", part)
    yield from _certificates(new)
    yield from _patches(new)
    yield from _configuration(spec.configuration or KubeVirtConfiguration())


def _batches(given: KubeVirtWorkloadUpdateStrategy | None) -> Iterable[Cause]:
    where = "spec.workloadUpdateStrategy"
    if given is None:
        return
    if given.batch_eviction_size is not None and given.batch_eviction_size < 1:
        field = f"{where}.batchEvictionSize"
        yield Cause(field, f"{field} must be at least 1; to evict none leave out method Evict")
    yield from _readable(f"{where}.batchEvictionInterval", given.batch_eviction_interval)


def _product(new: KubeVirt) -> Iterable[Cause]:
    spec = new.spec
    for name, value in (
        ("productName", spec.product_name),
        ("productVersion", spec.product_version),
        ("productComponent", spec.product_component),
    ):
        if value and not LABEL.fullmatch(value):
            where = f"spec.{name}"
            yield Cause(
                where,
                f"{where} becomes a label: at most 63 letters, digits, '-', '_' and '.', "
                "with a letter or digit at both ends",
            )


def _placement(where: str, part: ComponentConfig | None) -> Iterable[Cause]:
    """By the rules for guests, which are Kubernetes'."""
    given = part and part.node_placement
    if not given:
        return
    domain = DomainSpec(devices=Devices())
    like = VirtualMachineInstance(
        spec=VirtualMachineInstanceSpec(domain=domain, affinity=given.affinity)
    )
    for cause in scheduling.validate(like, like, Cluster()):
        yield Cause(cause.field.replace("spec", where, 1), cause.message.replace("spec", where, 1))


def _certificates(new: KubeVirt) -> Iterable[Cause]:
    strategy = new.spec.certificate_rotate_strategy
    own = strategy and strategy.self_signed
    if not own:
        return
    old = {
        "caRotateInterval": own.ca_rotate_interval,
        "certRotateInterval": own.cert_rotate_interval,
        "caOverlapInterval": own.ca_overlap_interval,
    }
    if (own.ca or own.server) and any(old.values()):
        names = ", ".join(name for name, value in old.items() if value)
        yield Cause(
            CERTIFICATES,
            f"{CERTIFICATES}: {names} cannot be given beside ca and server",
            UNSUPPORTED,
        )
    found = {}
    for name, value in old.items():
        if value is not None:
            yield from _readable(f"{CERTIFICATES}.{name}", value)
    for name, part, usual in (("ca", own.ca, CA_DURATION), ("server", own.server, SERVER_DURATION)):
        where = f"{CERTIFICATES}.{name}"
        causes = list(_lifetime(where, part, usual))
        yield from causes
        if not causes:
            found[name] = seconds(part.duration) if part and part.duration else usual
    if found.get("server", 0) > found.get("ca", found.get("server", 0)):
        yield Cause(
            f"{CERTIFICATES}.server.duration",
            f"{CERTIFICATES}.server.duration must not be longer than ca.duration: "
            "what an authority signed shall not outlive it",
        )


def _lifetime(where: str, given: CertConfig | None, usual: float) -> Iterable[Cause]:
    if given is None:
        return
    bad = [
        *_readable(f"{where}.duration", given.duration),
        *_readable(f"{where}.renewBefore", given.renew_before),
    ]
    yield from bad
    if bad:
        return
    lasts = seconds(given.duration) if given.duration else usual
    if lasts <= 0:
        yield Cause(f"{where}.duration", f"{where}.duration must be longer than nothing")
    elif given.renew_before and seconds(given.renew_before) >= lasts:
        message = f"{where}.renewBefore must be shorter than the certificate lasts"
        yield Cause(f"{where}.renewBefore", message)


def _readable(where: str, duration: str | None) -> Iterable[Cause]:
    try:
        seconds(duration or "0s")
    except ValueError as error:
        yield Cause(where, f"{where}: {error}")


def _patches(new: KubeVirt) -> Iterable[Cause]:
    custom = new.spec.customize_components
    for index, patch in enumerate((custom and custom.patches) or ()):
        where = f"spec.customizeComponents.patches[{index}]"
        yield from one_of(f"{where}.type", patch.type, PATCH_TYPES)
        try:
            value = msgspec.json.decode(patch.patch)
        except (msgspec.DecodeError, RecursionError) as error:
            yield Cause(f"{where}.patch", f"{where}.patch is not JSON: {error}")
            continue
        operations = isinstance(value, list) and all(
            isinstance(each, dict) and each.get("op") in OPERATIONS for each in value
        )
        if patch.type == "json" and not operations:
            message = f"{where}.patch of type json must be a list of JSON Patch operations"
            yield Cause(f"{where}.patch", message)
        elif patch.type in ("merge", "strategic") and not isinstance(value, dict):
            message = f"{where}.patch of type {patch.type} must be an object"
            yield Cause(f"{where}.patch", message)


def _configuration(config: KubeVirtConfiguration) -> Iterable[Cause]:
    developer = config.developer_configuration
    on = gates.resolve(config)
    both = set((developer and developer.feature_gates) or ()) & set(
        (developer and developer.disabled_feature_gates) or ()
    )
    if both:
        where = f"{DEVELOPER}.disabledFeatureGates"
        yield Cause(
            where, f"{where}: {', '.join(sorted(both))} cannot be both enabled and disabled"
        )
    tls = config.tls_configuration
    if tls:
        yield from one_of(f"{TLS}.minTLSVersion", tls.min_tls_version, TLS_VERSIONS)
        if tls.ciphers and tls.min_tls_version in (None, "", "VersionTLS13"):
            yield Cause(
                f"{TLS}.ciphers",
                f"You cannot specify ciphers when {TLS}.minTLSVersion is empty or VersionTLS13",
            )
    for index, name in enumerate((tls and tls.ciphers) or ()):
        if not ciphers.of_openssl([name]):
            where = f"{TLS}.ciphers[{index}]"
            yield Cause(
                where,
                f"{where}: {name} is not a valid cipher; one of {', '.join(ciphers.SUITES)}",
                UNSUPPORTED,
            )
    for name, asked in (
        ("apiConfiguration", config.api_configuration),
        ("controllerConfiguration", config.controller_configuration),
        ("handlerConfiguration", config.handler_configuration),
        ("webhookConfiguration", config.webhook_configuration),
    ):
        yield from _limit(f"{CONFIG}.{name}", asked)
    yield from _amounts(config)
    yield from _containers(config)
    yield from _hypervisors(config, on)
    yield from _ratio(config.additional_guest_memory_overhead_ratio)
    yield from _growth(config.live_update_configuration)
    profile = (
        config.seccomp_configuration
        and config.seccomp_configuration.virtual_machine_instance_profile
    )
    custom = profile and profile.custom_profile
    if custom and (custom.localhost_profile is None) == (not custom.runtime_default_profile):
        where = f"{CONFIG}.seccompConfiguration.virtualMachineInstanceProfile.customProfile"
        yield Cause(
            where, f"{where} must have exactly one of localhostProfile and runtimeDefaultProfile"
        )
    if config.virt_template_deployment and "Template" not in on:
        where = f"{CONFIG}.virtTemplateDeployment"
        yield Cause(where, f"{where}: Template feature gate is not enabled", UNSUPPORTED)
    if config.role_aggregation_strategy and "OptOutRoleAggregation" not in on:
        where = f"{CONFIG}.roleAggregationStrategy"
        message = f"{where}: OptOutRoleAggregation feature gate is not enabled"
        yield Cause(where, message, UNSUPPORTED)
    network, instancetype = config.network, config.instancetype
    for plugin, given in ((network and network.binding) or {}).items():
        yield from _binding(f"{BINDINGS}[{plugin}]", given)
    for name, value, known in (
        ("evictionStrategy", config.eviction_strategy, EVICTIONS),
        ("vmRolloutStrategy", config.vm_rollout_strategy, ("LiveUpdate", "Stage")),
        (
            "roleAggregationStrategy",
            config.role_aggregation_strategy,
            ("AggregateToDefault", "Manual"),
        ),
        (
            "network.defaultNetworkInterface",
            network and network.default_network_interface,
            ("bridge", "masquerade"),
        ),
        (
            "instancetype.referencePolicy",
            instancetype and instancetype.reference_policy,
            ("reference", "expand", "expandAll"),
        ),
    ):
        yield from one_of(f"{CONFIG}.{name}", value or None, known)


def _binding(where: str, plugin: InterfaceBindingPlugin) -> Iterable[Cause]:
    """A network binding plugin."""
    migration = plugin.migration
    for name, value, known in (
        ("domainAttachmentType", plugin.domain_attachment_type, (PLUGIN_TAP, MANAGED_TAP)),
        ("downwardAPI", plugin.downward_api, ("device-info",)),
        ("migration.method", migration and migration.method, ("link-refresh",)),
    ):
        yield from one_of(f"{where}.{name}", value or None, known)
    definition = plugin.network_attachment_definition
    if definition and not is_name(definition):
        field = f"{where}.networkAttachmentDefinition"
        yield Cause(
            field,
            f"{field} {definition!r} is not the name of a NetworkAttachmentDefinition, "
            "like name or namespace/name",
        )
    overhead = plugin.compute_resource_overhead
    for part, amounts in (
        ("requests", overhead and overhead.requests),
        ("limits", overhead and overhead.limits),
    ):
        for resource, amount in (amounts or {}).items():
            field = f"{where}.computeResourceOverhead.{part}.{resource}"
            try:
                negative = quantity.parse(amount) < 0
            except ValueError as error:
                yield Cause(field, f"{field}: {error}")
            else:
                if negative:
                    yield Cause(field, f"{field} must not be negative")


def _plugins(config: KubeVirtConfiguration) -> Iterable[str]:
    """Network binding plugins of which a part does nothing."""
    for name, plugin in ((config.network and config.network.binding) or {}).items():
        if not plugin.sidecar_image and not plugin.domain_attachment_type:
            yield (
                f"{BINDINGS}[{name}] has neither sidecarImage nor domainAttachmentType: nothing "
                "joins a guest to its network"
            )
        overhead = plugin.compute_resource_overhead
        for resource in {**((overhead and overhead.requests) or {})}.keys() - {"memory"}:
            yield (
                f"{BINDINGS}[{name}].computeResourceOverhead: {resource} is not added to the "
                "compute container; memory is"
            )


def _limit(where: str, given: ReloadableComponentConfiguration | None) -> Iterable[Cause]:
    limiter = given and given.rest_client and given.rest_client.rate_limiter
    bucket = limiter and limiter.token_bucket_rate_limiter
    if not bucket:
        return
    base = f"{where}.restClient.rateLimiter.tokenBucketRateLimiter"
    if bucket.qps <= 0:
        yield Cause(f"{base}.qps", f"{base}.qps must be greater than 0; leave it out for no limit")
    if bucket.burst < 1:
        yield Cause(f"{base}.burst", f"{base}.burst must be at least 1: nothing could be asked")


def _amounts(config: KubeVirtConfiguration) -> Iterable[Cause]:
    """Numbers that have a least, and quantities."""
    developer = config.developer_configuration or DeveloperConfiguration()
    guests, stats = config.virtual_machine_instances_per_node, config.mem_balloon_stats_period
    for name, value, least in (
        ("virtualMachineInstancesPerNode", guests, 1),
        ("memBalloonStatsPeriod", stats, 0),
        ("developerConfiguration.cpuAllocationRatio", developer.cpu_allocation_ratio, 1),
        ("developerConfiguration.memoryOvercommit", developer.memory_overcommit, 1),
        (
            "developerConfiguration.minimumReservePVCBytes",
            developer.minimum_reserve_pvc_bytes,
            0,
        ),
        (
            "developerConfiguration.pvcTolerateLessSpaceUpToPercent",
            developer.pvc_tolerate_less_space_up_to_percent,
            0,
        ),
    ):
        if value is not None and value < least:
            yield Cause(f"{CONFIG}.{name}", f"{CONFIG}.{name} must be at least {least}")
    percent = developer.pvc_tolerate_less_space_up_to_percent
    if percent is not None and percent > 100:
        where = f"{DEVELOPER}.pvcTolerateLessSpaceUpToPercent"
        yield Cause(where, f"{where} must be at most 100")
    where = f"{CONFIG}.cpuRequest"
    try:
        if config.cpu_request is not None and quantity.milli(config.cpu_request) <= 0:
            yield Cause(where, f"{where} must be greater than 0")
    except ValueError as error:
        yield Cause(where, f"{where}: {error}")


def _containers(config: KubeVirtConfiguration) -> Iterable[Cause]:
    known = (*support.KINDS, *support.ABSENT)
    for index, each in enumerate(config.support_container_resources or ()):
        where = f"{CONFIG}.supportContainerResources[{index}]"
        yield from one_of(f"{where}.type", each.type, known)
        for name in ("limits", "requests"):
            for resource, amount in (getattr(each.resources, name) or {}).items():
                here = f"{where}.resources.{name}.{resource}"
                try:
                    if quantity.milli(amount) < 0:
                        yield Cause(here, f"{here} must not be negative")
                except ValueError as error:
                    yield Cause(here, f"{here}: {error}")


def _hypervisors(config: KubeVirtConfiguration, on: frozenset[str]) -> Iterable[Cause]:
    where = f"{CONFIG}.hypervisors"
    given = config.hypervisors or []
    if given and "ConfigurableHypervisor" not in on:
        yield Cause(
            where, f"{where}: ConfigurableHypervisor feature gate is not enabled", UNSUPPORTED
        )
    if len(given) > 1:
        yield Cause(where, f"{where} can name one hypervisor, not {len(given)}")
    for index, each in enumerate(given):
        yield from one_of(f"{where}[{index}].name", each.name, ("kvm", "hyperv-direct"))


def _ratio(given: str | None) -> Iterable[Cause]:
    if not given:
        return
    where = f"{CONFIG}.additionalGuestMemoryOverheadRatio"
    try:
        enough = float(given) >= 1.0
    except ValueError:
        yield Cause(where, f"{where} {given!r} is not a decimal number such as 1.25")
    else:
        if not enough:
            yield Cause(where, f"{where} must be at least 1.0")


def _growth(given: LiveUpdateConfiguration | None) -> Iterable[Cause]:
    """How far a guest may grow while it runs."""
    if given is None:
        return
    base = f"{CONFIG}.liveUpdateConfiguration"
    for name, value in (
        ("maxHotplugRatio", given.max_hotplug_ratio),
        ("maxCpuSockets", given.max_cpu_sockets),
    ):
        if value is not None and value < 1:
            yield Cause(f"{base}.{name}", f"{base}.{name} must be at least 1")
    where = f"{base}.maxGuest"
    try:
        if given.max_guest is not None and quantity.parse(given.max_guest) <= 0:
            yield Cause(where, f"{where} must be greater than 0")
    except ValueError as error:
        yield Cause(where, f"{where}: {error}")


def _warnings(asked: Asked[KubeVirt]) -> Iterable[str]:
    config = asked.new.spec.configuration or KubeVirtConfiguration()
    yield from _deprecated(asked.new, config)
    developer = config.developer_configuration
    for gate in (developer and developer.feature_gates) or ():
        if gate in gates.GA:
            yield f"feature gate {gate} is always on; naming it has no effect"
        elif gate in gates.DEPRECATED:
            yield f"feature gate {gate} is deprecated: {gates.DEPRECATED[gate]}"
        elif gate in gates.DISCONTINUED:
            yield f"feature gate {gate} is discontinued and has no effect"
    for gate in (developer and developer.disabled_feature_gates) or ():
        if gate in gates.GA:
            yield f"feature gate {gate} is always on; it cannot be disabled"
    yield from knobs.idle(asked.new.spec)
    update = asked.new.spec.workload_update_strategy
    if "LiveMigrate" in ((update and update.workload_update_methods) or ()):
        where = "spec.workloadUpdateStrategy.workloadUpdateMethods"
        yield f"{where}: LiveMigrate has no effect until guests can migrate"
    tls = config.tls_configuration
    if tls and tls.min_tls_version in ("VersionTLS10", "VersionTLS11"):
        yield f"{TLS}.minTLSVersion: versions older than 1.2 are not spoken"
    if tls and tls.ciphers and not ciphers.fit(tls.ciphers):
        yield (
            f"{TLS}.ciphers names no suite with ECDSA, which Virtpod's certificates are of: who "
            "speaks TLS 1.2 at most cannot connect"
        )
    for index, each in enumerate(config.support_container_resources or ()):
        if each.type in support.ABSENT:
            yield (
                f"{CONFIG}.supportContainerResources[{index}] has no effect: "
                f"{each.type} is no container here"
            )
    yield from _selectors(config)
    yield from _plugins(config)


def _selectors(config: KubeVirtConfiguration) -> Iterable[str]:
    """Devices that are named so that no guest will get one."""
    permitted = config.permitted_host_devices or PermittedHostDevices()
    for kind, names in (
        ("pciHostDevices", [each.resource_name for each in permitted.pci_host_devices or ()]),
        ("mediatedDevices", [each.resource_name for each in permitted.mediated_devices or ()]),
        ("usb", [each.resource_name for each in permitted.usb or ()]),
    ):
        for index, name in enumerate(names):
            if not RESOURCE.fullmatch(name):
                yield (
                    f"{CONFIG}.permittedHostDevices.{kind}[{index}].resourceName {name!r} is none "
                    "that a device plugin can serve: write it as vendor.com/name"
                )
    for index, device in enumerate(permitted.usb or ()):
        where = f"{CONFIG}.permittedHostDevices.usb[{index}].selectors"
        ids = [id for each in device.selectors or () for id in (each.vendor, each.product)]
        wrong = [id for id in ids if not USB_ID.fullmatch(id)]
        if wrong or not (ids or device.external_resource_provider):
            yield (
                f"{where} {wrong[0]!r} matches no device" if wrong else f"{where} is empty"
            ) + ": write vendor and product as 46f4 and 0001"
    for index, given in enumerate(permitted.pci_host_devices or ()):
        where = f"{CONFIG}.permittedHostDevices.pciHostDevices[{index}].pciVendorSelector"
        selector = given.pci_vendor_selector.lower()
        if not SELECTOR.fullmatch(selector):
            yield (
                f"{where} {given.pci_vendor_selector!r} matches no device: "
                "write vendor and product as 8086:4941"
            )
        elif whole := qat.PHYSICAL.get(selector):
            yield (
                f"{where} {selector} is the physical function of QAT {whole.name}: once it has "
                f"virtual ones it is not given to guests; theirs is {whole.virtual}"
            )
        elif denied := qat.DENIED.get(selector):
            yield (
                f"{where} {selector} ({denied}) is on vfio-pci's deny list: load it with "
                "disable_denylist=1 on the nodes"
            )


def _deprecated(new: KubeVirt, config: KubeVirtConfiguration) -> Iterable[str]:
    arch = config.architecture_configuration
    mdev, network = config.mediated_devices_configuration, config.network
    strategy = new.spec.certificate_rotate_strategy
    own = strategy and strategy.self_signed
    nodes = (mdev and mdev.node_mediated_device_types) or ()
    by_architecture = "use architectureConfiguration"
    for where, given, instead in (
        (f"{CONFIG}.emulatedMachines", config.emulated_machines, by_architecture),
        (f"{CONFIG}.machineType", config.machine_type, by_architecture),
        (f"{CONFIG}.ovmfPath", config.ovmf_path, by_architecture),
        (f"{CONFIG}.minCPUModel", config.min_cpu_model, "it has no effect"),
        (
            f"{CONFIG}.supportedGuestAgentVersions",
            config.supported_guest_agent_versions,
            "it has no effect",
        ),
        (
            f"{CONFIG}.architectureConfiguration.ppc64le",
            arch and arch.ppc64le,
            "it has no effect",
        ),
        (
            f"{CONFIG}.mediatedDevicesConfiguration.mediatedDevicesTypes",
            (mdev and mdev.mediated_devices_types) or any(n.mediated_devices_types for n in nodes),
            "use mediatedDeviceTypes",
        ),
        (
            f"{CONFIG}.network.permitSlirpInterface",
            network and network.permit_slirp_interface,
            "slirp is gone",
        ),
        (f"{CERTIFICATES}.caRotateInterval", own and own.ca_rotate_interval, "use ca.duration"),
        (
            f"{CERTIFICATES}.caOverlapInterval",
            own and own.ca_overlap_interval,
            "use ca.renewBefore",
        ),
        (
            f"{CERTIFICATES}.certRotateInterval",
            own and own.cert_rotate_interval,
            "use server.duration",
        ),
    ):
        if given:
            yield f"{where} is deprecated: {instead}"


RULES = Rules(KubeVirt, _causes, warnings=_warnings)
