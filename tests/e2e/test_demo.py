"""The example that newcomers apply, seen from the console, from a pod, and by kubectl."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
import yaml

from localcluster import layout
from tests.e2e.support import (
    ROOT,
    Console,
    Namespace,
    Object,
    condition,
    server,
    service,
)
from virtpod.kube.client import Client
from virtpod.kube.config import Config

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def demo(namespace: Namespace) -> Object:
    """The VMI of examples/vm-demo.yaml, with an HTTP server beside it and a Service before it."""
    namespace.kubectl("apply", "--filename", str(ROOT / "examples/vm-demo.yaml"))
    namespace.apply(*server("web"), service("guest", {"app": "demo"}, 80))
    found = namespace.running("demo")
    namespace.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    return found


@pytest.fixture(scope="module")
def console(namespace: Namespace, demo: Object) -> Iterator[Console]:
    with Console(namespace.name, "demo") as opened:
        yield opened.login()


def test_the_vm_runs(namespace: Namespace, demo: Object) -> None:
    found = namespace.wait(
        "vm", "demo", lambda vm: condition(vm, "Ready") == "True", "the VM is ready"
    )
    assert found["status"]["printableStatus"] == "Running"
    assert found["status"]["ready"] is True
    assert found["status"]["created"] is True
    assert demo["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]


def test_kubectl_shows_the_columns(namespace: Namespace, demo: Object) -> None:
    vms = namespace.kubectl("get", "vm", "demo").splitlines()
    assert vms[0].split() == ["NAME", "AGE", "STATUS", "READY"]
    assert vms[1].split()[2:] == ["Running", "True"]
    vmis = namespace.kubectl("get", "vmi", "demo").splitlines()
    assert vmis[0].split() == ["NAME", "AGE", "PHASE", "IP", "NODENAME", "READY"]
    address = demo["status"]["interfaces"][0]["ipAddress"]
    assert vmis[1].split()[2:] == ["Running", address, demo["status"]["nodeName"], "True"]


def test_the_address_is_the_pods(namespace: Namespace, demo: Object) -> None:
    pod = namespace.launcher(demo)
    assert demo["status"]["interfaces"][0]["ipAddress"] == pod["status"]["podIP"]


def test_cloud_init_was_read(console: Console) -> None:
    assert console.run("hostname") == "demo"
    assert console.run("cat /root/runcmd") == "hello from runcmd"


@pytest.mark.shows("domain.memory.guest")
def test_the_guest_has_the_memory_it_was_given(console: Console) -> None:
    kilobytes = int(console.run("awk '/^MemTotal/ {print $2}' /proc/meminfo"))
    assert 64 << 10 < kilobytes <= 128 << 10


@pytest.mark.parametrize("way", ["name", "full name", "address"])
def test_the_guest_reaches_a_service(namespace: Namespace, console: Console, way: str) -> None:
    host = {
        "name": "web",
        "full name": f"web.{namespace.name}.svc.cluster.local",
        "address": namespace.get("service", "web")["spec"]["clusterIP"],
    }[way]
    assert "hello from a pod" in console.run(f"wget -q -T 20 -O - http://{host}/")


def test_a_pod_reaches_the_guest_through_a_service(namespace: Namespace, console: Console) -> None:
    console.run("hostname")
    said = namespace.kubectl("exec", "web", "--", "wget", "-q", "-O", "-", "http://guest/")
    assert said.strip() == "hello from demo"


def test_virsh_works_in_the_launcher(namespace: Namespace, demo: Object) -> None:
    pod = namespace.launcher(demo)["metadata"]["name"]
    domain = f"{namespace.name}_demo"
    listed = namespace.compute(pod, "virsh", "list").split()
    assert domain in listed
    assert "running" in listed
    xml = namespace.compute(pod, "virsh", "dumpxml", domain)
    assert f"<name>{domain}</name>" in xml
    assert demo["spec"]["domain"]["firmware"]["uuid"] in xml


def test_the_launcher_is_not_privileged(namespace: Namespace, demo: Object) -> None:
    pod = namespace.launcher(demo)
    compute = next(each for each in pod["spec"]["containers"] if each["name"] == "compute")
    context = compute["securityContext"]
    assert not context.get("privileged")
    assert context.get("capabilities", {}).get("add", []) in ([], ["NET_BIND_SERVICE"])
    assert namespace.compute(pod["metadata"]["name"], "id", "-u").strip() == "107"


def test_vnc_answers(namespace: Namespace, demo: Object) -> None:
    async def banner() -> bytes:
        path = (
            "/apis/subresources.kubevirt.io/v1/namespaces/"
            f"{namespace.name}/virtualmachineinstances/demo/vnc"
        )
        config = Config.from_kubeconfig(str(layout.KUBECONFIG))
        seen = b""
        async with (
            asyncio.timeout(30),
            Client(config, component="e2e") as client,
            client.websocket(path, protocols=("plain.kubevirt.io",)) as stream,
        ):
            while len(seen) < 12:
                seen += await stream.receive_bytes()
        return seen

    assert asyncio.run(banner()) == b"RFB 003.008\n"


def test_virtctl_knows_both_versions(namespace: Namespace) -> None:
    said = namespace.virtctl("version")
    assert "Client" in said
    assert "Server" in said


def test_what_was_created_is_told_in_events(namespace: Namespace, demo: Object) -> None:
    namespace.told("demo", "SuccessfulCreate", "Started")


def test_server_side_dry_run_keeps_nothing(namespace: Namespace) -> None:
    manifest = yaml.safe_load((ROOT / "examples/vm-demo.yaml").read_text(encoding="utf-8"))
    manifest["metadata"]["name"] = "never"
    namespace.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))
    assert "never" not in namespace.kubectl("get", "vm", "-o", "name")
