"""All manifests of an installation, as values: the two files that a user applies, and the rest.

`operator_manifests` and `kubevirt_cr` become files; `components` is what virt-operator keeps in the
cluster. Names, ports and labels are those that KubeVirt's clients and dashboards look for.

https://kubevirt.io/user-guide/cluster_admin/installation/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from virtpod.api.crd import crds
from virtpod.domain import paths
from virtpod.render import monitoring, rbac, unattended, webhooks
from virtpod.render.customize import customized
from virtpod.render.rbac import Rule

Json = dict[str, Any]

OPERATOR = "kubevirt-operator"
PRIORITY_CLASS = "kubevirt-cluster-critical"
LEASES = ("virt-operator", "virt-controller")
CERTS = "/etc/virtpod/certs"
CA = "/etc/virtpod/ca"
CA_MAP = "kubevirt-ca"
MONITORING = "kubevirt-monitoring"
PROMETHEUS = "prometheus-k8s"
"""Its service account, where `spec.monitorAccount` names none."""
HTTPS = 8443
CONSOLE = 8186
AWAITED = "100m"
"""CPU requested by what users and guests wait for. Beside guests that are busy it has no more: of a
hundredth of a processor, as others request, twenty calls at once to virt-api took 11 seconds."""
UNPRIVILEGED = 1001
"""The user that the control plane runs as."""
STAMPS = {
    "kubevirt.io": "",
    "app.kubernetes.io/managed-by": "virt-operator",
    "app.kubernetes.io/component": "kubevirt",
    "app.kubernetes.io/part-of": "virtpod",
}
"""Labels of everything that virt-operator makes."""


@dataclass(frozen=True)
class Options:
    """What whoever installs chooses."""

    image: str
    launcher_image: str
    namespace: str = "kubevirt"
    version: str = ""
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    image_volumes: str = "auto"
    """"true", "false", or "auto": virt-operator finds out whether pods can mount images."""
    replicas: int = 1
    """Of virt-operator."""
    guestfs_image: str = ""
    """With libguestfs' tools, for `virtctl guestfs`; it is not needed otherwise."""
    runbooks: str = monitoring.RUNBOOKS
    """Where docs/observability.md is published: alerts link to it."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """`spec.configuration` of the CR."""


@dataclass(frozen=True)
class Site:
    """What virt-operator has found out about the cluster, and made for it."""

    nodes: int = 1
    """Nodes that can take the control plane."""
    image_volumes: bool = False
    prometheus: bool = False
    """There are PrometheusRules and ServiceMonitors, as the Prometheus operator brings them."""
    ca_bundle: str = ""
    """PEM: the CA's certificate, and the one before it while both are in use."""


def operator_manifests(options: Options) -> list[Json]:
    """virt-operator and what it stands on: `kubectl apply -f` this first."""
    namespace = options.namespace
    subject = rbac.account(OPERATOR, namespace)
    kubevirts = next(crd for crd in crds() if crd["spec"]["names"]["plural"] == "kubevirts")
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": namespace,
                # virt-handler is privileged; guests' pods live in other namespaces.
                "labels": {
                    "kubevirt.io": "",
                    "pod-security.kubernetes.io/enforce": "privileged",
                },
            },
        },
        kubevirts,
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": PRIORITY_CLASS},
            "value": 1000000000,
            "globalDefault": False,
            "description": "Virtpod's own components; not for virtual machines.",
        },
        rbac.service_account(OPERATOR, namespace),
        rbac.cluster_role("kubevirt.io:operator", OPERATORS_USERS, {"operator.kubevirt.io": ""}),
        rbac.cluster_role(OPERATOR, operator_rules(options)),
        rbac.cluster_binding(OPERATOR, OPERATOR, subject),
        rbac.role(OPERATOR, namespace, OPERATOR_OWN),
        rbac.binding(OPERATOR, namespace, OPERATOR, subject),
        rbac.role(f"{OPERATOR}-authentication", "kube-system", OPERATOR_SYSTEM),
        rbac.binding(
            f"{OPERATOR}-authentication", "kube-system", f"{OPERATOR}-authentication", subject
        ),
        _operator(options),
    ]


def kubevirt_cr(options: Options) -> Json:
    """The wish to have it all: `kubectl apply -f` this second."""
    spec: Json = {
        "certificateRotateStrategy": {},
        "configuration": dict(options.configuration),
        "customizeComponents": {},
        "imagePullPolicy": options.pull_policy,
        "workloadUpdateStrategy": {},
    }
    if options.pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in options.pull_secrets]
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"name": "kubevirt", "namespace": options.namespace},
        "spec": spec,
    }


def chosen(cr: Mapping[str, Any], options: Options) -> Options:
    """With what the CR says instead: registry, tag, pull policy and secrets."""
    spec = cr.get("spec") or {}
    registry, tag = spec.get("imageRegistry") or "", spec.get("imageTag") or ""
    secrets = tuple(each["name"] for each in spec.get("imagePullSecrets") or ())
    return replace(
        options,
        image=_moved(options.image, registry, tag),
        launcher_image=_moved(options.launcher_image, registry, tag),
        guestfs_image=_moved(options.guestfs_image, registry, tag) if options.guestfs_image else "",
        pull_policy=spec.get("imagePullPolicy") or options.pull_policy,
        pull_secrets=secrets or options.pull_secrets,
    )


def components(cr: Mapping[str, Any], options: Options, site: Site) -> list[Json]:
    """Everything but secrets and namespaces. `options` as given to virt-operator.

    Raises Unfit where `spec.customizeComponents` does not fit.
    """
    options = chosen(cr, options)
    spec = cr.get("spec") or {}
    infra = spec.get("infra") or {}
    count = infra.get("replicas")
    if count is None:
        count = 1 if site.nodes <= 1 else 2
    api_count = max(count, site.nodes // 10) if infra.get("replicas") is None else count
    aggregated = (spec.get("configuration") or {}).get("roleAggregationStrategy") != "Manual"
    controller = _controller(options, site, count)
    api = _api(options, site, api_count)
    handler = _handler(options, site)
    reserved = (spec.get("configuration") or {}).get("persistentReservationConfiguration") or {}
    if reserved.get("enabled"):
        _reserve(handler, options)
    for workload in (controller, api):
        _place(workload, infra.get("nodePlacement") or {})
    _place(handler, (spec.get("workloads") or {}).get("nodePlacement") or {})
    objects = [
        *(crd for crd in crds() if crd["spec"]["names"]["plural"] != "kubevirts"),
        *rbac.given(options.namespace),
        *rbac.users(aggregated=aggregated),
        *rbac.policies(options.namespace),
        *unattended.policy(),
        _ca_map(options.namespace, site.ca_bundle),
        *_services(options.namespace),
        controller,
        api,
        handler,
        *_budgets(options.namespace, {"virt-api": api_count, "virt-controller": count}),
        *webhooks.configurations(options.namespace, site.ca_bundle),
        *webhooks.api_services(options.namespace, site.ca_bundle),
    ]
    if site.prometheus:
        objects += _watched(spec, options)
    made = [stamped(each, spec) for each in objects]
    wishes = spec.get("customizeComponents")
    return customized(made, wishes) if wishes else made


def _watched(spec: Mapping[str, Any], options: Options) -> list[Json]:
    """What Prometheus needs; the right to find our pods, where it is known who it is."""
    namespace, home = options.namespace, spec.get("monitorNamespace")
    made = [
        monitoring.service_monitor(namespace, spec.get("serviceMonitorNamespace") or namespace),
        monitoring.rules(namespace, options.runbooks),
    ]
    if home:
        subject = rbac.account(spec.get("monitorAccount") or PROMETHEUS, home)
        made += [
            rbac.role(MONITORING, namespace, PROMETHEUS_READS),
            rbac.binding(MONITORING, namespace, MONITORING, subject),
        ]
    return made


PRODUCT = {
    "productName": "app.kubernetes.io/part-of",
    "productVersion": "app.kubernetes.io/version",
    "productComponent": "app.kubernetes.io/component",
}
"""Labels that the CR may choose, by its field: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/"""


def stamped(manifest: Json, spec: Mapping[str, Any] | None = None) -> Json:
    """With the labels by which people find what virt-operator made; pods have the product's too."""
    product = {
        label: _label(value)
        for name, label in PRODUCT.items()
        if (value := (spec or {}).get(name)) and _label(value)
    }
    metadata = manifest["metadata"]
    labels = {**STAMPS, **(metadata.get("labels") or {}), **product}
    whole = {**manifest, "metadata": {**metadata, "labels": labels}}
    if product and manifest["kind"] in ("Deployment", "DaemonSet"):
        template = manifest["spec"]["template"]
        head = template["metadata"]
        head = {**head, "labels": {**head["labels"], **product}}
        template = {**template, "metadata": head}
        whole["spec"] = {**manifest["spec"], "template": template}
    return whole


def replaced_tag(reference: str, tag: str) -> str:
    """An image reference with another tag; a digest goes, for it names another image."""
    name = reference.split("@", 1)[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.split(':', 1)[0]}:{tag}"


def version_of(release: str, *references: str) -> str:
    """A version that tells an installation of just these images from any others."""
    marks = (re.split(r"[:/]", each)[-1][:8] for each in references)
    return "-".join((release, *marks))


def registry_of(reference: str) -> str:
    """All before an image's last word."""
    return reference.split("@", 1)[0].rpartition("/")[0]


def _moved(reference: str, registry: str, tag: str) -> str:
    if registry:
        reference = f"{registry.rstrip('/')}/{reference.rpartition('/')[2]}"
    return replaced_tag(reference, tag) if tag else reference


# virt-operator itself.

WORKLOADS = Rule(
    "kubevirt.io",
    (
        "virtualmachines",
        "virtualmachineinstances",
        "virtualmachineinstancereplicasets",
        "virtualmachineinstancemigrations",
        "virtualmachineinstancepresets",
    ),
    ("get", "list", "watch", "delete"),
)
OPERATORS_USERS = (
    Rule(
        "kubevirt.io",
        ("kubevirts",),
        ("get", "delete", "create", "update", "patch", "list", "watch", "deletecollection"),
    ),
)
MONITORS = (
    Rule("monitoring.coreos.com", ("servicemonitors",), ("create",)),
    Rule(
        "monitoring.coreos.com",
        ("servicemonitors",),
        ("get", "patch", "delete"),
        (monitoring.MONITOR,),
    ),
)
"""In whichever namespace `spec.serviceMonitorNamespace` names."""
PROMETHEUS_READS = (Rule("", ("services", "endpoints", "pods"), ("get", "list", "watch")),)
OPERATOR_OWN = (
    *PROMETHEUS_READS,
    Rule(
        "monitoring.coreos.com",
        ("prometheusrules", "servicemonitors"),
        ("get", "create", "patch", "delete"),
    ),
    Rule(
        "kubevirt.io",
        ("kubevirts", "kubevirts/status", "kubevirts/finalizers"),
        ("get", "list", "watch", "patch", "update"),
    ),
    Rule("", ("secrets",), ("get", "list", "watch", "create", "patch", "delete")),
    Rule(
        "",
        ("configmaps", "services", "serviceaccounts"),
        ("get", "list", "watch", "create", "patch", "delete"),
    ),
    Rule("", ("pods",), ("get", "list", "watch", "create")),
    Rule(
        "apps",
        ("deployments", "daemonsets"),
        ("get", "list", "watch", "create", "patch", "delete"),
    ),
    Rule(
        "policy",
        ("poddisruptionbudgets",),
        ("get", "list", "watch", "create", "patch", "delete"),
    ),
    Rule(
        rbac.RBAC,
        ("roles", "rolebindings"),
        ("get", "list", "watch", "create", "patch", "delete"),
    ),
    Rule("coordination.k8s.io", ("leases",), ("create",)),
    Rule("coordination.k8s.io", ("leases",), ("get", "update", "patch", "delete"), LEASES),
    Rule("", ("events",), ("create", "patch")),
)
OPERATOR_SYSTEM = (
    Rule(rbac.RBAC, ("roles",), ("bind",), (rbac.AUTHENTICATION_READER,)),
    Rule(rbac.RBAC, ("rolebindings",), ("create",)),
    Rule(
        rbac.RBAC,
        ("rolebindings",),
        ("get", "list", "watch", "patch", "delete"),
        (rbac.API.name,),
    ),
)
KEEP = ("get", "list", "watch", "patch", "delete")


def operator_rules(options: Options) -> tuple[Rule, ...]:
    """For the whole cluster: the objects that it makes, by name; and, since nobody may grant what
    they have not, all that it grants."""
    made: dict[tuple[str, str], list[str]] = {}
    for manifest in components({}, options, Site(nodes=2)):
        if "namespace" not in manifest["metadata"]:
            group = manifest["apiVersion"].rpartition("/")[0]
            plural = _plural(manifest["kind"])
            made.setdefault((group, plural), []).append(manifest["metadata"]["name"])
    rules = [Rule(group, (plural,), ("create",)) for group, plural in made]
    rules += [
        Rule(group, (plural,), KEEP, tuple(sorted(names)))
        for (group, plural), names in made.items()
    ]
    granted = [rule for account in rbac.COMPONENTS for rule in (*account.cluster, *account.own)]
    granted += [rule for user in rbac.USERS for rule in user.rules]
    watched = Rule("", ("nodes",), ("get", "list", "watch"))
    return (*rules, WORKLOADS, watched, *MONITORS, *dict.fromkeys(granted))


def _plural(kind: str) -> str:
    lower = kind.lower()
    return f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}s"


def _operator(options: Options) -> Json:
    env = {
        "VIRTPOD_IMAGE": options.image,
        "VIRT_LAUNCHER_IMAGE": options.launcher_image,
        "GS_IMAGE": options.guestfs_image,
        "VIRTPOD_VERSION": options.version,
        "VIRTPOD_IMAGE_VOLUMES": options.image_volumes,
        "VIRTPOD_PULL_POLICY": options.pull_policy,
        "VIRTPOD_RUNBOOKS": options.runbooks,
    }
    container = _container(
        "virt-operator",
        options,
        args=["--port", str(HTTPS), "-v", "2"],
        env=env,
        ports={"metrics": HTTPS},
        ready=("/healthz", 1),
        memory="60Mi",
        cpu="10m",
        mounts=[{"name": "run", "mountPath": "/run/virtpod"}],
    )
    deployment = _deployment(
        "virt-operator",
        options,
        OPERATOR,
        options.replicas,
        container,
        [{"name": "run", "emptyDir": {"medium": "Memory"}}],
    )
    return {
        **deployment,
        "metadata": {**deployment["metadata"], "labels": {"kubevirt.io": "virt-operator"}},
    }


# The components.


def _api(options: Options, site: Site, replicas: int) -> Json:
    certs = ("kubevirt-virt-api-certs", "kubevirt-virt-handler-certs")
    volumes, mounts = _trust(certs)
    container = _container(
        "virt-api",
        options,
        args=["--port", str(HTTPS), "--console-server-port", str(CONSOLE), "-v", "2"],
        env=_env(options, site) | {"GS_IMAGE": options.guestfs_image},
        ports={"virt-api": HTTPS},
        ready=("/apis/subresources.kubevirt.io/v1/healthz", 1),
        memory="70Mi",
        mounts=mounts,
    )
    # It still answers while the word spreads that it is going: else writes of VMs would fail.
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": 3}}}
    return _deployment("virt-api", options, rbac.API.name, replicas, container, volumes)


def _controller(options: Options, site: Site, replicas: int) -> Json:
    volumes, mounts = _trust(("kubevirt-controller-certs",))
    container = _container(
        "virt-controller",
        options,
        args=["--port", str(HTTPS), "-v", "2"],
        env=_env(options, site),
        ports={"metrics": HTTPS},
        ready=("/leader", 1),
        memory="70Mi",
        mounts=mounts,
    )
    return _deployment(
        "virt-controller", options, rbac.CONTROLLER.name, replicas, container, volumes
    )


@dataclass(frozen=True)
class HostPath:
    """A folder of the node in virt-handler's container."""

    name: str
    path: str
    at: str
    type: str = "Directory"
    mount: Mapping[str, Any] = field(default_factory=dict)


PROBE = "/var/lib/kubevirt-node-labeller"
HOST_PATHS = (
    HostPath(
        "kubelet-pods",
        "/var/lib/kubelet/pods",
        "/var/lib/kubelet/pods",
        mount={"mountPropagation": "HostToContainer"},
    ),
    HostPath(
        "pod-resources",
        "/var/lib/kubelet/pod-resources",
        "/var/lib/kubelet/pod-resources",
        "DirectoryOrCreate",
        {"readOnly": True},
    ),
    HostPath(
        "device-plugins", "/var/lib/kubelet/device-plugins", "/var/lib/kubelet/device-plugins"
    ),
    HostPath(
        "plugins-registry",
        "/var/lib/kubelet/plugins_registry",
        "/var/lib/kubelet/plugins_registry",
        "DirectoryOrCreate",
        {"readOnly": True},
    ),
    HostPath(
        "seccomp", "/var/lib/kubelet/seccomp", "/var/lib/kubelet/seccomp", "DirectoryOrCreate"
    ),
    HostPath("node-labeller", PROBE, PROBE, "DirectoryOrCreate", {"readOnly": True}),
    HostPath("cdi", "/etc/cdi", "/etc/cdi", "DirectoryOrCreate", {"readOnly": True}),
    HostPath(
        "cdi-dynamic", "/var/run/cdi", "/var/run/cdi", "DirectoryOrCreate", {"readOnly": True}
    ),
    HostPath("host-dev", "/dev", "/host/dev", mount={"readOnly": True}),
    # Written where a QATNodePolicy has devices set up, and to make mediated devices.
    HostPath("host-sys", "/sys", "/host/sys", mount={"mountPropagation": "HostToContainer"}),
)


def _handler(options: Options, site: Site) -> Json:
    volumes, mounts = _trust(
        ("kubevirt-virt-handler-server-certs", "kubevirt-virt-handler-vsock-client-certs")
    )
    volumes += [
        {"name": each.name, "hostPath": {"path": each.path, "type": each.type}}
        for each in HOST_PATHS
    ]
    mounts += [{"name": each.name, "mountPath": each.at, **each.mount} for each in HOST_PATHS]
    privileged = {"privileged": True, "runAsUser": 0, "runAsNonRoot": False}
    container = _container(
        "virt-handler",
        options,
        args=["--port", str(HTTPS), "--console-server-port", str(CONSOLE), "-v", "2"],
        env=_env(options, site),
        ports={"metrics": HTTPS, "console": CONSOLE},
        ready=("/readyz", 1),
        memory="90Mi",
        mounts=mounts,
    )
    container["securityContext"] = {**privileged, "readOnlyRootFilesystem": True}
    probe = {
        "name": "virt-launcher",
        "image": options.launcher_image,
        "imagePullPolicy": options.pull_policy,
        "command": ["/usr/bin/virt-launcher", "--probe", PROBE],
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "securityContext": privileged,
        "volumeMounts": [{"name": "node-labeller", "mountPath": PROBE}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    template = _template("virt-handler", options, rbac.HANDLER.name, container, volumes)
    template["spec"] |= {
        "hostPID": True,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "initContainers": [probe],
        "terminationGracePeriodSeconds": 30,
    }
    template["spec"].pop("securityContext")
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": "virt-handler",
            "namespace": options.namespace,
            "labels": {"kubevirt.io": "virt-handler"},
        },
        "spec": {
            "selector": {"matchLabels": {"kubevirt.io": "virt-handler"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": template,
        },
    }


def _reserve(handler: Json, options: Options) -> None:
    """Adds what makes SCSI reservations for guests: it needs to be root and listens to user 107,
    in pods that virt-handler's device plugin has given the folder of its socket."""
    spec = handler["spec"]["template"]["spec"]
    mount = {"name": "pr-helper", "mountPath": paths.PR_HELPER}
    place = {"path": paths.PR_HELPER, "type": "DirectoryOrCreate"}
    spec["volumes"].append({"name": "pr-helper", "hostPath": place})
    spec["containers"][0]["volumeMounts"].append({**mount, "readOnly": True})
    serve = f"umask 007; exec /usr/bin/qemu-pr-helper -k {paths.PR_HELPER_SOCKET}"
    spec["containers"].append(
        {
            "name": "pr-helper",
            "image": options.launcher_image,
            "imagePullPolicy": options.pull_policy,
            "command": ["/bin/sh", "-c", serve],
            "resources": {"requests": {"cpu": "1m", "memory": "5Mi"}},
            "securityContext": {
                "privileged": True,
                "runAsUser": 0,
                "runAsGroup": paths.QEMU_UID,
                "runAsNonRoot": False,
                "readOnlyRootFilesystem": True,
            },
            "volumeMounts": [mount],
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
    )


def _env(options: Options, site: Site) -> dict[str, str]:
    return {
        "VIRT_LAUNCHER_IMAGE": options.launcher_image,
        "VIRTPOD_VERSION": options.version,
        "VIRTPOD_IMAGE_VOLUMES": str(site.image_volumes).lower(),
    }


def _trust(secrets: Sequence[str]) -> tuple[list[Json], list[Json]]:
    """Volumes and mounts of certificates: whole folders, so that renewed ones arrive."""
    volumes: list[Json] = [{"name": "ca", "configMap": {"name": CA_MAP}}]
    mounts: list[Json] = [{"name": "ca", "mountPath": CA, "readOnly": True}]
    for secret in secrets:
        volumes.append({"name": secret, "secret": {"secretName": secret}})
        mounts.append({"name": secret, "mountPath": f"{CERTS}/{secret}", "readOnly": True})
    return volumes, mounts


def _container(
    name: str,
    options: Options,
    *,
    args: list[str],
    env: Mapping[str, str],
    ports: Mapping[str, int],
    ready: tuple[str, int],
    memory: str,
    mounts: list[Json],
    cpu: str = AWAITED,
) -> Json:
    """`ready`: path, and how many seconds lie between two looks."""
    path, period = ready
    fields = {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "NODE_NAME": "spec.nodeName",
    }
    return {
        "name": name,
        "image": options.image,
        "imagePullPolicy": options.pull_policy,
        "command": [f"/usr/bin/{name}"],
        "args": args,
        "env": [
            *(
                {"name": variable, "valueFrom": {"fieldRef": {"fieldPath": source}}}
                for variable, source in fields.items()
            ),
            *({"name": variable, "value": value} for variable, value in env.items()),
        ],
        "ports": [
            {"name": port, "containerPort": number, "protocol": "TCP"}
            for port, number in ports.items()
        ],
        "readinessProbe": {
            "httpGet": {"path": path, "port": HTTPS, "scheme": "HTTPS"},
            "periodSeconds": period,
            "timeoutSeconds": 5,
            "failureThreshold": 5,
        },
        # On a very slow node it begins in minutes; killed for that, it would never be there.
        "startupProbe": {
            "httpGet": {"path": "/healthz", "port": HTTPS, "scheme": "HTTPS"},
            "periodSeconds": 1,
            "timeoutSeconds": 10,
            "failureThreshold": 600,
        },
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": HTTPS, "scheme": "HTTPS"},
            "periodSeconds": 20,
            "timeoutSeconds": 10,
            "failureThreshold": 3,
        },
        "resources": {"requests": {"cpu": cpu, "memory": memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _template(
    name: str, options: Options, account: str, container: Json, volumes: list[Json]
) -> Json:
    spec: Json = {
        "serviceAccountName": account,
        "priorityClassName": PRIORITY_CLASS,
        "securityContext": {"runAsNonRoot": True, "runAsUser": UNPRIVILEGED},
        "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
        "containers": [container],
        "volumes": volumes,
    }
    if options.pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in options.pull_secrets]
    labels = {
        "kubevirt.io": name,
        "name": name,
        "prometheus.kubevirt.io": "true",
        "app.kubernetes.io/managed-by": "virt-operator",
        "app.kubernetes.io/component": "kubevirt",
    }
    if options.version:
        labels["app.kubernetes.io/version"] = _label(options.version)
    return {"metadata": {"labels": labels}, "spec": spec}


def _deployment(
    name: str,
    options: Options,
    account: str,
    replicas: int,
    container: Json,
    volumes: list[Json],
) -> Json:
    template = _template(name, options, account, container, volumes)
    template["spec"]["affinity"] = {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "podAffinityTerm": {
                        "labelSelector": {"matchLabels": {"kubevirt.io": name}},
                        "topologyKey": "kubernetes.io/hostname",
                    },
                }
            ]
        }
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": options.namespace,
            "labels": {"kubevirt.io": name},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"kubevirt.io": name}},
            "strategy": {"type": "RollingUpdate"},
            "template": template,
        },
    }


def _place(workload: Json, placement: Mapping[str, Any]) -> None:
    spec = workload["spec"]["template"]["spec"]
    if selector := placement.get("nodeSelector"):
        spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **selector}
    if tolerations := placement.get("tolerations"):
        spec["tolerations"] = [*spec["tolerations"], *tolerations]
    if affinity := placement.get("affinity"):
        spec["affinity"] = _joined(spec.get("affinity") or {}, affinity)


def _joined(ours: Any, theirs: Any) -> Any:
    """Both: maps are joined, lists follow each other."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {**ours, **{key: _joined(ours.get(key), value) for key, value in theirs.items()}}
    if isinstance(ours, list) and isinstance(theirs, list):
        return [*ours, *theirs]
    return theirs


def _services(namespace: str) -> list[Json]:
    return [
        _service("virt-api", namespace, {"kubevirt.io": "virt-api"}, None, "virt-api"),
        _service(
            webhooks.OPERATOR_SERVICE,
            namespace,
            {"kubevirt.io": "virt-operator"},
            "webhooks",
            HTTPS,
        ),
        _service(
            "kubevirt-prometheus-metrics",
            namespace,
            {"prometheus.kubevirt.io": "true"},
            "metrics",
            HTTPS,
        ),
    ]


def _service(
    name: str,
    namespace: str,
    selector: dict[str, str],
    port_name: str | None,
    target: str | int,
) -> Json:
    port: Json = {"port": 443, "targetPort": target, "protocol": "TCP"}
    if port_name:
        port["name"] = port_name
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubevirt.io": name}},
        "spec": {"type": "ClusterIP", "selector": selector, "ports": [port]},
    }


def _budgets(namespace: str, replicas: Mapping[str, int]) -> list[Json]:
    """One replica of each may always be missing; of a single one that is all."""
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": f"{name}-pdb", "namespace": namespace},
            "spec": {
                "minAvailable": count - 1,
                "selector": {"matchLabels": {"kubevirt.io": name}},
            },
        }
        for name, count in replicas.items()
        if count > 1
    ]


def _ca_map(namespace: str, bundle: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CA_MAP, "namespace": namespace},
        "data": {"ca-bundle": bundle},
    }


def _label(value: str) -> str:
    """Fit for a label's value."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", value)[:63].strip("-._")
