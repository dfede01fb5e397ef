"""A policy engine, for tests of NetworkPolicy: kube-router's firewall, and nothing else of it.

Not there from the start, as every packet between pods then goes through its rules. It writes
iptables rules and address sets in a node's own network namespace; pods of one node speak through a
bridge, whose packets iptables sees by br_netfilter.

Source: kube-router's docs/user-guide.md; the NetworkPolicy API of Kubernetes.
"""

import subprocess

from . import build, certs, layout, machine
from .api import Api, Object
from .progress import Failed, step, until
from .state import State, load

USER = "system:kube-router"
PID = "/run/kube-router.pid"
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
            _stop(node, state)
            _start(node, state)


def off() -> None:
    """And its rules are taken away."""
    state = load()
    for node in _alive(state):
        _stop(node, state)
        # Nobody else has iptables rules there: kube-proxy and the port mapper write nftables.
        for family in BRIDGED:
            _run(node, state, f"{family} -F; {family} -X")
        _run(node, state, "ipset destroy")


def _stop(node: layout.Node, state: State) -> None:
    _run(node, state, f"if [ -e {PID} ]; then kill $(cat {PID}) || true; rm {PID}; sleep 1; fi")


def _start(node: layout.Node, state: State) -> None:
    kubeconfig = certs.user(f"kube-router-{node.name}", f"/CN={USER}")
    log = layout.LOGS / f"{node.name}-kube-router.log"
    for family in BRIDGED:
        _run(node, state, f"echo 1 >/proc/sys/net/bridge/bridge-nf-call-{family}")
    command = [
        str(layout.BIN / "kube-router"),
        *("--run-router=false", "--run-service-proxy=false", "--run-firewall=true"),
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={node.name}",
        f"--service-cluster-ip-range={layout.SERVICE_CIDR}",
        "--v=1",
    ]
    started = ["sh", "-c", f'echo $$ >{PID}; exec "$@"', "sh", *command]
    with log.open("wb") as out:
        subprocess.Popen(  # it ends with its node, or by `off`
            machine.enter(state.machines[node.name], started),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
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


def _run(node: layout.Node, state: State, script: str) -> None:
    command = machine.enter(state.machines[node.name], ["sh", "-c", script])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Failed(f"{node.name}: {script}: {done.stderr.strip()[-500:]}")


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
