"""Kinds that are served and that nothing acts on yet: whoever makes such an object is warned.

The API server warns by itself, by an admission policy that never refuses: no webhook is asked.
virt-controller says the same in the object's status, where that has conditions.

https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from virtpod.api.crd import KINDS, Kind

Json = dict[str, Any]

ATTENDED = {
    "KubeVirt",
    "VirtualMachine",
    "VirtualMachineInstance",
    "VirtualMachineInstanceReplicaSet",
    "VirtualMachineInstancePreset",
    "VirtualMachineInstancetype",
    "VirtualMachineClusterInstancetype",
    "VirtualMachinePreference",
    "VirtualMachineClusterPreference",
    "QATNodePolicy",
    "QATNodeState",
}
"""Kinds that something acts on, or by."""

TELLING = {
    "VirtualMachineInstanceMigration",
    "VirtualMachinePool",
    "VirtualMachineSnapshot",
    "VirtualMachineRestore",
    "VirtualMachineExport",
    "VirtualMachineClone",
    "VirtualMachineBackup",
}
"""Those of the others whose status has conditions."""

NAME = "kubevirt-unattended-kinds"


def kinds() -> list[Kind]:
    return [kind for kind in KINDS if kind.kind not in ATTENDED]


def telling() -> list[Kind]:
    return [kind for kind in kinds() if kind.kind in TELLING]


def policy() -> list[Json]:
    """The policy and its binding."""
    rules = [
        {
            "apiGroups": [group],
            "apiVersions": ["*"],
            "operations": ["CREATE"],
            "resources": [kind.plural for kind in members],
        }
        for group, members in groupby(kinds(), key=lambda kind: kind.group)
    ]
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": NAME},
            "spec": {
                "failurePolicy": "Ignore",
                "matchConstraints": {"resourceRules": rules},
                "validations": [
                    {
                        "expression": "false",
                        "messageExpression": "'Virtpod stores a ' + request.kind.kind + "
                        "' and does not act on it yet'",
                        "message": "Virtpod stores this object and does not act on it yet",
                    }
                ],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": f"{NAME}-binding"},
            "spec": {"policyName": NAME, "validationActions": ["Warn"]},
        },
    ]
