"""The service account of the launcher's pod, by which a mesh or an admission policy knows it.

The guest itself gets a token by a volume of type serviceAccount.
https://kubernetes.io/docs/concepts/security/service-accounts/
"""

from __future__ import annotations

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster
from virtpod.features.contract import Feature, PodPart


def asked(vmi: VMI) -> str | None:
    return vmi.spec.service_account_name


def pod(name: str, vmi: VMI, cluster: Cluster) -> PodPart:
    return PodPart(spec={"serviceAccountName": name})


FEATURE = Feature(
    name="service_account",
    owns=("serviceAccountName",),
    asked=asked,
    pod=pod,
)
