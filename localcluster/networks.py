"""Multus, for tests of secondary networks: not there from the start, for each pod starts later
with it. Beside it a program (`attach.py`) follows the annotations of pods that run.

It comes first in each node's CNI configuration and hands the pod's own network on to what was
there; what else a pod's annotation asks for it attaches as NetworkAttachmentDefinitions say.

Source: Multus' docs/configuration.md; the definition's kind is the Network Plumbing Working
Group's multi-net-spec.
"""

import json
import subprocess
import sys

from . import beside, build, certs, layout, machine
from .api import Api, Object
from .progress import Failed, step, until
from .state import State, load

GROUP, PLURAL = "k8s.cni.cncf.io", "network-attachment-definitions"
CONFIG = "/etc/cni/net.d/00-multus.conf"
USER = "system:multus"
ATTACH = "attach-networks"


def on() -> None:
    """For pods that start from now on, on the nodes that run."""
    build.build(build.NETWORKS)
    state = _running()
    api = Api(layout.ADMIN_KUBECONFIG)
    with step("switching Multus on"):
        for path, document in _objects():
            api.apply(path, document)
        kind = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{PLURAL}.{GROUP}"
        until("the kind of networks", lambda: _established(api.get(kind)), seconds=30, logs=())
        for node in _alive(state):
            kubeconfig = certs.user(f"multus-{node.name}", f"/CN={USER}")
            config = {
                "cniVersion": "1.0.0",
                "name": "multus",
                "type": "multus",
                "capabilities": {"portMappings": True},
                "kubeconfig": str(kubeconfig),
                "clusterNetwork": "pods",  # by a file's path Multus 4.2 cannot undo it
                "confDir": "/etc/cni/net.d",
                "cniDir": "/run/cni/multus",
                "binDir": str(layout.BIN / "cni"),
                "logFile": str(layout.LOGS / f"{node.name}-multus.log"),
                "logLevel": "error",
            }
            _shell(node, state, f"mkdir -p /run/cni/multus && cat >{CONFIG}", json.dumps(config))
            python = ["env", f"PYTHONPATH={layout.ROOT}", sys.executable]
            follow = [*python, "-m", f"{__package__}.attach", node.name, str(kubeconfig)]
            beside.start(node, state, ATTACH, follow)


def off() -> None:
    """For pods that start from now on. The kind and its objects stay."""
    state = _running()
    for node in _alive(state):
        _shell(node, state, f"rm -f {CONFIG}")
        beside.stop(node, state, ATTACH)


def _running() -> State:
    state = load()
    if not _alive(state):
        raise Failed("no node is running")
    return state


def _alive(state: State) -> list[layout.Node]:
    return [node for node in state.nodes if state.alive(node.name)]


def _shell(node: layout.Node, state: State, script: str, stdin: str = "") -> None:
    command = machine.enter(state.machines[node.name], ["sh", "-c", script])
    subprocess.run(command, input=stdin, text=True, check=True, timeout=30)


def _established(kind: Object) -> bool:
    found = kind.get("status", {}).get("conditions", [])
    return any(each["type"] == "Established" and each["status"] == "True" for each in found)


def _objects() -> list[tuple[str, Object]]:
    rbac = "rbac.authorization.k8s.io"
    kind = f"{PLURAL}.{GROUP}"
    return [
        (f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}", _kind(kind)),
        (
            f"/apis/{rbac}/v1/clusterroles/{USER}",
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRole",
                "metadata": {"name": USER},
                "rules": [
                    {"apiGroups": [GROUP], "resources": ["*"], "verbs": ["get", "list", "watch"]},
                    {
                        "apiGroups": [""],
                        "resources": ["pods", "pods/status"],
                        "verbs": ["get", "list", "watch", "update", "patch"],
                    },
                    {
                        "apiGroups": ["", "events.k8s.io"],
                        "resources": ["events"],
                        "verbs": ["create", "patch", "update"],
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


def _kind(name: str) -> Object:
    config = {"type": "string", "description": "A CNI configuration, or empty: by its name."}
    spec = {"type": "object", "properties": {"config": config}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": PLURAL,
                "singular": "network-attachment-definition",
                "kind": "NetworkAttachmentDefinition",
                "shortNames": ["net-attach-def"],
            },
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                }
            ],
        },
    }
