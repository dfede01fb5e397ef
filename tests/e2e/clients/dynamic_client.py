"""A VM's life by the dynamic client of the package kubernetes; says what it saw, as JSON.

Runs in an environment of its own, with nothing of this project's.
"""

import json
import sys
import time

from kubernetes import config
from kubernetes.dynamic import DynamicClient
from kubernetes.stream.ws_client import create_websocket

WITHIN = 120


def main(kubeconfig: str, namespace: str, image: str, cache: str) -> None:
    api = config.new_client_from_config(kubeconfig)
    client = DynamicClient(api, cache_file=cache)
    machines = client.resources.get(api_version="kubevirt.io/v1", kind="VirtualMachine")
    instances = client.resources.get(api_version="kubevirt.io/v1", kind="VirtualMachineInstance")
    seen = {"short names": machines.short_names}

    machine = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "dynamic"},
        "spec": {
            "runStrategy": "Halted",
            "template": {
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "domain": {
                        "memory": {"guest": "128Mi"},
                        "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
                    },
                    "volumes": [{"name": "root", "containerDisk": {"image": image}}],
                }
            },
        },
    }
    seen["created"] = machines.create(body=machine, namespace=namespace).to_dict()
    change = {"metadata": {"labels": {"by": "patch"}}, "spec": {"runStrategy": "Always"}}
    patched = machines.patch(
        name="dynamic",
        namespace=namespace,
        body=change,
        content_type="application/merge-patch+json",
    )
    seen["patched"] = patched.to_dict()

    phases = seen["phases"] = []
    names = "metadata.name=dynamic"
    for event in instances.watch(namespace=namespace, field_selector=names, timeout=WITHIN):
        status = event["raw_object"].get("status", {})
        if status.get("phase") not in phases[-1:]:
            phases.append(status.get("phase"))
        if phases[-1] == "Running":
            break

    applied = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "dynamic", "labels": {"applied": "yes"}},
        "spec": {"template": {"metadata": {"labels": {"applied": "yes"}}}},
    }
    done = machines.server_side_apply(
        name="dynamic", namespace=namespace, body=applied, field_manager="somebody"
    )
    seen["applied"] = done.to_dict()

    path = f"/apis/subresources.kubevirt.io/v1/namespaces/{namespace}"
    url = f"{api.configuration.host}{path}/virtualmachineinstances/dynamic/console"
    console = create_websocket(api.configuration, url.replace("https:", "wss:"))
    console.settimeout(WITHIN)
    console.send_binary(b"\n")
    for prompt, answer in (
        (b"login: ", b"root\n"),
        (b"Password: ", b"demo\n"),
        (b"# ", b"echo uid-$(id -u)-$(hostname)\n"),
    ):
        until(console, prompt)
        console.send_binary(answer)
    seen["console"] = until(console, b"uid-0-dynamic").decode(errors="replace")
    console.close()

    version = machines.get(name="dynamic", namespace=namespace).metadata.resourceVersion
    machines.delete(name="dynamic", namespace=namespace, body={"propagationPolicy": "Foreground"})
    seen["deleted"] = False
    for event in machines.watch(
        namespace=namespace, field_selector=names, resource_version=version, timeout=WITHIN
    ):
        if event["type"] == "DELETED":
            seen["deleted"] = True
            break
    json.dump(seen, sys.stdout)


def until(console, wanted: bytes) -> bytes:
    """Reads until the console has said this; what it said."""
    said, deadline = b"", time.monotonic() + WITHIN
    while wanted not in said:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{wanted!r} did not come: {said!r}")
        said += console.recv()
    return said


if __name__ == "__main__":
    main(*sys.argv[1:])
