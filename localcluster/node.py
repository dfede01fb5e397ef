"""containerd, kubelet and kube-proxy as services of one machine, and their configuration.

Sources: containerd's docs/cri/config.md; KubeletConfiguration v1beta1 and
KubeProxyConfiguration v1alpha1; the CNI specification 1.0 with the plugins bridge, host-local and
portmap; what small hosts need (no CAP_SYS_RESOURCE, cgroup version 1, read-only conntrack limits).
"""

import json
import shutil
from pathlib import Path
from typing import Any

from . import images, layout
from .machine import Machine, Service
from .progress import Failed


def machine(node: layout.Node) -> Machine:
    folder = node.folder
    folder.mkdir(parents=True, exist_ok=True)
    _write_containerd_config(folder)
    _write_cni_config(node)
    kubelet = configure_kubelet(node)
    proxy = _write(folder / "kube-proxy.json", _proxy_config(node))
    (folder / "resolv.conf").write_text(
        f"nameserver {layout.DNS_SERVICE_IP}\n"  # only pods with dnsPolicy Default see it
    )
    services = (
        Service(
            "containerd",
            [str(layout.BIN / "containerd"), "--config", str(folder / "containerd.toml")],
            log(node, "containerd"),
            {"PATH": f"{layout.BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        ),
        Service(
            "kubelet",
            [
                str(layout.BIN / "kubelet"),
                f"--config={kubelet}",
                f"--kubeconfig={layout.PKI / f'kubelet-{node.name}.kubeconfig'}",
                f"--hostname-override={node.name}",
                f"--node-ip={node.address},{node.address6}",
                "--v=2",
            ],
            log(node, "kubelet"),
        ),
        Service(
            "kube-proxy",
            [
                str(layout.BIN / "kube-proxy"),
                f"--config={proxy}",
                f"--hostname-override={node.name}",
            ],
            log(node, "kube-proxy"),
        ),
    )
    return Machine(node.name, node.address, node.address6, services, own_files=True)


def configure_kubelet(node: layout.Node, **changes: Any) -> Path:
    """Its configuration, with other values for some of the fields: it reads them when it starts,
    so one that runs is to be killed, and its machine starts it again."""
    return _write(node.folder / "kubelet.json", {**_kubelet_config(node), **changes})


def log(node: layout.Node, service: str) -> Path:
    return layout.LOGS / f"{node.name}-{service}.log"


def logs(node: layout.Node) -> tuple[Path, ...]:
    return tuple(log(node, service) for service in ("containerd", "kubelet", "kube-proxy"))


def _kubelet_config(node: layout.Node) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.PKI / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.PKI / f"kubelet-{node.name}.crt"),
        "tlsPrivateKeyFile": str(layout.PKI / f"kubelet-{node.name}.key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "clusterDNS": [layout.DNS_SERVICE_IP, layout.DNS_SERVICE_IP6],
        "clusterDomain": layout.DOMAIN,
        "resolvConf": str(node.folder / "resolv.conf"),
        "featureGates": {"ImageVolume": True},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,  # lowering it needs CAP_SYS_RESOURCE
        "serializeImagePulls": False,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "eventRecordQPS": 0,
        "maxPods": 250,
        # The disk is the whole host's: what others fill must not evict our pods.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "localStorageCapacityIsolation": True,
    }


def _proxy_config(node: layout.Node) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {
            "kubeconfig": str(layout.PKI / f"kube-proxy-{node.name}.kubeconfig"),
            "qps": 50,
            "burst": 100,
        },
        "mode": "nftables",
        "bindAddress": node.address,
        "nodePortAddresses": ["primary"],
        "nftables": {"minSyncPeriod": "100ms"},
        "clusterCIDR": f"{layout.POD_CIDR},{layout.POD_CIDR6}",
        "oomScoreAdj": 0,
        # nf_conntrack_max belongs to the host, not to this network namespace.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def _write_containerd_config(folder: Path) -> None:
    runc = shutil.which("runc")
    if runc is None:
        raise Failed("runc is not installed")
    (folder / "containerd.toml").write_text(f"""\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.differ.v1.erofs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{images.PAUSE.reference}"

[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "/etc/containerd/certs.d"

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  device_ownership_from_security_context = true
  enable_unprivileged_ports = false

[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{layout.BIN / "cni"}", "/opt/cni/bin"]
  conf_dir = "/etc/cni/net.d"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = "{runc}"
  SystemdCgroup = false
""")


def _write_cni_config(node: layout.Node) -> None:
    """Into what the node will see as its own /etc (init.py lays it over the host's)."""
    bridge = {
        "type": "asked-bridge",  # bridge, with what a pod's annotations ask of it
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "capabilities": {"io.kubernetes.cri.pod-annotations": True},
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/cni/ipam",  # leases end with the machine that gave them
            "ranges": [[{"subnet": node.pod_cidr}], [{"subnet": node.pod_cidr6}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}, "backend": "nftables"}
    folder = node.folder / "etc" / "cni" / "net.d"
    folder.mkdir(parents=True, exist_ok=True)
    _write(
        folder / "10-pods.conflist",
        {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]},
    )


def _write(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
