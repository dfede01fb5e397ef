"""A driver of resource claims for PCI functions of a node: registers with the kubelet, publishes
what there is, and has containers given what was allotted (CDI). Some drivers tell a container what
it was given (KEP-5304), and some do not.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from localcluster.layout import Node
from tests.e2e.support import Object, eventually, kubectl, on_node

MESSAGES: Any = grpc.protos("tests/e2e/dra.proto")  # type: ignore[attr-defined]
SERVICE = "k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin"
PLACE = "var/lib/claims"
ATTRIBUTES = "/var/run/kubernetes.io/dra-device-attributes"


@dataclass
class Driver:
    """`functions`: address and VFIO group of each. `tells`: its attributes and files name them."""

    name: str
    node: Node
    functions: Mapping[str, int]
    tells: bool
    prepared: list[str] = field(default_factory=list)
    """Names of the claims that the kubelet had prepared, in order; those undone begin with "-"."""

    def left(self) -> set[str]:
        """What was prepared and not undone."""
        undone = {name.removeprefix("-") for name in self.prepared if name.startswith("-")}
        return {name for name in self.prepared if not name.startswith("-")} - undone

    @contextlib.contextmanager
    def running(self) -> Iterator[Driver]:
        Path(self.node.folder, PLACE).mkdir(parents=True, exist_ok=True)
        self._give("devices", [self._device(address) for address in self.functions])
        kubectl("apply", "-f", "-", stdin=json.dumps(self._objects()))
        plugin = f"/var/lib/kubelet/plugins/{self.name}"
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(4) as threads:
            short = Path(folder, "node")  # the name of a socket must not be long
            short.symlink_to(self.node.folder)
            Path(f"{short}{plugin}").mkdir(parents=True, exist_ok=True)
            server = grpc.server(threads)
            server.add_generic_rpc_handlers(tuple(self._services(f"{plugin}/dra.sock")))
            registry = f"/var/lib/kubelet/plugins_registry/{self.name}.sock"
            for socket in (f"{plugin}/dra.sock", registry):
                server.add_insecure_port(f"unix://{short}{socket}")
            server.start()
            try:
                yield self
            finally:
                Path(f"{short}{registry}").unlink(missing_ok=True)
                server.stop(1).wait()
                kubectl(
                    "delete", "-f", "-", "--ignore-not-found", stdin=json.dumps(self._objects())
                )
                on_node(self.node.name, f"rm -f /var/run/cdi/{self.name}-*; rm -rf {plugin}")

    def named(self, address: str) -> str:
        return "vf-" + address.replace(":", "-").replace(".", "-")

    # What the API server is told

    def _objects(self) -> Object:
        devices = []
        for address in self.functions:
            said: dict[str, Any] = {"services": {"string": "sym"}}
            if self.tells:
                said["resource.kubernetes.io/pciBusID"] = {"string": address}
            devices.append({"name": self.named(address), "attributes": said})
        return {
            "apiVersion": "v1",
            "kind": "List",
            "items": [
                {
                    "apiVersion": "resource.k8s.io/v1",
                    "kind": "DeviceClass",
                    "metadata": {"name": self.name},
                    "spec": {
                        "selectors": [{"cel": {"expression": f'device.driver == "{self.name}"'}}]
                    },
                },
                {
                    "apiVersion": "resource.k8s.io/v1",
                    "kind": "ResourceSlice",
                    "metadata": {"name": f"{self.node.name}-{self.name}"},
                    "spec": {
                        "driver": self.name,
                        "nodeName": self.node.name,
                        "pool": {
                            "name": self.node.name,
                            "generation": 1,
                            "resourceSliceCount": 1,
                        },
                        "devices": devices,
                    },
                },
            ],
        }

    # What containers are given

    def _device(self, address: str) -> Object:
        nodes = ["/dev/vfio/vfio", f"/dev/vfio/{self.functions[address]}"]
        return {
            "name": self.named(address),
            "containerEdits": {"deviceNodes": [{"path": node, "type": "c"} for node in nodes]},
        }

    def _give(self, what: str, devices: list[Object]) -> None:
        """Writes a specification, as a whole."""
        spec = {"cdiVersion": "0.6.0", "kind": f"{self.name}/{what}", "devices": devices}
        name = f"{self.name}-{what}.json"
        Path(self.node.folder, PLACE, name).write_text(json.dumps(spec))
        on_node(
            self.node.name,
            f"mkdir -p /var/run/cdi; cp /{PLACE}/{name} /var/run/cdi/.{name};"
            f"mv /var/run/cdi/.{name} /var/run/cdi/{name}",
        )

    def _tell(self, claim: Object, results: list[Object]) -> None:
        """A file for each request, that the container sees."""
        metadata = claim["metadata"]
        pods_name = (metadata.get("annotations") or {}).get("resource.kubernetes.io/pod-claim-name")
        place = f"resourceclaimtemplates/{pods_name}" if pods_name else "resourceclaims/{name}"
        mounts = []
        for request in {each["request"] for each in results}:
            told = {
                "apiVersion": "metadata.resource.k8s.io/v1alpha1",
                "kind": "DeviceMetadata",
                "metadata": {key: metadata[key] for key in ("name", "namespace", "uid")}
                | {"generation": 1},
                **({"podClaimName": pods_name} if pods_name else {}),
                "requests": [
                    {
                        "name": request,
                        "devices": [
                            {
                                "driver": self.name,
                                "pool": each["pool"],
                                "name": each["device"],
                                "attributes": {
                                    "resource.kubernetes.io/pciBusID": {"string": address}
                                },
                            }
                            for each in results
                            for address in self.functions
                            if each["request"] == request and each["device"] == self.named(address)
                        ],
                    }
                ],
            }
            file = f"{metadata['uid']}-{request}.json"
            Path(self.node.folder, PLACE, file).write_text(json.dumps(told))
            where = place.format(name=metadata["name"])
            mounts.append(
                {
                    "hostPath": f"/{PLACE}/{file}",
                    "containerPath": f"{ATTRIBUTES}/{where}/{request}/{self.name}-metadata.json",
                    "options": ["ro", "bind"],
                }
            )
        device = {"name": metadata["uid"], "containerEdits": {"mounts": mounts}}
        self._give(f"claim-{metadata['uid'][:8]}", [device])

    # What the kubelet calls

    def _services(self, endpoint: str) -> Iterator[Any]:
        def unary(behaviour: Any, request: Any, response: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                behaviour, request.FromString, response.SerializeToString
            )

        m = MESSAGES
        info = m.PluginInfo(
            type="DRAPlugin",
            name=self.name,
            endpoint=endpoint,
            supported_versions=["v1beta1.DRAPlugin"],
        )
        registration = {
            "GetInfo": unary(lambda _request, _context: info, m.InfoRequest, m.PluginInfo),
            "NotifyRegistrationStatus": unary(
                self._registered, m.RegistrationStatus, m.RegistrationStatusResponse
            ),
        }
        yield grpc.method_handlers_generic_handler("pluginregistration.Registration", registration)
        plugin = {
            "NodePrepareResources": unary(self._prepare, m.Claims, m.AllPrepared),
            "NodeUnprepareResources": unary(self._undo, m.Claims, m.AllUnprepared),
        }
        yield grpc.method_handlers_generic_handler(SERVICE, plugin)

    registered = ""
    """What the kubelet said to it: "yes", or why not."""

    def _registered(self, status: Any, _context: Any) -> Any:
        self.registered = "yes" if status.plugin_registered else status.error
        return MESSAGES.RegistrationStatusResponse()

    def wait(self) -> None:
        """Until the kubelet has it."""
        eventually(lambda: self.registered == "yes", lambda: self.registered or "not asked", 60)

    def _prepare(self, request: Any, _context: Any) -> Any:
        answer = MESSAGES.AllPrepared()
        for asked in request.claims:
            said = kubectl("get", "resourceclaim", "-n", asked.namespace, asked.name, "-o", "json")
            claim = json.loads(said)
            results = [
                each
                for each in claim["status"]["allocation"]["devices"]["results"]
                if each["driver"] == self.name
            ]
            own = []
            if self.tells:
                self._tell(claim, results)
                own.append(f"{self.name}/claim-{asked.uid[:8]}={asked.uid}")
            for each in results:
                answer.claims[asked.uid].devices.add(
                    request_names=[each["request"]],
                    pool_name=each["pool"],
                    device_name=each["device"],
                    cdi_device_ids=[f"{self.name}/devices={each['device']}", *own],
                )
            self.prepared.append(asked.name)
        return answer

    def _undo(self, request: Any, _context: Any) -> Any:
        answer = MESSAGES.AllUnprepared()
        for asked in request.claims:
            answer.claims[asked.uid].error = ""
            self.prepared.append(f"-{asked.name}")
        return answer
