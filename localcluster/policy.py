"""A policy engine, for tests of NetworkPolicy: kube-router's firewall, and nothing else of it.

Not there from the start, as every packet between pods then goes through its rules. It writes
iptables rules and address sets in a node's own network namespace; pods of one node speak through a
bridge, whose packets iptables sees by br_netfilter.

Source: kube-router's docs/user-guide.md; the NetworkPolicy API of Kubernetes.
"""

import subprocess

from . import beside, build, certs, layout, machine
from .api import Api, Object
from .progress import Failed, step, until
from .state import State, load

USER = "system:kube-router"
NAME = "kube-router"
CHAIN = "KUBE-ROUTER-FORWARD"
BRIDGED = ("iptables", "ip6tables")


def on() -> None:
    """On the nodes that run, from now on."""
    build.install(build.FOR_POLICY)
    build.build(build.POLICY)
    state = load()
    api = Api(layout.ADMIN_KUBECONFIG)
    for path, document in _objects():
        api.apply(path, document)
    with step("switching the policy engine on"):
        for node in _alive(state):
            _start(node, state)


def off() -> None:
    """And its rules are taken away."""
    state = load()
    for node in _alive(state):
        beside.stop(node, state, NAME)
        # Nobody else has iptables rules there: kube-proxy and the port mapper write nftables.
        for family in BRIDGED:
            beside.run(node, state, f"{family} -F; {family} -X")
        beside.run(node, state, "ipset destroy")


def _start(node: layout.Node, state: State) -> None:
    kubeconfig = certs.user(f"kube-router-{node.name}", f"/CN={USER}")
    for family in BRIDGED:
        beside.run(node, state, f"echo 1 >/proc/sys/net/bridge/bridge-nf-call-{family}")
    command = [
        str(layout.BIN / "kube-router"),
        *("--run-router=false", "--run-service-proxy=false", "--run-firewall=true"),
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={node.name}",
        f"--service-cluster-ip-range={layout.SERVICE_CIDR}",
        "--v=1",
    ]
    log = beside.start(node, state, NAME, command)
    chains = machine.enter(state.machines[node.name], ["iptables", "-n", "-L", CHAIN])
    until(
        f"{node.name}'s policy engine",
        lambda: subprocess.run(chains, capture_output=True).returncode == 0,
        seconds=60,
        logs=(log,),
    )


def _alive(state: State) -> list[layout.Node]:
    found = [node for node in state.nodes if state.alive(node.name)]
    if not found:
        raise Failed("no node is running")
    return found


def _objects() -> list[tuple[str, Object]]:
    rbac = "rbac.authorization.k8s.io"
    read = ["get", "list", "watch"]
    return [
        (
            f"/apis/{rbac}/v1/clusterroles/{USER}",
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRole",
                "metadata": {"name": USER},
                "rules": [
                    {
                        "apiGroups": [""],
                        "resources": ["namespaces", "pods", "services", "nodes", "endpoints"],
                        "verbs": read,
                    },
                    {
                        "apiGroups": ["networking.k8s.io"],
                        "resources": ["networkpolicies"],
                        "verbs": read,
                    },
                    {
                        "apiGroups": ["discovery.k8s.io"],
                        "resources": ["endpointslices"],
                        "verbs": read,
                    },
                ],
            },
        ),
        (
            f"/apis/{rbac}/v1/clusterrolebindings/{USER}",
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": USER},
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": USER},
                "subjects": [{"kind": "User", "apiGroup": rbac, "name": USER}],
            },
        ),
    ]
