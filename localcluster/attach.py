"""Links that a running pod gets and loses when its annotation changes, on one node: what the
multus-dynamic-networks-controller does, which cannot be had as a Go module.

The links are made by CNI's own `cnitool`, from the NetworkAttachmentDefinitions, and noted where
Multus notes those that it made. Multus knows nothing of them: what IPAM gave them is given back
when the pod loses them, or ends.

`python3 -m localcluster.attach NODE KUBECONFIG`; `networks.py` starts it.

Source: the CNI specification 1.0; multi-net-spec of the Network Plumbing Working Group.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import layout
from .api import Api, Object, Refused

DEFINITIONS = "/apis/k8s.cni.cncf.io/v1/namespaces/{}/network-attachment-definitions/{}"
NETWORKS = "k8s.v1.cni.cncf.io/networks"
STATUS = "k8s.v1.cni.cncf.io/network-status"
NUMBERED = re.compile(r"net\d+")
"""Names that Multus gives to links for which the annotation names none."""
CONFIGS = Path("/run/cni/attach")
PLUGINS = f"{layout.BIN / 'cni'}:/opt/cni/bin"
WATCH = 300
AGAIN = 2.0
"""Seconds: of one watch, and until what failed is tried again."""


def changes(asked: str, noted: str) -> tuple[list[Object], list[Object]]:
    """Of a pod's two annotations: networks to attach, and notes of links to take away."""
    try:
        wanted, have = json.loads(asked or "[]"), json.loads(noted)
    except ValueError:
        return [], []  # Multus has not been here yet; or users wrote the short form
    own = {each["interface"]: each for each in wanted if each.get("interface")}
    there = {each["interface"]: each for each in have if each.get("interface")}
    coming = [each for name, each in own.items() if name not in there]
    going = [
        each
        for name, each in there.items()
        if name not in own and not each.get("default") and not NUMBERED.fullmatch(name)
    ]
    return coming, going


class Attacher:
    def __init__(self, node: str, api: Api) -> None:
        self._node = node
        self._api = api
        self._made: dict[str, dict[str, tuple[str, str]]] = {}
        """By pod's uid and link: network namespace, namespace/name of the definition."""

    def run(self) -> None:
        """For ever: what the API server or a plugin refuses is tried again."""
        while True:
            try:
                self._watch()
            except (OSError, Refused, ValueError, subprocess.SubprocessError) as error:
                print(f"again in {AGAIN:g} s: {error!r}", flush=True)
                time.sleep(AGAIN)

    def _watch(self) -> None:
        which = f"fieldSelector=spec.nodeName%3D{self._node}&timeoutSeconds={WATCH}"
        with self._api.watch(f"/api/v1/pods?watch=1&{which}") as events:
            for line in events:
                event = json.loads(line)
                if event["type"] == "DELETED":
                    self._gone(event["object"]["metadata"]["uid"])
                elif event["type"] in ("ADDED", "MODIFIED"):
                    self._look(event["object"])

    def _look(self, pod: Object) -> None:
        meta = pod["metadata"]
        notes = meta.get("annotations") or {}
        if pod["status"].get("phase") != "Running" or meta.get("deletionTimestamp"):
            return
        coming, going = changes(notes.get(NETWORKS, ""), notes.get(STATUS, ""))
        if not coming and not going:
            return
        netns = _netns(meta["uid"])
        status = json.loads(notes[STATUS])
        for note in going:
            self._detach(netns, note["name"], note["interface"])
            self._made.get(meta["uid"], {}).pop(note["interface"], None)
            status.remove(note)
        for network in coming:
            status.append(self._attach(netns, meta, network))
        body = {"metadata": {"annotations": {STATUS: json.dumps(status)}}}
        self._api.patch(f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}", body)

    def _attach(self, netns: str, pod: Object, network: Object) -> Object:
        definition = f"{network.get('namespace') or pod['namespace']}/{network['name']}"
        link = network["interface"]
        arguments = {
            "IgnoreUnknown": "1",
            "K8S_POD_NAMESPACE": pod["namespace"],
            "K8S_POD_NAME": pod["name"],
            **({"MAC": network["mac"]} if network.get("mac") else {}),
        }
        made = json.loads(self._cnitool("add", netns, definition, link, arguments))
        self._made.setdefault(pod["uid"], {})[link] = (netns, definition)
        inside = next(each for each in made["interfaces"] if each.get("name") == link)
        addresses = [each["address"].partition("/")[0] for each in made.get("ips", ())]
        print(f"{pod['namespace']}/{pod['name']} has {link}, of {definition}", flush=True)
        return {
            "name": definition,
            "interface": link,
            "ips": addresses,
            "mac": inside["mac"],
            "dns": {},
        }

    def _detach(self, netns: str, definition: str, link: str) -> None:
        self._cnitool("del", netns, definition, link, {"IgnoreUnknown": "1"})
        print(f"{link}, of {definition}, is gone", flush=True)

    def _gone(self, uid: str) -> None:
        for link, (netns, definition) in self._made.pop(uid, {}).items():
            self._detach(netns, definition, link)

    def _cnitool(
        self, verb: str, netns: str, definition: str, link: str, arguments: dict[str, str]
    ) -> str:
        namespace, _, name = definition.partition("/")
        folder = CONFIGS / namespace / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "net.conf"
        if verb == "add" or not path.exists():
            found = self._api.get(DEFINITIONS.format(namespace, name))
            config: dict[str, Any] = json.loads(found["spec"]["config"])
            config = {"cniVersion": "1.0.0", **config, "name": name}
            if "plugins" in config:
                path = path.with_suffix(".conflist")
            path.write_text(json.dumps(config))
        environment = {
            **os.environ,
            "CNI_PATH": PLUGINS,
            "NETCONFPATH": str(folder),
            "CNI_IFNAME": link,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in arguments.items()),
        }
        return _said([str(layout.BIN / "cni" / "cnitool"), verb, name, netns], environment)


def _netns(uid: str) -> str:
    """The path of a pod's network namespace, as containerd knows it."""
    ctr = [str(layout.BIN / "ctr"), "--namespace", "k8s.io", "containers"]
    which = f'labels."io.kubernetes.pod.uid"=={uid},labels."io.cri-containerd.kind"==sandbox'
    sandboxes = _said([*ctr, "ls", "-q", which]).split()
    if not sandboxes:
        raise ValueError(f"containerd has no sandbox of pod {uid}")
    spec = json.loads(_said([*ctr, "info", sandboxes[-1]]))["Spec"]
    spaces = spec["linux"]["namespaces"]
    return str(next(each["path"] for each in spaces if each["type"] == "network"))


def _said(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise ValueError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    Attacher(sys.argv[1], Api(Path(sys.argv[2]), timeout=WATCH + 10)).run()
