"""A whole Debian on the cluster: ssh through virtctl, and its real agent seen from outside."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from localcluster import layout
from scripts import debian
from scripts.target import Target
from tests.e2e.support import ROOT, Namespace, Object, condition, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NAME = "debian"
BOOT = 400
NETWORK_V1 = """version: 1
config:
  - type: physical
    name: eth0
    subnets: [{type: dhcp4}]
"""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("key") / "id"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(made)]
    subprocess.run(words, check=True)
    return made


@pytest.fixture(scope="module")
def running(namespace: Namespace, key: Path) -> Object:
    """examples/vm-debian.yaml with the test's key; ready when its sshd answers."""
    debian.deliver(Target(str(layout.KUBECONFIG), local=True))
    machine: Object = yaml.safe_load((ROOT / "examples/vm-debian.yaml").read_text("utf-8"))
    spec = machine["spec"]["template"]["spec"]
    [source] = [v["cloudInitNoCloud"] for v in spec["volumes"] if "cloudInitNoCloud" in v]
    data = yaml.safe_load(source["userData"])
    data["ssh_authorized_keys"] = [key.with_suffix(".pub").read_text().strip()]
    source["userData"] = "#cloud-config\n" + json.dumps(data)
    source["networkData"] = NETWORK_V1
    spec["hostname"], spec["subdomain"] = "deborah", "guests"
    spec["dnsConfig"] = {"searches": ["example.test"], "nameservers": ["192.0.2.98"]}
    spec["readinessProbe"] = {
        "tcpSocket": {"port": 22},
        "initialDelaySeconds": 5,
        "periodSeconds": 2,
        "successThreshold": 2,
        "timeoutSeconds": 3,
    }
    headless = {"clusterIP": "None", "selector": {"app": NAME}, "ports": [{"port": 22}]}
    guests = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "guests"}}
    namespace.apply(machine, {**guests, "spec": headless})
    return namespace.running(NAME, seconds=BOOT)


def words(key: Path, *more: str) -> list[str]:
    options = ("StrictHostKeyChecking=no", "LogLevel=ERROR")
    quiet = [f"--local-ssh-opts=-o{option}" for option in options]
    known = f"--known-hosts={key}.hosts"
    return ["ssh", f"debian@vm/{NAME}", f"--identity-file={key}", known, *quiet, *more]


def ssh(namespace: Namespace, key: Path, command: str) -> str:
    return namespace.virtctl(*words(key, "--command", command)).strip()


@pytest.mark.shows(
    "volumes.cloudInitNoCloud.networkData",
    "hostname",
    "readinessProbe.tcpSocket",
    "readinessProbe.initialDelaySeconds",
    "readinessProbe.successThreshold",
)
def test_its_user_comes_in_by_virtctl_ssh(namespace: Namespace, running: Object, key: Path) -> None:
    assert ssh(namespace, key, "hostname") == "deborah"
    # Ready came from its sshd, so cloud-init had made the user's key by then, or is about to.
    status = json.loads(ssh(namespace, key, "cloud-init status --wait --format json"))
    assert (status["status"], status["errors"], status["recoverable_errors"]) == ("done", [], {})
    assert "10.0.2.2/24" in ssh(namespace, key, "ip -4 addr show dev eth0")
    assert ssh(namespace, key, "sudo id -u") == "0"
    files = ssh(namespace, key, "sudo sh -c 'cat /var/lib/cloud/instance/network-config.json'")
    assert '"version": 1' in files


@pytest.mark.shows("dnsConfig", "subdomain")
def test_its_names_are_those_of_its_pod(namespace: Namespace, running: Object, key: Path) -> None:
    dns = ssh(namespace, key, "resolvectl dns")
    assert "192.0.2.98" in dns
    assert "10.96.0.10" in dns
    domains = ssh(namespace, key, "resolvectl domain")
    assert "example.test" in domains
    assert f"{namespace.name}.svc.cluster.local" in domains
    found = ssh(namespace, key, "getent ahostsv4 kubernetes.default.svc.cluster.local")
    assert found.startswith("10.96.0.1 ")
    own = f"deborah.guests.{namespace.name}.svc.cluster.local"
    address = running["status"]["interfaces"][0]["ipAddress"]
    eventually(
        lambda: address in ssh(namespace, key, f"getent ahostsv4 {own} || true"), f"{own} is known"
    )


def test_its_agent_is_heard_from_outside(namespace: Namespace, running: Object, key: Path) -> None:
    seen = namespace.wait(
        "vmi",
        NAME,
        lambda found: (
            condition(found, "AgentConnected") == "True" and found["status"].get("guestOSInfo")
        ),
        "its agent is heard",
        120,
    )
    assert seen["status"]["guestOSInfo"]["id"] == "debian"
    info = json.loads(namespace.virtctl("guestosinfo", NAME))
    assert info["os"]["versionId"] == "13"
    assert info["hostname"] == "deborah"
    [root] = [
        each
        for each in json.loads(namespace.virtctl("fslist", NAME))["items"]
        if each["mountPoint"] == "/"
    ]
    assert root["fileSystemType"] == "ext4"
