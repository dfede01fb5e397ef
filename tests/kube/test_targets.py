"""Where a real scheduler puts a pod by the terms of condition HostDeviceTargets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kube import server
from virtpod.controllers import conditions, targets
from virtpod.controllers.why import Node
from virtpod.domain import moving
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.resources import NAMESPACES, NODES, PODS, Key

CY, DC, NIC = "8086-4941.cy", "8086-4941.dc", "15b3-101e"
HAVE: dict[str, dict[str, str]] = {
    "crypto": {CY: "moves"},
    "mixed": {CY: "stays", DC: "moves"},
    "network": {CY: "moves", NIC: "moves"},
    "bare": {},
}
"""The kinds that each node has."""


@pytest.fixture(scope="module")
def scheduler(apiserver: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """Of the same version as the API server, with its own defaults."""
    folder = tmp_path_factory.mktemp("scheduler")
    cluster = {"server": apiserver.server, "insecure-skip-tls-verify": True}
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "clusters": [{"name": "a", "cluster": cluster}],
        "users": [{"name": "a", "user": {"token": server.TOKEN}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(kubeconfig))
    [port] = server.free_ports(1)
    command = [
        str(server.BIN / "kube"),
        "kube-scheduler",
        f"--kubeconfig={folder / 'kubeconfig'}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder}",
    ]
    with server.process(command, Path(folder, "scheduler.log")):
        yield apiserver


def labels(have: dict[str, str]) -> dict[str, str]:
    told = {moving.LABEL + kind: how for kind, how in have.items()}
    return {"kubevirt.io/schedulable": "true", **told}


def pod(name: str, wanted: dict[str, str]) -> dict[str, Any]:
    terms = [{"matchExpressions": targets.terms(wanted)}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {
        "metadata": {"name": name},
        "spec": {
            "containers": [{"name": "compute", "image": "none"}],
            "affinity": {"nodeAffinity": required},
            # No controller is there to say that the nodes are ready.
            "tolerations": [{"operator": "Exists"}],
        },
    }


@pytest.mark.apiserver
async def test_the_scheduler_chooses_among_the_nodes_that_the_condition_names(
    scheduler: Config,
) -> None:
    nodes = [Node(name, labels(have)) for name, have in HAVE.items()]
    wants: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
        "one": ({"a": CY}, ("crypto", "network")),
        "other": ({"a": DC}, ("mixed",)),
        "both": ({"a": CY, "b": NIC}, ("network",)),
        "apart": ({"a": DC, "b": NIC}, ()),
        "none": ({"a": "8086-4949.cy"}, ()),
    }
    async with Client(scheduler, component="test") as client:
        await client.create(NAMESPACES, {"metadata": {"name": "targets"}})
        for node in nodes:
            room = {"cpu": "8", "memory": "8Gi", "pods": "10"}
            status = {"allocatable": room, "capacity": room}
            metadata = {"name": node.name, "labels": dict(node.labels)}
            await client.create(NODES, {"metadata": metadata})
            await client.patch(NODES, Key("", node.name), {"status": status}, subresource="status")
        for name, (wanted, _) in wants.items():
            await client.create(PODS, pod(name, wanted), namespace="targets")
        for name, (wanted, fit) in wants.items():
            told = targets.condition(wanted, "", nodes)
            assert told["status"] == str(bool(fit))
            assert not fit or told["message"].endswith(": " + ", ".join(fit))
            placed = await _decided(client, name, bool(fit))
            assert placed["spec"].get("nodeName", "") in (fit or ("",)), name


async def _decided(client: Client, name: str, fits: bool) -> dict[str, Any]:
    """The pod with its node, or when the scheduler has said that there is none."""
    async with asyncio.timeout(60):
        while True:
            found = await client.get(PODS, Key("targets", name))
            said = conditions.find(conditions.of(found), "PodScheduled") or {}
            if found["spec"].get("nodeName"):
                return found
            if not fits and "affinity" in said.get("message", ""):
                return found
            await asyncio.sleep(0.2)
