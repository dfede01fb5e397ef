"""A component's view of the installation: the KubeVirt CR, and what its container was told.

The last configuration that could be read stays in force: a CR that a newer version wrote, or that
is gone for a moment, must not change what a VM is admitted or run with.
"""

from __future__ import annotations

import logging
import os
import platform
from dataclasses import dataclass

import msgspec

from virtpod.api.kubevirt import (
    KubeVirt,
    KubeVirtConfiguration,
    ReloadableComponentConfiguration,
    TLSConfiguration,
)
from virtpod.domain import ciphers
from virtpod.domain.facts import Cluster
from virtpod.features import gates
from virtpod.kube import log as logs
from virtpod.kube import tls
from virtpod.kube.client import Client

log = logging.getLogger(__name__)

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "s390x": "s390x"}


@dataclass(frozen=True)
class Container:
    """What the environment says."""

    namespace: str
    pod: str
    launcher_image: str
    image_volumes: bool
    guestfs_image: str = ""

    @staticmethod
    def probe() -> Container:
        """From the variables that virt-operator sets."""
        return Container(
            namespace=os.environ.get("POD_NAMESPACE", "kubevirt"),
            pod=os.environ.get("POD_NAME") or platform.node(),
            launcher_image=os.environ.get("VIRT_LAUNCHER_IMAGE", ""),
            image_volumes=os.environ.get("VIRTPOD_IMAGE_VOLUMES", "").lower() == "true",
            guestfs_image=os.environ.get("GS_IMAGE", ""),
        )


def project(raw: bytes) -> KubeVirt | None:
    """The CR, or None where it cannot be read."""
    try:
        return msgspec.json.decode(raw, type=KubeVirt)
    except msgspec.DecodeError as error:
        log.warning("the KubeVirt resource cannot be read", extra={"error": str(error)})
        return None


class Installation:
    """Keeps `cluster` in step with the CR."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.cluster = self._facts(KubeVirtConfiguration(), "")

    def changed(self, kubevirt: KubeVirt | None) -> None:
        """Takes in a CR; None changes nothing."""
        if kubevirt is not None:
            config = kubevirt.spec.configuration or KubeVirtConfiguration()
            self.cluster = self._facts(config, kubevirt.status.default_architecture or "")

    def _facts(self, config: KubeVirtConfiguration, architecture: str) -> Cluster:
        here = platform.machine()
        wanted = config.architecture_configuration
        architecture = (wanted and wanted.default_architecture) or architecture
        return Cluster(
            config=config,
            gates=gates.resolve(config),
            namespace=self._container.namespace,
            launcher_image=self._container.launcher_image,
            image_pull_policy=config.image_pull_policy or Cluster.image_pull_policy,
            architecture=architecture or _MACHINES.get(here, here),
            image_volumes=self._container.image_volumes,
        )


def verbosity(kubevirt: KubeVirt | None, component: str, node: str = "") -> int | None:
    """How much a component shall log; `component` is a field of LogVerbosity."""
    config = kubevirt.spec.configuration if kubevirt else None
    developer = config.developer_configuration if config else None
    wanted = developer.log_verbosity if developer else None
    if wanted is None:
        return None
    own = (wanted.node_verbosity or {}).get(node) if node else None
    found: int | None = getattr(wanted, component) if own is None else own
    return found


def obeyed(
    kubevirt: KubeVirt | None, client: Client, component: str, limits: str = "", node: str = ""
) -> None:
    """What a process does as the CR says, whatever it is for: logs, TLS, and how often it asks.

    `component` is a field of LogVerbosity, `limits` one of KubeVirtConfiguration; "": nothing
    limits it. A CR that is gone for a moment changes nothing.
    """
    if kubevirt is None:
        return
    config = kubevirt.spec.configuration or KubeVirtConfiguration()
    logs.verbosity(verbosity(kubevirt, component, node))
    asked = config.tls_configuration or TLSConfiguration()
    tls.require(asked.min_tls_version or "", ciphers.of_openssl(asked.ciphers or ()))
    given: ReloadableComponentConfiguration | None = getattr(config, limits) if limits else None
    limiter = given and given.rest_client and given.rest_client.rate_limiter
    bucket = limiter and limiter.token_bucket_rate_limiter
    client.limiter.limit(*((bucket.qps, bucket.burst) if bucket else (0.0, 0)))
