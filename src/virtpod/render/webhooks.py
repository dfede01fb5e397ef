"""What the API server is told to ask virt-api: admission webhooks and the aggregated API.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from virtpod.render.rbac import CHOICES

Json = dict[str, Any]

SERVICE, OPERATOR_SERVICE = "virt-api", "kubevirt-operator-webhook"
TIMEOUT = 10
COMPONENTS = (
    "kubevirt-controller",
    "kubevirt-handler",
    "kubevirt-apiserver",
    "kubevirt-operator",
)
"""Service accounts whose updates need no second look: they write statuses, finalizers and run
strategies."""


@dataclass(frozen=True)
class Webhook:
    name: str
    path: str
    resource: str
    operations: tuple[str, ...]
    not_ours: bool = False
    """Updates by the components themselves are not asked about."""
    group: str = "kubevirt.io"
    versions: tuple[str, ...] = ("v1", "v1alpha3")
    only: str = ""
    """A condition on the request, in CEL."""
    side_effects: str = "None"
    service: str = SERVICE
    failure: str = "Fail"


SNAPSHOT, CLONE, BACKUP = "snapshot.kubevirt.io", "clone.kubevirt.io", "backup.kubevirt.io"


def _kind(plural: str, path: str, name: str = "", group: str = "kubevirt.io") -> Webhook:
    """For a kind that is no machine, in all its versions."""
    return Webhook(
        f"{name or plural.removesuffix('s')}-validator.{group}",
        path,
        plural,
        ("CREATE", "UPDATE"),
        group=group,
        versions=("*",),
    )


MUTATING = (
    Webhook(
        "virtualmachines-mutator.kubevirt.io",
        "/virtualmachines-mutate",
        "virtualmachines",
        ("CREATE", "UPDATE"),
        not_ours=True,
    ),
    Webhook(
        "virtualmachineinstances-mutator.kubevirt.io",
        "/virtualmachineinstances-mutate",
        "virtualmachineinstances",
        ("CREATE", "UPDATE"),
        not_ours=True,
        # Events about presets.
        side_effects="NoneOnDryRun",
    ),
    Webhook(
        "migrations-mutator.kubevirt.io",
        "/migration-mutate-create",
        "virtualmachineinstancemigrations",
        ("CREATE",),
    ),
    Webhook(
        "virtualmachineclones-mutator.kubevirt.io",
        "/vm-clone-mutate-create",
        "virtualmachineclones",
        ("CREATE",),
        group=CLONE,
        versions=("*",),
    ),
)
VALIDATING = (
    Webhook(
        "virtualmachineinstances-create-validator.kubevirt.io",
        "/virtualmachineinstances-validate-create",
        "virtualmachineinstances",
        ("CREATE",),
    ),
    Webhook(
        "virtualmachineinstances-update-validator.kubevirt.io",
        "/virtualmachineinstances-validate-update",
        "virtualmachineinstances",
        ("UPDATE",),
        not_ours=True,
    ),
    Webhook(
        "virtualmachine-validator.kubevirt.io",
        "/virtualmachines-validate",
        "virtualmachines",
        ("CREATE", "UPDATE"),
        not_ours=True,
    ),
    Webhook(
        "virtualmachinereplicaset-validator.kubevirt.io",
        "/virtualmachinereplicaset-validate",
        "virtualmachineinstancereplicasets",
        ("CREATE", "UPDATE"),
    ),
    Webhook(
        "migration-create-validator.kubevirt.io",
        "/migration-validate-create",
        "virtualmachineinstancemigrations",
        ("CREATE",),
    ),
    Webhook(
        "migration-update-validator.kubevirt.io",
        "/migration-validate-update",
        "virtualmachineinstancemigrations",
        ("UPDATE",),
    ),
    Webhook(
        "virtualmachine-status-validator.kubevirt.io",
        "/status-validate",
        "virtualmachines/status",
        ("UPDATE",),
        not_ours=True,
    ),
    _kind("virtualmachineinstancepresets", "/vmipreset-validate", "virtualmachinepreset"),
    _kind("virtualmachinepools", "/virtualmachinepool-validate", group="pool.kubevirt.io"),
    _kind("virtualmachinesnapshots", "/virtualmachinesnapshots-validate", group=SNAPSHOT),
    _kind("virtualmachinerestores", "/virtualmachinerestores-validate", group=SNAPSHOT),
    _kind("virtualmachineexports", "/virtualmachineexports-validate", group="export.kubevirt.io"),
    _kind("virtualmachineclones", "/vm-clone-validate-create", group=CLONE),
    _kind("virtualmachinebackups", "/virtualmachinebackups-validate", group=BACKUP),
    _kind("virtualmachinebackuptrackers", "/virtualmachinebackuptrackers-validate", group=BACKUP),
    *(_kind(plural, f"/{plural}-validate", group="instancetype.kubevirt.io") for plural in CHOICES),
    _kind(
        "migrationpolicies",
        "/migration-policy-validate-create",
        "migration-policy",
        group="migrations.kubevirt.io",
    ),
    _kind("plugins", "/plugin-validate", group="plugin.kubevirt.io"),
    _kind(
        "qatnodepolicies",
        "/qatnodepolicies-validate",
        "qatnodepolicy",
        group="devices.virtpod.io",
    ),
    Webhook(
        "virt-launcher-eviction-interceptor.kubevirt.io",
        "/launcher-eviction-validate",
        "pods/eviction",
        ("CREATE",),
        group="",
        versions=("v1",),
        only="request.name.startsWith('virt-launcher-') || request.name.startsWith('hp-volume-')",
        side_effects="NoneOnDryRun",
    ),
)
OPERATOR = tuple(
    Webhook(
        f"kubevirt-{name}validator.kubevirt.io",
        f"/kubevirt-validate-{operation.lower()}",
        "kubevirts",
        (operation,),
        not_ours=True,
        service=OPERATOR_SERVICE,
        # The object's finalizer keeps it as well: nothing is lost where nobody answers, and a
        # namespace can go whose virt-operator is gone already.
        failure="Ignore" if operation == "DELETE" else "Fail",
    )
    for operation, name in (("CREATE", "create-"), ("UPDATE", "update-"), ("DELETE", ""))
)


def configurations(namespace: str, ca_bundle: str) -> list[Json]:
    """The webhook configurations."""
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": name},
            "webhooks": [_webhook(each, namespace, ca_bundle) for each in webhooks],
        }
        for kind, name, webhooks in (
            ("MutatingWebhookConfiguration", "virt-api-mutator", MUTATING),
            ("ValidatingWebhookConfiguration", "virt-api-validator", VALIDATING),
            ("ValidatingWebhookConfiguration", "virt-operator-validator", OPERATOR),
        )
    ]


def api_services(namespace: str, ca_bundle: str) -> list[Json]:
    """Subresources such as console and start, in both versions that clients ask for."""
    return [
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{version}.subresources.kubevirt.io"},
            "spec": {
                "group": "subresources.kubevirt.io",
                "version": version,
                "groupPriorityMinimum": 1000,
                "versionPriority": 15,
                "service": {"namespace": namespace, "name": SERVICE, "port": 443},
                "caBundle": _base64(ca_bundle),
            },
        }
        for version in ("v1", "v1alpha3")
    ]


def _webhook(webhook: Webhook, namespace: str, ca_bundle: str) -> Json:
    whole: Json = {
        "name": webhook.name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {
            "service": {
                "namespace": namespace,
                "name": webhook.service,
                "path": webhook.path,
                "port": 443,
            },
            "caBundle": _base64(ca_bundle),
        },
        "rules": [
            {
                "apiGroups": [webhook.group],
                "apiVersions": list(webhook.versions),
                "operations": list(webhook.operations),
                "resources": [webhook.resource],
                "scope": "*",
            }
        ],
        "failurePolicy": webhook.failure,
        "sideEffects": webhook.side_effects,
        "timeoutSeconds": TIMEOUT,
        "matchPolicy": "Equivalent",
    }
    if webhook.not_ours:
        users = ", ".join(f"'system:serviceaccount:{namespace}:{name}'" for name in COMPONENTS)
        expression = f"!(request.operation == 'UPDATE' && request.userInfo.username in [{users}])"
        whole["matchConditions"] = [{"name": "not-a-component", "expression": expression}]
    if webhook.only:
        whole["matchConditions"] = [{"name": "ours", "expression": webhook.only}]
    return whole


def _base64(bundle: str) -> str:
    return b64encode(bundle.encode()).decode()
