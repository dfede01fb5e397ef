"""Who may do what: tables, from which the roles of components and users are made.

Each component has what it does and no more; what a compromised virt-handler could do to other
nodes is cut off by admission policies (`policies`), since RBAC knows no fields.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/
https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from virtpod.render import unattended

Json = dict[str, Any]

RBAC = "rbac.authorization.k8s.io"
DEVICES = "resource.k8s.io"
KUBEVIRT = "kubevirt.io"
SUBRESOURCES = "subresources.kubevirt.io"

WATCH = ("list", "watch")
READ = ("get", *WATCH)
ALL = ("get", "delete", "create", "update", "patch", "list", "watch", "deletecollection")
EDIT = tuple(verb for verb in ALL if verb != "deletecollection")


@dataclass(frozen=True)
class Rule:
    """`verbs` on `resources` of `group`; with `names`, of those alone."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()

    def json(self) -> Json:
        rule: Json = {
            "apiGroups": [self.group],
            "resources": list(self.resources),
            "verbs": list(self.verbs),
        }
        return rule | ({"resourceNames": list(self.names)} if self.names else {})


@dataclass(frozen=True)
class Account:
    """A component's service account: rules for the whole cluster, and for its own namespace."""

    name: str
    cluster: tuple[Rule, ...]
    own: tuple[Rule, ...]


def _lease(name: str) -> tuple[Rule, ...]:
    group = "coordination.k8s.io"
    return (
        Rule(group, ("leases",), ("create",)),
        Rule(group, ("leases",), ("get", "update"), (name,)),
    )


INSTANCETYPES = "instancetype.kubevirt.io"
CHOICES = (
    "virtualmachineinstancetypes",
    "virtualmachineclusterinstancetypes",
    "virtualmachinepreferences",
    "virtualmachineclusterpreferences",
)

EVENTS = Rule("", ("events",), ("create", "patch"))
CONFIGURATION = Rule(KUBEVIRT, ("kubevirts",), WATCH)

API = Account(
    "kubevirt-apiserver",
    (
        Rule(KUBEVIRT, ("virtualmachines", "virtualmachineinstances"), ("get", "patch")),
        Rule(KUBEVIRT, ("virtualmachines/status",), ("patch",)),
        # Whether a guest is moving, or a machine being restored, already.
        Rule(KUBEVIRT, ("virtualmachineinstancemigrations",), ("create", "list")),
        Rule("snapshot.kubevirt.io", ("virtualmachinerestores",), ("list",)),
        Rule("authorization.k8s.io", ("subjectaccessreviews",), ("create",)),
        # What new machines get.
        Rule(KUBEVIRT, ("virtualmachineinstancepresets",), WATCH),
        # What VMs take: instance types, preferences, and the volumes that name them.
        Rule(INSTANCETYPES, CHOICES, ("get",)),
        Rule("apps", ("controllerrevisions",), ("get",)),
        Rule("", ("persistentvolumeclaims",), ("get",)),
        Rule("cdi.kubevirt.io", ("datavolumes", "datasources"), ("get",)),
        # Whether all guests are to leave one.
        Rule("", ("nodes",), ("get",)),
        # Whose pod is to be evicted, and what its user is told.
        Rule("", ("pods",), ("get",)),
        EVENTS,
    ),
    (CONFIGURATION, Rule("", ("pods",), WATCH)),
)
CONTROLLER = Account(
    "kubevirt-controller",
    (
        Rule(KUBEVIRT, ("virtualmachines",), (*READ, "patch")),
        Rule(
            KUBEVIRT,
            ("virtualmachines/status", "virtualmachineinstancereplicasets/status"),
            ("patch",),
        ),
        Rule(KUBEVIRT, ("virtualmachineinstances",), (*READ, "create", "patch", "delete")),
        Rule(KUBEVIRT, ("virtualmachineinstancereplicasets",), WATCH),
        # To name a blocking owner one must be allowed to touch that owner's finalizers.
        Rule(
            KUBEVIRT,
            (
                "virtualmachines/finalizers",
                "virtualmachineinstances/finalizers",
                "virtualmachineinstancereplicasets/finalizers",
            ),
            ("update",),
        ),
        # `patch`: what side-cars of network bindings read of the pod's devices.
        Rule("", ("pods",), (*READ, "create", "delete", "patch")),
        Rule("", ("pods/status",), ("patch",)),
        # Guests in launchers of an older version, where the cluster wants them to start anew.
        Rule("", ("pods/eviction",), ("create",)),
        # Whether guests there get a CPU limit.
        Rule("", ("namespaces",), ("get",)),
        Rule("", ("nodes",), (*READ, "patch")),
        # `create`: what TPM and EFI remember.
        Rule("", ("persistentvolumeclaims",), (*READ, "create")),
        Rule("storage.k8s.io", ("volumeattachments",), WATCH),
        Rule("k8s.cni.cncf.io", ("network-attachment-definitions",), ("get",)),
        Rule("apps", ("controllerrevisions",), ("get", "list", "create", "delete")),
        Rule(INSTANCETYPES, CHOICES, ("get",)),
        # To say of what nothing acts on that this is so.
        *(Rule(kind.group, (kind.plural,), WATCH) for kind in unattended.telling()),
        *(
            Rule(kind.group, (f"{kind.plural}/status",), ("patch",))
            for kind in unattended.telling()
        ),
        # Why a VMI that stands still does so.
        Rule("", ("events",), ("list",)),
        EVENTS,
    ),
    (
        CONFIGURATION,
        # How many guests run in launchers of an older version.
        Rule(KUBEVIRT, ("kubevirts/status",), ("patch",)),
        *_lease("virt-controller"),
    ),
)
HANDLER = Account(
    "kubevirt-handler",
    (
        Rule("", ("nodes",), ("get", "patch")),
        # Devices that cannot be offered as configured.
        Rule("", ("nodes/status",), ("patch",)),
        Rule("", ("pods",), WATCH),
        Rule(KUBEVIRT, ("virtualmachineinstances",), (*READ, "patch")),
        # Which devices its guests' claims were allotted.
        Rule(DEVICES, ("resourceclaims",), ("get",)),
        Rule(DEVICES, ("resourceslices",), ("list",)),
        # How the node's QAT devices shall be, and how they are; applying is creating as well.
        Rule("devices.virtpod.io", ("qatnodepolicies",), WATCH),
        Rule("devices.virtpod.io", ("qatnodestates",), ("get", "create", "patch")),
        EVENTS,
    ),
    (CONFIGURATION,),
)
COMPONENTS = (API, CONTROLLER, HANDLER)

AUTHENTICATION_READER = "extension-apiserver-authentication-reader"
"""A role of Kubernetes in kube-system: reads how the front proxy identifies itself."""


# Users' roles.

VM_OBJECTS = (
    (
        KUBEVIRT,
        (
            "virtualmachines",
            "virtualmachineinstances",
            "virtualmachineinstancepresets",
            "virtualmachineinstancereplicasets",
        ),
    ),
    (
        "snapshot.kubevirt.io",
        ("virtualmachinesnapshots", "virtualmachinesnapshotcontents", "virtualmachinerestores"),
    ),
    ("backup.kubevirt.io", ("virtualmachinebackups", "virtualmachinebackuptrackers")),
    ("export.kubevirt.io", ("virtualmachineexports",)),
    ("clone.kubevirt.io", ("virtualmachineclones",)),
    (
        "instancetype.kubevirt.io",
        CHOICES,
    ),
    ("pool.kubevirt.io", ("virtualmachinepools",)),
)
MIGRATIONS = "virtualmachineinstancemigrations"
VMI_LOOKS = (
    "guestosinfo",
    "filesystemlist",
    "userlist",
    "sev/fetchcertchain",
    "sev/querylaunchmeasurement",
    "objectgraph",
)
VMI_STREAMS = ("console", "vnc", "portforward", "usbredir")
VMI_ACTIONS = (
    "pause",
    "unpause",
    "addvolume",
    "removevolume",
    "freeze",
    "unfreeze",
    "softreboot",
    "reset",
    "sev/setupsession",
    "sev/injectlaunchsecret",
    "evacuate/cancel",
)
VM_ACTIONS = (
    "start",
    "stop",
    "restart",
    "addvolume",
    "removevolume",
    "memorydump",
    "removememorydump",
    "evacuate/cancel",
)


def _of(kind: str, *subresources: str) -> tuple[str, ...]:
    """Each, and where there is a path in its name also the path's beginning, which is all that the
    API server itself looks at; virt-api then asks for the whole name."""
    names = [part for name in subresources for part in (name.partition("/")[0], name)]
    return tuple(f"{kind}/{name}" for name in dict.fromkeys(names))


def _work(verbs: tuple[str, ...], *, screenshots: bool) -> tuple[Rule, ...]:
    vmi = (*VMI_STREAMS, *(("vnc/screenshot",) if screenshots else ()), *VMI_LOOKS)
    return (
        Rule(SUBRESOURCES, _of("virtualmachineinstances", *vmi), ("get",)),
        Rule(
            SUBRESOURCES,
            _of("virtualmachines", "expand-spec", "portforward", "objectgraph"),
            ("get",),
        ),
        Rule(SUBRESOURCES, _of("virtualmachineinstances", *VMI_ACTIONS), ("update",)),
        Rule(SUBRESOURCES, _of("virtualmachines", *VM_ACTIONS), ("update",)),
        Rule(SUBRESOURCES, ("expand-vm-spec",), ("update",)),
        *(Rule(group, resources, verbs) for group, resources in VM_OBJECTS),
        Rule(KUBEVIRT, (MIGRATIONS,), READ),
        Rule("migrations.kubevirt.io", ("migrationpolicies",), READ),
    )


@dataclass(frozen=True)
class UserRole:
    """`aggregate`: Kubernetes' role that it becomes a part of."""

    name: str
    rules: tuple[Rule, ...]
    aggregate: str = ""


DEFAULT = UserRole(
    "kubevirt.io:default",
    (
        Rule(KUBEVIRT, ("kubevirts",), ("get", "list")),
        Rule(SUBRESOURCES, ("version", "guestfs"), ("get", "list")),
    ),
)
INSTANCETYPES_VIEW = UserRole(
    "instancetype.kubevirt.io:view",
    (
        Rule(
            "instancetype.kubevirt.io",
            ("virtualmachineclusterinstancetypes", "virtualmachineclusterpreferences"),
            READ,
        ),
    ),
)
USERS = (
    DEFAULT,
    INSTANCETYPES_VIEW,
    UserRole(
        "kubevirt.io:admin",
        (
            *_work(ALL, screenshots=True),
            Rule("plugin.kubevirt.io", ("plugins",), ALL),
        ),
        "admin",
    ),
    UserRole(
        "kubevirt.io:edit",
        (
            *_work(EDIT, screenshots=False),
            Rule(KUBEVIRT, ("kubevirts",), ("get", "list")),
        ),
        "edit",
    ),
    UserRole(
        "kubevirt.io:view",
        (
            Rule(SUBRESOURCES, _of("virtualmachineinstances", *VMI_LOOKS), ("get",)),
            Rule(
                SUBRESOURCES,
                _of("virtualmachines", "expand-spec", "objectgraph"),
                ("get",),
            ),
            Rule(SUBRESOURCES, ("expand-vm-spec",), ("update",)),
            *(Rule(group, resources, READ) for group, resources in VM_OBJECTS),
            Rule(KUBEVIRT, (MIGRATIONS,), READ),
            Rule("migrations.kubevirt.io", ("migrationpolicies",), READ),
            Rule(KUBEVIRT, ("kubevirts",), ("get", "list")),
        ),
        "view",
    ),
    UserRole(
        "kubevirt.io:migrate",
        (
            Rule(SUBRESOURCES, _of("virtualmachines", "migrate"), ("update",)),
            Rule(KUBEVIRT, (MIGRATIONS,), ALL),
        ),
    ),
)
FOR_EVERYBODY = (DEFAULT, INSTANCETYPES_VIEW)
"""Bound to all who are authenticated."""


def cluster_role(name: str, rules: Sequence[Rule], labels: dict[str, str] | None = None) -> Json:
    metadata: Json = {"name": name} | ({"labels": labels} if labels else {})
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": metadata,
        "rules": [rule.json() for rule in rules],
    }


def cluster_binding(name: str, role: str, subject: Json) -> Json:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def role(name: str, namespace: str, rules: Sequence[Rule]) -> Json:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": namespace},
        "rules": [rule.json() for rule in rules],
    }


def binding(name: str, namespace: str, role: str, subject: Json) -> Json:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": role},
        "subjects": [subject],
    }


def service_account(name: str, namespace: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace},
    }


def account(name: str, namespace: str) -> Json:
    """A service account as the subject of a binding."""
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def everybody() -> Json:
    return {"apiGroup": RBAC, "kind": "Group", "name": "system:authenticated"}


def given(namespace: str) -> list[Json]:
    """What the components' accounts get."""
    objects: list[Json] = []
    for each in COMPONENTS:
        subject = account(each.name, namespace)
        objects += [
            service_account(each.name, namespace),
            cluster_role(each.name, each.cluster),
            cluster_binding(each.name, each.name, subject),
            role(each.name, namespace, each.own),
            binding(each.name, namespace, each.name, subject),
        ]
    reader = account(API.name, namespace)
    objects.append(binding(API.name, "kube-system", AUTHENTICATION_READER, reader))
    return objects


def users(*, aggregated: bool = True) -> list[Json]:
    """What users get. Not `aggregated`: admin, edit and view are for an administrator to bind."""
    objects = []
    for each in USERS:
        labels = {}
        if aggregated and each.aggregate:
            labels[f"{RBAC}/aggregate-to-{each.aggregate}"] = "true"
        objects.append(cluster_role(each.name, each.rules, labels))
    objects += [cluster_binding(each.name, each.name, everybody()) for each in FOR_EVERYBODY]
    return objects


# What RBAC cannot say.

_NODE = "authentication.kubernetes.io/node-name"
_OWN_NODE = {
    "name": "node",
    "expression": f"'{_NODE}' in request.userInfo.extra ? "
    f"request.userInfo.extra['{_NODE}'][0] : ''",
}
_LABELS = {
    "name": "labels",
    "expression": "has(object.metadata.labels) ? object.metadata.labels : {}",
}
_OLD_LABELS = {
    "name": "oldLabels",
    "expression": "has(oldObject.metadata.labels) ? oldObject.metadata.labels : {}",
}
_ANNOTATIONS = {
    "name": "annotations",
    "expression": "has(object.metadata.annotations) ? object.metadata.annotations : {}",
}
_OLD_ANNOTATIONS = {
    "name": "oldAnnotations",
    "expression": "has(oldObject.metadata.annotations) ? oldObject.metadata.annotations : {}",
}


def _only_ours(new: str, old: str) -> str:
    """CEL: maps differ in keys of kubevirt.io (and its subdomains) alone."""
    ours = "k.matches('^([a-z0-9-]+[.])*kubevirt[.]io/')"
    return (
        f"variables.{new}.all(k, {ours} || "
        f"(k in variables.{old} && variables.{old}[k] == variables.{new}[k])) && "
        f"variables.{old}.all(k, {ours} || k in variables.{new})"
    )


def policies(namespace: str) -> list[Json]:
    """virt-handler changes its own node's labels and state, and VMIs on its own node: nothing
    else."""
    handler = f"system:serviceaccount:{namespace}:{HANDLER.name}"
    return [
        *_policy(
            "kubevirt-node-restriction-policy",
            handler,
            {"apiGroups": [""], "apiVersions": ["*"], "resources": ["nodes"]},
            [_OWN_NODE, _LABELS, _OLD_LABELS, _ANNOTATIONS, _OLD_ANNOTATIONS],
            [
                (
                    "variables.node != '' && object.metadata.name == variables.node",
                    "virt-handler may change its own node only",
                ),
                ("object.spec == oldObject.spec", "virt-handler may not change a node's spec"),
                (
                    _only_ours("labels", "oldLabels"),
                    "virt-handler may change labels of kubevirt.io only",
                ),
                (
                    _only_ours("annotations", "oldAnnotations"),
                    "virt-handler may change annotations of kubevirt.io only",
                ),
            ],
        ),
        *_policy(
            "kubevirt-instance-restriction-policy",
            handler,
            {
                "apiGroups": [KUBEVIRT],
                "apiVersions": ["*"],
                "resources": ["virtualmachineinstances"],
            },
            [_OWN_NODE, _OLD_LABELS],
            [
                (
                    "variables.node != '' && ['kubevirt.io/nodeName', "
                    "'kubevirt.io/migrationTargetNodeName'].exists(k, "
                    "k in variables.oldLabels && variables.oldLabels[k] == variables.node)",
                    "virt-handler may change instances of its own node only",
                ),
                ("object.spec == oldObject.spec", "virt-handler may not change a spec"),
            ],
        ),
        *_policy(
            "virtpod-qat-restriction-policy",
            handler,
            {
                "apiGroups": ["devices.virtpod.io"],
                "apiVersions": ["*"],
                "resources": ["qatnodestates"],
            },
            [_OWN_NODE],
            [
                (
                    "variables.node != '' && object.metadata.name == variables.node",
                    "virt-handler may tell of its own node only",
                ),
            ],
            operations=("CREATE", "UPDATE"),
        ),
    ]


def _policy(
    name: str,
    user: str,
    rule: Json,
    variables: list[Json],
    validations: list[tuple[str, str]],
    operations: Sequence[str] = ("UPDATE",),
) -> list[Json]:
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{**rule, "operations": list(operations)}]},
                "matchConditions": [
                    {"name": "virt-handler", "expression": f"request.userInfo.username == '{user}'"}
                ],
                "variables": variables,
                "validations": [
                    {"expression": expression, "message": message}
                    for expression, message in validations
                ],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": f"{name}-binding"},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]
