"""Clients that others wrote, each doing a whole job: docs/clients.md has what was seen."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import layout
from tests.e2e import outside
from tests.e2e.support import (
    BOOT,
    GUEST,
    ROOT,
    Namespace,
    condition,
    eventually,
    kubectl,
    on_node,
    static_volume,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NODE = "node1"


def test_the_dynamic_client_of_python(namespace: Namespace, tmp_path: Path) -> None:
    seen = json.loads(
        outside.run(
            str(outside.python("kubernetes") / "python"),
            *(str(outside.LOCKS / "dynamic_client.py"), str(layout.KUBECONFIG)),
            *(namespace.name, GUEST, str(tmp_path / "discovery")),
            environment=outside.environment(tmp_path),
            seconds=300,
        )
    )
    assert seen["short names"] == ["vm", "vms"]
    # What admission adds is in the answer already.
    assert seen["created"]["spec"]["template"]["spec"]["domain"]["machine"]["type"] == "q35"
    assert seen["patched"]["metadata"]["labels"] == {"by": "patch"}
    assert seen["phases"][-1] == "Running"
    assert seen["phases"] == [
        each for each in ("Pending", "Scheduling", "Scheduled", "Running") if each in seen["phases"]
    ]
    applied = seen["applied"]
    assert applied["metadata"]["labels"] == {"by": "patch", "applied": "yes"}
    assert applied["spec"]["runStrategy"] == "Always"
    owners = {entry["manager"]: entry for entry in applied["metadata"]["managedFields"]}
    assert owners["somebody"]["operation"] == "Apply"
    assert "uid-0-dynamic" in seen["console"]
    assert seen["deleted"] is True


def test_the_collection_of_ansible(namespace: Namespace, tmp_path: Path) -> None:
    programs = outside.python("ansible")
    environment = outside.environment(
        tmp_path, ANSIBLE_LOCALHOST_WARNING="False", ANSIBLE_NOCOLOR="1"
    )
    given = {
        "machine": "played",
        "namespace": namespace.name,
        "image": GUEST,
        "ansible_connection": "local",
        "ansible_python_interpreter": str(programs / "python"),
    }

    def play(book: str) -> None:
        command = (str(programs / "ansible-playbook"), "--inventory", "localhost,")
        outside.run(
            *(*command, "--extra-vars", json.dumps(given), str(outside.LOCKS / book)),
            environment=environment,
            seconds=300,
        )

    play("playbook.yml")
    inventory = tmp_path / "here.kubevirt.yml"
    inventory.write_text(
        json.dumps(
            {
                "plugin": "kubevirt.core.kubevirt",
                "namespaces": [namespace.name],
                "create_groups": True,
            }
        )
    )
    command = (str(programs / "ansible-inventory"), "--inventory", str(inventory), "--list")
    listed = json.loads(outside.run(*command, environment=environment))
    host = f"{namespace.name}-played"
    assert listed["label_app_played"]["hosts"] == [host]
    known = listed["_meta"]["hostvars"][host]
    vmi = namespace.get("vmi", "played")
    assert plain(known["ansible_host"]) == vmi["status"]["interfaces"][0]["ipAddress"]
    assert plain(known["vm_printable_status"]) == "Running"
    assert plain(known["vmi_node_name"]) == vmi["status"]["nodeName"]
    play("away.yml")
    assert not namespace.items("vmi", "app=played")


def plain(value: object) -> object:
    """Ansible marks what came from outside."""
    return value["__ansible_unsafe"] if isinstance(value, dict) else value


@pytest.fixture
def kinds_of_cdi() -> Iterator[None]:
    """What docs/clients.md tells who has no CDI: kcli asks for one of its kinds."""
    [told] = re.findall(r"(?s)```yaml\n(apiVersion: apiext.*?)```", page())
    name = "storageprofiles.cdi.kubevirt.io"
    kubectl("apply", "--filename", "-", stdin=told)
    kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s")
    yield
    kubectl("delete", "crd", name)


def page() -> str:
    return (ROOT / "docs/clients.md").read_text(encoding="utf-8")


@pytest.fixture
def storage(namespace: Namespace) -> Iterator[str]:
    """A class whose claims are bound at once, and a volume of it for kcli's disk."""
    name = f"at-once-{namespace.name}"
    folder = f"/var/lib/volumes/{name}"
    on_node(NODE, f"mkdir -p {folder} && chmod 777 {folder}")
    claim = {"namespace": namespace.name, "name": "plain-disk1"}
    namespace.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "Immediate",
        },
        static_volume(name, NODE, folder, "1Gi", claim, storage_class=name),
    )
    yield name
    kubectl("delete", "pv", name, "--timeout=60s")
    kubectl("delete", "storageclass", name)
    on_node(NODE, f"rm -rf {folder}")


def test_kcli(namespace: Namespace, tmp_path: Path, kinds_of_cdi: None, storage: str) -> None:
    (tmp_path / ".kcli").mkdir()
    settings = {
        "default": {"client": "here"},
        "here": {
            "type": "kubevirt",
            "kubeconfig": str(layout.KUBECONFIG),
            "namespace": namespace.name,
        },
    }
    (tmp_path / ".kcli/config.yml").write_text(json.dumps(settings))
    program, environment = str(outside.python("kcli") / "kcli"), outside.environment(tmp_path)

    def kcli(*words: str) -> str:
        return outside.run(program, *words, environment=environment)

    def listed() -> dict[str, str]:
        """Names and states."""
        found = json.loads(kcli("--output", "json", "list", "vm"))
        return {each["name"]: each["status"] for each in found}

    def stop() -> None:
        """It reads and replaces, and does not see that its write is refused where the status has
        changed between the two: so it is asked when nothing changes."""
        kcli("stop", "vm", "plain")
        namespace.gone("vmi", "plain")
        namespace.wait(
            "vm", "plain", lambda vm: vm["status"]["printableStatus"] == "Stopped", "Stopped"
        )

    parameters = ("container_disk=true", "memory=160", "numcpus=1", "disks=[1]")
    flags = [word for each in parameters for word in ("--param", each)]
    assert "plain created" in kcli("create", "vm", "--image", GUEST, *flags, "plain")
    vmi = namespace.running("plain")
    assert listed()["plain"] == "up"
    told = json.loads(kcli("--output", "json", "info", "vm", "plain"))
    assert (told["numcpus"], told["memory"], told["host"]) == (1, 160, vmi["status"]["nodeName"])
    assert told["ip"] == vmi["status"]["interfaces"][0]["ipAddress"]
    assert told["nets"][0]["mac"] == vmi["status"]["interfaces"][0]["mac"]
    assert told["image"] == GUEST
    assert 30000 <= told["nodeport"] < 32768

    kcli("create", "vm-disk", "--size", "1", "--pool", storage, "plain")
    said = ("RestartRequired", "AgentConnected")  # the second, as nothing is to change any more
    namespace.wait(
        "vm",
        "plain",
        lambda vm: {condition(vm, each) for each in said} == {"True"},
        f"says {said}",
    )
    stop()
    assert listed()["plain"] == "down"
    kcli("start", "vm", "plain")
    namespace.wait(
        "vmi",
        "plain",
        lambda vmi: condition(vmi, "AgentConnected") == "True",
        "the guest has started again",
        BOOT,
    )
    with outside.Terminal(
        program, "console", "--serial", "plain", environment=environment
    ) as terminal:
        eventually(lambda: terminal.raw, "kcli has connected")
        terminal.type("\r")
        for prompt, answer in (("login: ", "root"), ("Password: ", "demo")):
            terminal.expect(prompt)
            terminal.type(f"{answer}\r")
        terminal.expect("# ")
        terminal.type("echo host-$(hostname) sectors-$(cat /sys/block/vdb/size)\r")
        terminal.expect(f"host-plain sectors-{2**30 // 512}\n")

    stop()
    kcli("delete", "vm-disk", "--yes", "--vm", "plain", "plain-disk1")
    assert "plain-disk1" not in namespace.kubectl("get", "pvc", "--output", "name")
    disks = namespace.get("vm", "plain")["spec"]["template"]["spec"]["domain"]["devices"]["disks"]
    assert [disk["name"] for disk in disks] == ["plain-disk0", "cloudinitdisk"]
    kcli("delete", "vm", "--yes", "plain")
    assert "plain" not in listed()


@pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")
def test_the_mcp_server_of_kubernetes(namespace: Namespace, tmp_path: Path) -> None:
    namespace.apply(
        {
            "apiVersion": "instancetype.kubevirt.io/v1beta1",
            "kind": "VirtualMachineInstancetype",
            "metadata": {"name": "small"},
            "spec": {"cpu": {"guest": 1}, "memory": {"guest": "128Mi"}},
        }
    )
    me = {"namespace": namespace.name, "name": "asked"}
    vm = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine"}

    with outside.Assistant(
        str(outside.npm("mcp") / "kubernetes-mcp-server"),
        *("--toolsets", "core,kubevirt", "--kubeconfig", str(layout.KUBECONFIG)),
        *("--log-file", str(tmp_path / "log")),
        environment=outside.environment(tmp_path),
    ) as assistant:
        tools = {tool["name"] for tool in assistant.ask("tools/list")["tools"]}
        assert {"vm_create", "vm_lifecycle", "vm_guest_info", "vm_troubleshoot"} <= tools

        said = assistant.use("vm_create", **me, workload=GUEST, instancetype="small")
        assert "created successfully" in said
        made = namespace.get("vm", "asked")["spec"]
        assert made["instancetype"]["name"] == "small"
        assert made["runStrategy"] == "Halted"
        assistant.use("vm_lifecycle", **me, action="start")
        namespace.wait("vm", "asked", lambda vm: vm["status"].get("ready"), "ready")
        table = assistant.use("resources_list", **vm, namespace=namespace.name).splitlines()
        assert table[0].split()[3:] == ["NAME", "AGE", "STATUS", "READY", "LABELS"]
        [row] = [line.split() for line in table if " asked " in line]
        assert (row[3], *row[5:7]) == ("asked", "Running", "True")

        assistant.use("vm_lifecycle", **me, action="pause")
        namespace.wait("vmi", "asked", lambda vmi: condition(vmi, "Paused") == "True", "paused")
        assistant.use("vm_lifecycle", **me, action="unpause")
        namespace.wait(
            "vmi",
            "asked",
            lambda vmi: condition(vmi, "AgentConnected") == "True",
            "the guest goes on, and its agent answers",
        )
        assert "Virtpod demo guest" in assistant.use("vm_guest_info", **me, info_type="os")
        report = assistant.use("vm_troubleshoot", **me)
        assert "No issues automatically detected" in report
        assert "SuccessfulCreate" in report

        assistant.use("vm_lifecycle", **me, action="stop")
        namespace.gone("vmi", "asked")
        namespace.wait(
            "vm", "asked", lambda vm: vm["status"]["printableStatus"] == "Stopped", "stopped"
        )
        assistant.use("resources_delete", **vm, **me)
        namespace.gone("vm", "asked")
