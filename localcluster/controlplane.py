"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler as services of one machine.

Sources: the components' command-line references, kubernetes.io/docs/reference; "Configure the
aggregation layer"; KEP-4639 (image volumes).
"""

import json
from pathlib import Path

from . import layout, provisioner
from .machine import Machine, Service

ETCD = "http://127.0.0.1:2379"
FEATURE_GATES = "ImageVolume=true"
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
LOGS = {name: layout.LOGS / f"{name}.log" for name in COMPONENTS}

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata"}],
}


def machine() -> Machine:
    policy = layout.CLUSTER / "audit-policy.json"
    policy.write_text(json.dumps(AUDIT_POLICY))
    services = (
        Service("etcd", _etcd(), LOGS["etcd"]),
        Service("kube-apiserver", _apiserver(policy), LOGS["kube-apiserver"]),
        Service("kube-controller-manager", _controllers(), LOGS["kube-controller-manager"]),
        Service("kube-scheduler", _scheduler(), LOGS["kube-scheduler"]),
        provisioner.service(),
    )
    addresses = (layout.CONTROL_PLANE_IP, layout.CONTROL_PLANE_IP6)
    return Machine(layout.CONTROL_PLANE, *addresses, services, own_files=False)


def _etcd() -> list[str]:
    # The store is only as lasting as this cluster: without fsync a slow disk costs nothing.
    return [
        str(layout.BIN / "etcd"),
        f"--data-dir={layout.CLUSTER / 'etcd'}",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--log-level=warn",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=30m",
    ]


def _apiserver(policy: Path) -> list[str]:
    flags = {
        "etcd-servers": ETCD,
        "bind-address": "0.0.0.0",
        "secure-port": layout.API_PORT,
        "advertise-address": layout.CONTROL_PLANE_IP,
        "service-cluster-ip-range": f"{layout.SERVICE_CIDR},{layout.SERVICE_CIDR6}",
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "feature-gates": FEATURE_GATES,
        "client-ca-file": _pki("ca.crt"),
        "tls-cert-file": _pki("apiserver.crt"),
        "tls-private-key-file": _pki("apiserver.key"),
        "kubelet-certificate-authority": _pki("ca.crt"),
        "kubelet-client-certificate": _pki("apiserver-kubelet-client.crt"),
        "kubelet-client-key": _pki("apiserver-kubelet-client.key"),
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": f"https://kubernetes.default.svc.{layout.DOMAIN}",
        "service-account-key-file": _pki("service-accounts.pub"),
        "service-account-signing-key-file": _pki("service-accounts.key"),
        "requestheader-client-ca-file": _pki("front-proxy-ca.crt"),
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": _pki("front-proxy-client.crt"),
        "proxy-client-key-file": _pki("front-proxy-client.key"),
        "enable-aggregator-routing": "true",  # there is no kube-proxy beside the API server
        "audit-policy-file": policy,
        "audit-log-path": layout.AUDIT_LOG,
        "audit-log-maxsize": 2000,  # MB; benchmarks read the log as one file
        "profiling": "false",
    }
    return _kube("kube-apiserver", flags)


def _controllers() -> list[str]:
    flags = {
        **_client("controller-manager"),
        "leader-elect": "false",
        "controllers": "*,-node-ipam-controller",  # node.py says which node has which addresses
        "use-service-account-credentials": "true",
        "service-account-private-key-file": _pki("service-accounts.key"),
        "root-ca-file": _pki("ca.crt"),
        "cluster-signing-cert-file": _pki("ca.crt"),
        "cluster-signing-key-file": _pki("ca.key"),
        "allocate-node-cidrs": "false",
        "service-cluster-ip-range": f"{layout.SERVICE_CIDR},{layout.SERVICE_CIDR6}",
    }
    return _kube("kube-controller-manager", flags)


def _scheduler() -> list[str]:
    return _kube("kube-scheduler", {**_client("scheduler"), "leader-elect": "false"})


def _client(component: str) -> dict[str, object]:
    kubeconfig = layout.PKI / f"{component}.kubeconfig"
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "kube-api-qps": 200,
        "kube-api-burst": 400,
        "profiling": "false",
    }


def _kube(component: str, flags: dict[str, object]) -> list[str]:
    return [str(layout.BIN / component), *(f"--{name}={value}" for name, value in flags.items())]


def _pki(name: str) -> Path:
    return layout.PKI / name
