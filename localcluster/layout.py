"""Where things are: folders, names and addresses, all derived from the repository's own path.

Every address has a twin of IPv6. Two checkouts on one host must not meet, so every name that the
kernel keeps globally (network namespaces, cgroups) carries a short hash of the checkout's path.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
BIN = LOCAL / "bin"
CLUSTER = LOCAL / "cluster"
LOGS = CLUSTER / "logs"
PKI = CLUSTER / "pki"
ADMIN_KUBECONFIG = PKI / "admin.kubeconfig"
STATE = CLUSTER / "state.json"
AUDIT_LOG = CLUSTER / "audit.log"
KUBECONFIG = LOCAL / "kubeconfig"
IMAGES = LOCAL / "images" / "cluster"
GO_MODULES = Path(__file__).resolve().parent / "go"

PREFIX = "virtpod-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
CONTROL_PLANE = "control-plane"
SWITCH = "switch"

SUBNET = "172.30.0"
SUBNET_BITS = 24
CONTROL_PLANE_IP = f"{SUBNET}.2"
SUBNET6 = "fd00:172:30:"
SUBNET6_BITS = 64
CONTROL_PLANE_IP6 = f"{SUBNET6}:2"
API_PORT = 6443
API_SERVER = f"https://{CONTROL_PLANE_IP}:{API_PORT}"
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
POD_CIDR6 = "fd00:10:244::/48"
SERVICE_CIDR6 = "fd00:10:96::/112"
API_SERVICE_IP = "10.96.0.1"
DNS_SERVICE_IP = "10.96.0.10"
DNS_SERVICE_IP6 = "fd00:10:96::a"
DOMAIN = "cluster.local"
MOST_NODES = 9


@dataclass(frozen=True, slots=True)
class Node:
    """One node's names and addresses; `number` counts from 1."""

    number: int

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def address(self) -> str:
        return f"{SUBNET}.{10 + self.number}"

    @property
    def pod_cidr(self) -> str:
        return f"10.244.{self.number}.0/24"

    @property
    def address6(self) -> str:
        return f"{SUBNET6}:{10 + self.number}"

    @property
    def pod_cidr6(self) -> str:
        return f"fd00:10:244:{self.number}::/64"

    @property
    def folder(self) -> Path:
        return machine_folder(self.name)


ALL_NODES = tuple(Node(number) for number in range(1, MOST_NODES + 1))


def machine_folder(machine: str) -> Path:
    return CLUSTER / "machines" / machine


def netns(machine: str) -> str:
    return f"{PREFIX}-{machine}"


def netns_path(machine: str) -> Path:
    return Path("/run/netns") / netns(machine)
