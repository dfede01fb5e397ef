"""What runs on the cluster from the start: CoreDNS, the default StorageClass, kube-proxy's rights.

Sources: the DNS specification for Kubernetes 1.1.0; CoreDNS's kubernetes plugin page; the role
system:node-proxier, which Kubernetes defines and binds to the user system:kube-proxy.
"""

from . import images, layout, provisioner
from .api import Api, Object, Refused

COREFILE = f"""\
.:53 {{
    errors
    health
    ready
    kubernetes {layout.DOMAIN} in-addr.arpa ip6.arpa {{
        pods insecure
        ttl 5
    }}
    prometheus :9153
    cache 30 {{
        denial 9984 1
    }}
    reload
    loadbalance
}}
"""
LABELS = {"k8s-app": "kube-dns"}


def apply(api: Api) -> None:
    for path, document in _objects():
        api.apply(path, document)


def dns_ready(api: Api) -> bool:
    try:
        deployment = api.get("/apis/apps/v1/namespaces/kube-system/deployments/coredns")
    except Refused:
        return False
    return bool(deployment.get("status", {}).get("readyReplicas"))


def _objects() -> list[tuple[str, Object]]:
    core, apps = "/api/v1/namespaces/kube-system", "/apis/apps/v1/namespaces/kube-system"
    rbac, storage = "/apis/rbac.authorization.k8s.io/v1", "/apis/storage.k8s.io/v1"
    return [
        (f"{storage}/storageclasses/local", provisioner.STORAGE_CLASS),
        (f"{core}/serviceaccounts/coredns", _named("v1", "ServiceAccount", "coredns")),
        (f"{rbac}/clusterroles/system:coredns", _role()),
        (f"{rbac}/clusterrolebindings/system:coredns", _binding()),
        (f"{core}/configmaps/coredns", _corefile()),
        (f"{core}/services/kube-dns", _service()),
        (f"{apps}/deployments/coredns", _deployment()),
    ]


def _named(version: str, kind: str, name: str) -> Object:
    metadata = {"name": name, "namespace": "kube-system"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _role() -> Object:
    watched = ["endpoints", "services", "pods", "namespaces"]
    verbs = ["list", "watch"]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "system:coredns"},
        "rules": [
            {"apiGroups": [""], "resources": watched, "verbs": verbs},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
        ],
    }


def _binding() -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "system:coredns"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "system:coredns",
        },
        "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}],
    }


def _corefile() -> Object:
    return _named("v1", "ConfigMap", "coredns") | {"data": {"Corefile": COREFILE}}


def _service() -> Object:
    service = _named("v1", "Service", "kube-dns")
    service["metadata"]["labels"] = {**LABELS, "kubernetes.io/name": "CoreDNS"}
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        {"name": "metrics", "port": 9153, "protocol": "TCP"},
    ]
    spec = {
        "clusterIP": layout.DNS_SERVICE_IP,
        "clusterIPs": [layout.DNS_SERVICE_IP, layout.DNS_SERVICE_IP6],
        "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "PreferDualStack",
        "selector": LABELS,
        "ports": ports,
    }
    return service | {"spec": spec}


def _deployment() -> Object:
    container = {
        "name": "coredns",
        "image": images.COREDNS.reference,
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 9153, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 2},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "failureThreshold": 5},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    deployment = _named("apps/v1", "Deployment", "coredns")
    deployment["metadata"]["labels"] = LABELS
    return deployment | {
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "serviceAccountName": "coredns",
                    "priorityClassName": "system-cluster-critical",
                    "dnsPolicy": "Default",
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [container],
                    "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
                },
            },
        }
    }
