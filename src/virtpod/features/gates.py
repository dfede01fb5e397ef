"""Feature gates: which are on, by their stage and the KubeVirt CR.

A GA gate is always on; a beta one is on unless disabled; an alpha one is off unless enabled;
a deprecated one likewise. Precedence: GA, enabled, disabled, beta.
"""

from __future__ import annotations

from virtpod.api.kubevirt import KubeVirtConfiguration

BETA = frozenset(
    [
        "ImageVolume",
        "Snapshot",
        "WorkloadEncryptionSEV",
        "KubevirtSeccompProfile",
        "NodeRestriction",
        "GPUsWithDRA",
        "HostDevicesWithDRA",
        "DecentralizedLiveMigration",
        "DeclarativeHotplugVolumes",
        "PasstBinding",
        "PodSecondaryInterfaceNamingUpgrade",
        "ExternalNetResourceInjection",
        "RebootPolicy",
        "Template",
        "OptOutRoleAggregation",
    ]
)
GA = frozenset(
    [
        "LiveMigration",
        "SRIOVLiveMigration",
        "NonRoot",
        "PSA",
        "CPUNodeDiscovery",
        "NUMA",
        "CommonInstancetypesDeploymentGate",
        "GPU",
        "HotplugNICs",
        "BochsDisplayForEFIGuests",
        "VMLiveUpdateFeatures",
        "NetworkBindingPlugins",
        "DynamicPodInterfaceNaming",
        "VolumesUpdateStrategy",
        "VolumeMigration",
        "DisableCustomSELinuxPolicy",
        "AutoResourceLimitsGate",
        "ClusterProfiler",
        "VMPersistentState",
        "VMExport",
        "PersistentReservation",
        "InstancetypeReferencePolicy",
        "EnableVirtioFsConfigVolumes",
        "ExpandDisks",
        "PanicDevices",
        "LiveUpdateNADRef",
        "VideoConfig",
        "SecureExecution",
        "MigrationPriorityQueue",
        "VmiMemoryOverheadReport",
        "LibvirtHooksServerAndClient",
    ]
)
DEPRECATED = {
    "DockerSELinuxMCSWorkaround": "it has no effect",
    "MultiArchitecture": "it has no effect",
    "DisableMDEVConfiguration": "set mediatedDevicesConfiguration.enabled to false",
    "HotplugVolumes": "DeclarativeHotplugVolumes has taken its place",
}
"""By gate: what to do instead."""
DISCONTINUED = frozenset(
    ["ExperimentalVirtiofsSupport", "Passt", "Macvtap", "PasstIPStackMigration"]
)


def resolve(config: KubeVirtConfiguration) -> frozenset[str]:
    """The gates that are on."""
    developer = config.developer_configuration
    enabled = frozenset((developer and developer.feature_gates) or ()) - DISCONTINUED
    disabled = frozenset((developer and developer.disabled_feature_gates) or ())
    return GA | enabled | (BETA - disabled)
