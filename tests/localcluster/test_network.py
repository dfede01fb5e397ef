"""Pods reach each other across nodes, Services by address and by name, and the API server."""

import pytest

from tests.localcluster.support import Kubectl, pod

pytestmark = pytest.mark.cluster

SERVE = ("httpd", "-f", "-p", "8080", "-h", "/www")


@pytest.fixture(scope="module")
def servers(kubectl: Kubectl, nodes: list[str], tools: str) -> dict[str, str]:
    """A web server on each of two nodes behind one Service; the pods' addresses by name."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"serves": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    pods = {f"web-{node}": pod(f"web-{node}", tools, node, *SERVE) for node in nodes[:2]}
    for each in pods.values():
        each["metadata"]["labels"]["serves"] = "web"
    kubectl.apply(service, *pods.values())
    kubectl.wait_ready(*pods)
    return {name: kubectl.get("pod", name)["status"]["podIP"] for name in pods}


def fetch(kubectl: Kubectl, client: str, host: str) -> str:
    return kubectl("exec", client, "--", "wget", "-q", "-O", "-", f"http://{host}/")


def test_every_pod_reaches_every_pod(kubectl: Kubectl, servers: dict[str, str]) -> None:
    for client in servers:
        for address in servers.values():
            assert "hello from a pod" in fetch(kubectl, client, f"{address}:8080")


def test_a_service_answers_by_name(kubectl: Kubectl, servers: dict[str, str]) -> None:
    for client in servers:
        for _ in range(4):  # so that both backends, near and far, are met
            assert "hello from a pod" in fetch(kubectl, client, "web")


def test_dns_knows_the_api_server(kubectl: Kubectl, servers: dict[str, str]) -> None:
    client = next(iter(servers))
    name = "kubernetes.default.svc.cluster.local"
    assert "10.96.0.1" in kubectl("exec", client, "--", "nslookup", name)


def test_a_pod_reaches_the_api_server(kubectl: Kubectl, servers: dict[str, str]) -> None:
    for client in servers:
        kubectl(
            "exec", client, "--stdin", "--", "nc", "-w", "5", "kubernetes.default:443", stdin=""
        )


def test_the_api_server_reaches_a_pod_of_each_node(
    kubectl: Kubectl, servers: dict[str, str]
) -> None:
    """As it must for webhooks and extension API servers."""
    for name in servers:
        path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{name}:8080/proxy/"
        assert "hello from a pod" in kubectl("get", "--raw", path)
    path = f"/api/v1/namespaces/{kubectl.namespace}/services/web:80/proxy/"
    assert "hello from a pod" in kubectl("get", "--raw", path)
