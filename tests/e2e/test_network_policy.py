"""NetworkPolicy on a machine's pod, by an engine that enforces it; and its names in cluster DNS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localcluster import images, policy
from tests.e2e.support import Console, Namespace, Object, Refused, eventually, vm

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def engine(cluster: None) -> Iterator[None]:
    policy.on()
    yield
    policy.off()


def pod(name: str, role: str) -> Object:
    container = {
        "name": "main",
        "image": images.TOOLS.reference,
        "command": ["httpd", "-f", "-p", "8080", "-h", "/www"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"role": role}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }


@pytest.fixture(scope="module")
def guest(namespace: Namespace, engine: None) -> Object:
    """Ready in DNS by a headless Service of its subdomain's name."""
    made = vm("guarded", hostname="keep", subdomain="castle")
    headless: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "castle"},
        "spec": {"clusterIP": "None", "selector": {"vm": "guarded"}, "ports": [{"port": 80}]},
    }
    namespace.apply(made, headless, pod("friend", "friend"), pod("stranger", "stranger"))
    for name in ("friend", "stranger"):
        namespace.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=90s")
    found = namespace.running("guarded")
    with Console(namespace.name, "guarded") as console:
        console.login()
    return found


def reaches(namespace: Namespace, pod: str, address: str) -> bool:
    """Whether the guest's server greets a pod. Static busybox cannot look names up, so by `nc`."""
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {address} 80"
    try:
        return "hello from" in namespace.kubectl("exec", pod, "--", "sh", "-c", ask)
    except Refused:
        return False


@pytest.mark.shows("hostname", "subdomain")
def test_the_guest_has_a_name_in_dns(namespace: Namespace, guest: Object) -> None:
    address = guest["status"]["interfaces"][0]["ipAddress"]
    name = f"keep.castle.{namespace.name}.svc.cluster.local"
    with Console(namespace.name, "guarded") as console:
        console.login()
        assert address in console.run(f"nslookup {name}")
        assert f"({address})" in console.run("ping -c 1 keep.castle")  # by the search domains
    reply = namespace.kubectl("exec", "friend", "--", "nslookup", name)
    assert address in reply


def test_a_policy_lets_friends_in_and_keeps_strangers_out(
    namespace: Namespace, guest: Object
) -> None:
    address = guest["status"]["interfaces"][0]["ipAddress"]
    assert reaches(namespace, "stranger", address), "without a policy all may"
    namespace.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "friends"},
            "spec": {
                "podSelector": {"matchLabels": {"vm": "guarded"}},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [
                    {
                        "from": [{"podSelector": {"matchLabels": {"role": "friend"}}}],
                        "ports": [{"port": 80, "protocol": "TCP"}],
                    }
                ],
                "egress": [{"to": [{"podSelector": {"matchLabels": {"role": "friend"}}}]}],
            },
        }
    )
    eventually(lambda: not reaches(namespace, "stranger", address), "the stranger is kept out")
    assert reaches(namespace, "friend", address)
    addresses = {
        name: namespace.get("pod", name)["status"]["podIP"] for name in ("friend", "stranger")
    }
    with Console(namespace.name, "guarded") as console:
        console.login()
        said = console.run(
            f"for at in {addresses['friend']} {addresses['stranger']}; do "
            "echo | nc -w 5 $at 8080 >/dev/null 2>&1 && echo open || echo shut; done",
            seconds=60,
        )
    assert said.split() == ["open", "shut"]
    namespace.delete("networkpolicy", "friends")
    eventually(lambda: reaches(namespace, "stranger", address), "the policy is gone")
