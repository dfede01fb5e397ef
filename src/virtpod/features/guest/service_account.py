"""The service account of the launcher's pod, by which a mesh or an admission policy knows it.

The guest itself gets a token by a volume of type serviceAccount.
https://kubernetes.io/docs/concepts/security/service-accounts/
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster
from virtpod.features.contract import Cause, Feature, PodPart

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def asked(vmi: VMI) -> str | None:
    return vmi.spec.service_account_name


def validate(name: str, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    if len(name) > 253 or not _NAME.fullmatch(name):
        yield Cause(
            "spec.serviceAccountName",
            f"spec.serviceAccountName {name!r} is not the name of a service account: lower-case "
            "letters, digits, '-' and '.'",
        )


def pod(name: str, vmi: VMI, cluster: Cluster) -> PodPart:
    return PodPart(spec={"serviceAccountName": name})


FEATURE = Feature(
    name="service_account",
    owns=("serviceAccountName",),
    asked=asked,
    validate=validate,
    pod=pod,
)
