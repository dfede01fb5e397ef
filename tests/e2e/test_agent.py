"""The guest agent, seen from outside, and probes of every kind that drive what Kubernetes sees."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import pytest

from tests.e2e.conftest import COMPONENTS
from tests.e2e.support import (
    BOOT,
    Console,
    Namespace,
    Object,
    Refused,
    component_pods,
    condition,
    conditions,
    eventually,
    metrics,
    phase,
    vmi,
)
from virtpod.render import dashboard, monitoring

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

AGENT, WEB = "agent", "web"
OFTEN = {"periodSeconds": 2, "failureThreshold": 2, "timeoutSeconds": 3}


def guest(name: str, **spec: object) -> Object:
    """With a disk of its own for a file system: the guest's root cannot be frozen."""
    whole = vmi(name, **spec)
    whole["spec"]["terminationGracePeriodSeconds"] = 5
    whole["spec"]["domain"]["devices"]["disks"].append({"name": "data", "disk": {"bus": "virtio"}})
    whole["spec"]["volumes"].append({"name": "data", "emptyDisk": {"capacity": "16Mi"}})
    return whole


def with_agent() -> Object:
    """Ready when a file is there; its agent has as long as any guest to come up."""
    program = {"exec": {"command": ["test", "-e", "/run/ready"]}}
    ping = {"guestAgentPing": {}, **OFTEN, "initialDelaySeconds": BOOT}
    return guest(AGENT, readinessProbe={**program, **OFTEN}, livenessProbe=ping)


def with_page() -> Object:
    page = {"httpGet": {"port": 80, "path": "/"}}
    alive = {**page, "periodSeconds": 60}
    return guest(WEB, readinessProbe={**page, **OFTEN}, livenessProbe=alive)


@pytest.fixture(scope="module")
def guests(namespace: Namespace) -> None:
    """Both boot at the same time."""
    namespace.apply(with_agent(), with_page())


@pytest.fixture
def agent(namespace: Namespace, guests: None) -> Object:
    """The guest of that name, heard and ready, with a file system on its disk: another one where a
    test before has ended it, or failed and left it paused or frozen."""
    seen = namespace.get("vmi", AGENT)
    if over(seen) or condition(seen, "Paused") == "True" or frozen(seen):
        namespace.delete("vmi", AGENT)
        namespace.apply(with_agent())
    namespace.wait("vmi", AGENT, heard, "its agent is heard", BOOT)
    with Console(namespace.name, AGENT) as console:
        console.login()
        make = "mke2fs -q /dev/vdb; mkdir -p /data; mount /dev/vdb /data"
        console.run(f"grep -q ' /data ' /proc/mounts || {{ {make}; }}")
        console.run("touch /run/ready")
    return ready(namespace, AGENT, "True")


def over(seen: Object) -> bool:
    return phase(seen) in ("Succeeded", "Failed")


def put(namespace: Namespace, subresource: str, body: Object) -> None:
    url = (
        "/apis/subresources.kubevirt.io/v1/namespaces/"
        f"{namespace.name}/virtualmachineinstances/{AGENT}/{subresource}"
    )
    namespace.kubectl("replace", "--raw", url, "--filename", "-", stdin=json.dumps(body))


def frozen(seen: Object) -> bool:
    return bool(seen["status"].get("fsFreezeStatus") == "frozen")


def ready(namespace: Namespace, name: str, status: str) -> Object:
    return namespace.wait(
        "vmi", name, lambda seen: condition(seen, "Ready") == status, f"Ready {status}", BOOT
    )


def heard(seen: Object) -> bool:
    return condition(seen, "AgentConnected") == "True" and (
        "guest-agent" in seen["status"]["interfaces"][0].get("infoSource", "")
    )


def test_what_the_agent_tells_is_seen(namespace: Namespace, agent: Object) -> None:
    assert agent["status"]["guestOSInfo"]["id"] == "virtpod-demo-guest"
    (nic,) = agent["status"]["interfaces"]
    assert (nic["interfaceName"], nic["infoSource"]) == ("eth0", "domain, guest-agent")
    assert nic["ipAddress"] == namespace.launcher(agent)["status"]["podIP"]

    info = json.loads(namespace.virtctl("guestosinfo", AGENT))
    assert info["hostname"] == AGENT
    assert "guest-fsfreeze-freeze" in [each["name"] for each in info["supportedCommands"]]


@pytest.mark.shows(
    "readinessProbe.exec",
    "readinessProbe.periodSeconds",
    "readinessProbe.failureThreshold",
    "readinessProbe.timeoutSeconds",
)
def test_a_program_in_the_guest_says_whether_it_is_ready(
    namespace: Namespace, agent: Object
) -> None:
    with Console(namespace.name, AGENT) as console:
        console.login()
        console.run("rm /run/ready")
        ready(namespace, AGENT, "False")
        console.run("touch /run/ready")
        ready(namespace, AGENT, "True")
        assert [each["userName"] for each in items(namespace, "userlist")] == ["root"]
    (data,) = items(namespace, "fslist")
    assert (data["mountPoint"], data["diskName"]) == ("/data", "vdb")


def items(namespace: Namespace, command: str) -> list[Object]:
    found: list[Object] = json.loads(namespace.virtctl(command, AGENT))["items"]
    return found


def test_what_alerts_and_dashboard_name_is_exported(agent: Object) -> None:
    """By the components that run here, while there is a guest whose agent tells of a disk."""
    recorded = {each.name: each.expression for each in monitoring.RECORDS}
    wanted = named((*dashboard.queries(), *(each.expression for each in monitoring.ALERTS)))
    while made := wanted & recorded.keys():
        wanted = (wanted - made) | named(recorded[name] for name in made)
    assert len(wanted) > 40

    def lacking() -> set[str]:
        return wanted - {name for process in COMPONENTS for name in exported_by(process)}

    eventually(lambda: not lacking(), lambda: f"{lacking()} is not exported", 60)


def named(expressions: Iterable[str]) -> set[str]:
    """The metrics in them that are ours."""
    pattern = r"\b(?:kubevirt|virtpod|process)_\w+"
    return {name for expression in expressions for name in re.findall(pattern, expression)}


def exported_by(process: str) -> set[str]:
    """What stands before labels or values in the answers of a component's pods."""
    found: set[str] = set()
    for pod in component_pods(process):
        told = metrics(pod)
        found |= set(re.findall(r"^(\w+)(?: |{)", told, re.MULTILINE))
        # What is counted by labels has no sample before it is counted.
        typed = re.findall(r"^# TYPE (\w+) (\w+)$", told, re.MULTILINE)
        found |= {name + ("_bucket" if kind == "histogram" else "") for name, kind in typed}
    return found


@pytest.mark.shows("readinessProbe.httpGet")
def test_a_page_of_the_guest_says_whether_it_is_ready(namespace: Namespace, guests: None) -> None:
    ready(namespace, WEB, "True")
    with pytest.raises(Refused, match="non-GuestAgentPing LivenessProbe is not supported"):
        namespace.virtctl("pause", "vmi", WEB)
    with Console(namespace.name, WEB) as console:
        console.login()
        console.run("ip link set eth0 down")
        ready(namespace, WEB, "False")


def test_freezing_ends_by_itself(namespace: Namespace, agent: Object) -> None:
    put(namespace, "freeze", {"unfreezeTimeout": "4s"})
    namespace.wait("vmi", AGENT, frozen, "frozen")
    namespace.wait("vmi", AGENT, lambda seen: not frozen(seen), "thawed by itself", 60)
    put(namespace, "freeze", {"unfreezeTimeout": "10m"})
    namespace.wait("vmi", AGENT, frozen, "frozen")
    put(namespace, "unfreeze", {})
    namespace.wait("vmi", AGENT, lambda seen: not frozen(seen), "thawed")
    assert condition(namespace.get("vmi", AGENT), "Ready") == "True"


def test_a_paused_guest_is_not_taken_for_dead(namespace: Namespace, agent: Object) -> None:
    pod = namespace.launcher(agent)["metadata"]["name"]
    probe = ("/usr/bin/virt-probe", "--timeoutSeconds", "20", "--guestAgentPing")
    namespace.compute(pod, *probe)
    namespace.virtctl("pause", "vmi", AGENT)
    namespace.wait("vmi", AGENT, lambda seen: condition(seen, "Paused") == "True", "paused")
    namespace.compute(pod, *probe)
    namespace.virtctl("unpause", "vmi", AGENT)
    ready(namespace, AGENT, "True")


@pytest.mark.shows(
    "livenessProbe.guestAgentPing",
    "livenessProbe.initialDelaySeconds",
    "livenessProbe.periodSeconds",
    "livenessProbe.failureThreshold",
    "livenessProbe.timeoutSeconds",
)
def test_a_guest_whose_agent_is_gone_is_ended(namespace: Namespace, agent: Object) -> None:
    with Console(namespace.name, AGENT) as console:
        console.login()
        console.run("killall qemu-ga")
    ended = namespace.wait("vmi", AGENT, over, "at its end", BOOT + 90)
    assert "AgentConnected" not in conditions(ended)
    # Nobody asked for it. The kubelet's own event may be lost: one for each look that found the
    # guest not ready, as it booted, has used up what it may tell of one pod.
    assert "deletionTimestamp" not in ended["metadata"]
