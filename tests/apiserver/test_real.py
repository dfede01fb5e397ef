"""virt-api behind a real kube-apiserver: its webhooks, its aggregated API, its users' rights.

The API server reaches virt-api by an APIService of type ExternalName and by webhook URLs, both on
127.0.0.1; the console's other end is a fake virt-handler.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme

from tests.apiserver.site import Handler, Pki
from tests.kube import server
from virtpod.api.crd import crds
from virtpod.apiserver.routes import ROUTES, VERSIONS
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.errors import ApiError, Invalid
from virtpod.kube.resources import (
    API_SERVICES,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CRDS,
    EVENTS,
    KUBEVIRTS,
    MIGRATIONS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    PODS,
    PRESETS,
    ROLE_BINDINGS,
    SERVICES,
    VALIDATING_WEBHOOKS,
    VMIS,
    VMS,
)
from virtpod.render import rbac

pytestmark = pytest.mark.apiserver

GROUP = "subresources.kubevirt.io"
READY = 60.0
TOPOLOGY = "kubevirt.io/pci-topology-version"
ROLES = {
    role.name: role.rules
    for role in rbac.USERS
    if role.name.rpartition(":")[2] in ("admin", "edit", "view", "migrate")
    and role.name.startswith("kubevirt.io:")
}
NOBODY = "nobody"
EVERYBODYS = tuple(rule for role in rbac.FOR_EVERYBODY for rule in role.rules)


@dataclass
class Site:
    """`admin` may everything."""

    admin: Client
    users: dict[str, Client]
    """By the role that they have in the namespace `default`; they come with a certificate."""
    handler: Handler
    kubeconfig: Path


def _pem(folder: Path, name: str, certificate: trustme.LeafCert) -> tuple[Path, Path]:
    chain, key = folder / f"{name}.crt", folder / f"{name}.key"
    chain.write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    return chain, key


def _user(config: Config, pki: Pki, name: str) -> Client:
    """Somebody with a certificate of that name."""
    certificate = pki.users.issue_cert("user.invalid", common_name=name)
    known = Config(
        config.server,
        certificate=certificate.cert_chain_pems[0].bytes().decode(),
        key=certificate.private_key_pem.bytes().decode(),
        insecure=True,
    )
    return Client(known, component="test")


def _front_proxy(folder: Path, pki: Pki) -> tuple[str, ...]:
    """Flags of an API server that is one, and knows who has a certificate."""
    users_ca = folder / "users-ca.crt"
    users_ca.write_bytes(pki.users.cert_pem.bytes())
    front_ca = folder / "front-ca.crt"
    front_ca.write_bytes(pki.front.cert_pem.bytes())
    front = pki.front.issue_cert("front-proxy.invalid", common_name="front-proxy-client")
    certificate, key = _pem(folder, "front", front)
    return (
        f"--client-ca-file={users_ca}",
        f"--requestheader-client-ca-file={front_ca}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={certificate}",
        f"--proxy-client-key-file={key}",
    )


def _webhook(name: str, path: str, resource: str, operations: list[str], url: str, ca: str) -> Any:
    return {
        "name": f"{name}.kubevirt.io",
        "clientConfig": {"url": f"{url}{path}", "caBundle": ca},
        "rules": [
            {
                "apiGroups": ["kubevirt.io"],
                "apiVersions": ["v1"],
                "resources": [resource],
                "operations": operations,
            }
        ],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }


async def _install(client: Client, pki: Pki, port: int) -> None:
    ca = base64.b64encode(pki.cluster.cert_pem.bytes()).decode()
    url = f"https://localhost:{port}"
    service = {"namespace": "kubevirt", "name": "virt-api", "port": port}
    await client.create(
        SERVICES,
        {
            "metadata": {"namespace": "kubevirt", "name": "virt-api"},
            "spec": {
                "type": "ExternalName",
                "externalName": "localhost",
                "ports": [{"port": port}],
            },
        },
    )
    for version in VERSIONS:
        spec = {
            "group": GROUP,
            "version": version,
            "groupPriorityMinimum": 1000,
            "versionPriority": 15,
            "service": service,
            "caBundle": ca,
        }
        name = f"{version}.{GROUP}"
        await client.create(API_SERVICES, {"metadata": {"name": name}, "spec": spec})
    both = ["CREATE", "UPDATE"]
    await client.create(
        MUTATING_WEBHOOKS,
        {
            "metadata": {"name": "virt-api-mutator"},
            "webhooks": [
                _webhook(f"{name}-mutator", f"/{name}-mutate", name, both, url, ca)
                for name in ("virtualmachines", "virtualmachineinstances")
            ],
        },
    )
    vmis = "virtualmachineinstances"
    await client.create(
        VALIDATING_WEBHOOKS,
        {
            "metadata": {"name": "virt-api-validator"},
            "webhooks": [
                _webhook(
                    "virtualmachine-validator",
                    "/virtualmachines-validate",
                    "virtualmachines",
                    both,
                    url,
                    ca,
                ),
                _webhook(
                    f"{vmis}-create-validator",
                    f"/{vmis}-validate-create",
                    vmis,
                    ["CREATE"],
                    url,
                    ca,
                ),
                _webhook(
                    f"{vmis}-update-validator",
                    f"/{vmis}-validate-update",
                    vmis,
                    ["UPDATE"],
                    url,
                    ca,
                ),
            ],
        },
    )
    for each in rbac.users(aggregated=False):
        kind = {"ClusterRole": CLUSTER_ROLES, "ClusterRoleBinding": CLUSTER_ROLE_BINDINGS}
        await client.create(kind[each["kind"]], each)
    for name in ROLES:
        subject = {"apiGroup": rbac.RBAC, "kind": "User", "name": name}
        role = {"apiGroup": rbac.RBAC, "kind": "ClusterRole", "name": name}
        await client.create(
            ROLE_BINDINGS,
            {
                "metadata": {"namespace": "default", "name": name},
                "roleRef": role,
                "subjects": [subject],
            },
        )
    node_side = {
        "metadata": {
            "namespace": "kubevirt",
            "name": "virt-handler-1",
            "labels": {"kubevirt.io": "virt-handler"},
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": "virt-handler", "image": "x"}]},
    }
    await client.create(PODS, node_side)
    status = {"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
    await client.patch(PODS, ("kubevirt", "virt-handler-1"), status, subresource="status")


async def _until_available(client: Client, api_version: str) -> None:
    """The aggregator looks at virt-api by itself; a watch tells when it is content."""
    key, said = ("", f"{api_version}.{GROUP}"), ""
    seen = await client.get(API_SERVICES, key)
    version = seen["metadata"]["resourceVersion"]
    try:
        async with asyncio.timeout(READY):
            if _available(seen):
                return
            async for event in client.watch(API_SERVICES, resource_version=version):
                if event.type != "BOOKMARK" and event.object["metadata"]["name"] == key[1]:
                    said = str(event.object.get("status"))
                    if _available(event.object):
                        return
    except TimeoutError:
        pytest.fail(f"the APIService is not available: {said}")


def _available(service: dict[str, Any]) -> bool:
    return any(
        condition["type"] == "Available" and condition["status"] == "True"
        for condition in service.get("status", {}).get("conditions", ())
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    if not server.programs():
        if os.environ.get("CI"):
            pytest.fail("the local cluster's programs are not built: make cluster")
        pytest.skip("the local cluster's programs are not built: make cluster")
    folder = tmp_path_factory.mktemp("real")
    pki, handler = Pki(folder), Handler()
    pki.serve("localhost", "virt-api.kubevirt.svc")
    (port,) = server.free_ports(1)
    with server.running(folder, *_front_proxy(folder, pki)) as config:
        kubeconfig = server.kubeconfig(config, folder)
        async with (
            Client(config, component="test") as admin,
            contextlib.AsyncExitStack() as open_clients,
            handler.running(pki) as handler_port,
        ):
            users = {
                name: await open_clients.enter_async_context(_user(config, pki, name))
                for name in (*ROLES, NOBODY)
            }
            await admin.create(NAMESPACES, {"metadata": {"name": "kubevirt"}})
            for crd in crds():
                await admin.create(CRDS, crd)
            await _served(admin)
            await admin.create(
                KUBEVIRTS, {"metadata": {"namespace": "kubevirt", "name": "kubevirt"}, "spec": {}}
            )
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "virtpod.apiserver",
                f"--port={port}",
                f"--console-server-port={handler_port}",
                "--address=127.0.0.1",
                "--profiler-port=0",
                f"--certs={folder}",
                f"--ca={pki.ca_file}",
                f"--kubeconfig={kubeconfig}",
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                assert process.stderr is not None
                async with asyncio.timeout(READY):
                    while b"virt-api listens" not in (line := await process.stderr.readline()):
                        assert line, "virt-api ended"
                await _install(admin, pki, port)
                for version in VERSIONS:
                    await _until_available(admin, version)
                yield Site(admin, users, handler, kubeconfig)
            finally:
                process.terminate()
                await process.wait()


async def _served(client: Client) -> None:
    """Until the CRDs' resources can be listed."""
    async with asyncio.timeout(READY):
        for resource in (KUBEVIRTS, VMS, VMIS):
            while True:
                try:
                    await client.list(resource)
                    break
                except ApiError:
                    await asyncio.sleep(0.2)


def _vm(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "default", "name": name},
        "spec": {"runStrategy": "Halted", "template": {"spec": _spec()}, **spec},
    }


def _spec() -> dict[str, Any]:
    return {
        "domain": {
            "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
            "memory": {"guest": "128Mi"},
        },
        "volumes": [{"name": "root", "containerDisk": {"image": "demo:1"}}],
    }


def _path(kind: str, name: str, subresource: str, version: str = "v1") -> str:
    return f"/apis/{GROUP}/{version}/namespaces/default/{kind}/{name}/{subresource}"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("version", VERSIONS)
async def test_it_is_discovered(site: Site, version: str) -> None:
    group = (await site.admin.request("GET", f"/apis/{GROUP}")).json()
    assert version in {each["version"] for each in group["versions"]}
    reply = await site.admin.request("GET", f"/apis/{GROUP}/{version}")
    assert "virtualmachineinstances/console" in {each["name"] for each in reply.json()["resources"]}
    told = (await site.admin.request("GET", f"/apis/{GROUP}/{version}/version")).json()
    assert told["gitVersion"].startswith("v")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("document", "accept"),
    [
        ("/openapi/v2", "application/json"),
        ("/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"),
        (f"/openapi/v3/apis/{GROUP}/v1", "application/json"),
    ],
)
async def test_the_cluster_s_documents_have_ours(site: Site, document: str, accept: str) -> None:
    """kube-apiserver merges them in its own time, and drops what it cannot read."""
    wanted = (
        b"v1.StartOptions",
        b"virtualmachines/{name}/start",
        b"v1.VirtualMachineInstanceGuest",
    )
    merged = b""
    async with asyncio.timeout(90):
        while not all(each in merged for each in wanted):
            await asyncio.sleep(0.5)
            try:
                reply = await site.admin.request("GET", document, headers={"Accept": accept})
            except errors.NotFound:
                continue
            merged = reply.body


@pytest.mark.asyncio(loop_scope="module")
async def test_a_vm_gets_its_defaults_and_a_bad_one_its_causes(site: Site) -> None:
    made = await site.admin.create(VMS, _vm("good"))
    assert made["spec"]["template"]["spec"]["domain"]["machine"]["type"]
    bad = _vm("bad")
    bad["spec"]["template"]["spec"]["volumes"][0]["name"] = "other"
    with pytest.raises(Invalid) as refused:
        await site.admin.create(VMS, bad)
    assert refused.value.message.startswith(
        'admission webhook "virtualmachine-validator.kubevirt.io" denied the request: '
    )
    assert refused.value.details["causes"]


@pytest.mark.asyncio(loop_scope="module")
async def test_who_applies_a_vm_again_does_not_fight_for_its_ports(site: Site) -> None:
    """The annotation that a new VM gets stays, and nothing is written anew. It is in no last
    applied configuration, and no field manager's."""
    bare = _vm("applied")
    made = await site.admin.apply(VMS, bare, manager="deployer", force=False)
    assert made["spec"]["template"]["metadata"]["annotations"][TOPOLOGY] == "v3"
    again = await site.admin.apply(VMS, bare, manager="deployer", force=False)
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]

    for labels in ({"app": "web"}, {"tier": "front"}):
        labelled = _vm("applied")
        labelled["spec"]["template"]["metadata"] = {"labels": labels}
        seen = await site.admin.apply(VMS, labelled, manager="deployer", force=False)
        told = {"labels": labels, "annotations": {TOPOLOGY: "v3"}}
        assert seen["spec"]["template"]["metadata"] == told

    for manifest in (_vm("applied-by-kubectl"), _vm("applied-by-kubectl")):
        manifest |= {"apiVersion": VMS.api_version, "kind": VMS.kind}
        told = await _kubectl(site, "apply", "--filename=-", stdin=json.dumps(manifest))
    assert told.split() == ["virtualmachine.kubevirt.io/applied-by-kubectl", "unchanged"]
    kept = await site.admin.get(VMS, ("default", "applied-by-kubectl"))
    assert kept["spec"]["template"]["metadata"]["annotations"] == {TOPOLOGY: "v3"}


async def _kubectl(site: Site, *words: str, stdin: str) -> str:
    process = await asyncio.create_subprocess_exec(
        str(server.BIN / "kubectl"),
        f"--kubeconfig={site.kubeconfig}",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(READY):
        told, complained = await process.communicate(stdin.encode())
    assert process.returncode == 0, complained.decode()
    return told.decode()


@pytest.mark.asyncio(loop_scope="module")
async def test_an_instance_is_pending_and_its_spec_is_closed(site: Site) -> None:
    made = await site.admin.create(
        VMIS, {"metadata": {"namespace": "default", "name": "alone"}, "spec": _spec()}
    )
    assert made["status"]["phase"] == "Pending"
    assert "kubevirt.io/foregroundDeleteVirtualMachine" in made["metadata"]["finalizers"]
    key = ("default", "alone")
    with pytest.raises(Invalid, match="update of VMI object is restricted"):
        await site.admin.patch(VMIS, key, {"spec": {"hostname": "other"}})
    kept = await site.admin.patch(VMIS, key, {"status": {"phase": "Running"}})
    assert kept["status"]["phase"] == "Pending"
    labelled = await site.admin.patch(VMIS, key, {"metadata": {"labels": {"app": "web"}}})
    assert labelled["metadata"]["labels"]["app"] == "web"


@pytest.mark.asyncio(loop_scope="module")
async def test_presets_reach_new_instances(site: Site) -> None:
    labels = {"size": "small"}
    domain = {"devices": {}, "cpu": {"cores": 3}, "ioThreadsPolicy": "auto"}
    preset = {
        "metadata": {"namespace": "default", "name": "small"},
        "spec": {"selector": {"matchLabels": labels}, "domain": domain},
    }
    await site.admin.create(PRESETS, preset)

    def machine(number: int) -> dict[str, Any]:
        name = f"preset-{number}"
        spec = _spec()
        spec["domain"]["ioThreadsPolicy"] = "shared"
        return {"metadata": {"namespace": "default", "name": name, "labels": labels}, "spec": spec}

    # virt-api learns of a preset a moment later.
    for number in range(50):
        made = await site.admin.create(VMIS, machine(number))
        noted = made["metadata"].get("annotations") or {}
        if noted.get("virtualmachinepreset.kubevirt.io/small") == "kubevirt.io/v1":
            break
        await asyncio.sleep(0.1)
    assert made["spec"]["domain"]["cpu"]["cores"] == 3
    assert made["spec"]["domain"]["ioThreadsPolicy"] == "shared"
    for _ in range(50):
        told = [
            each["reason"]
            for each in (await site.admin.list(EVENTS, namespace="default")).items
            if each["involvedObject"]["name"] == made["metadata"]["name"]
        ]
        if told:
            break
        await asyncio.sleep(0.1)
    assert told == ["Override"]
    other = {**preset, "metadata": {"namespace": "default", "name": "smaller"}}
    other["spec"] = {**preset["spec"], "domain": {"devices": {}, "cpu": {"cores": 1}}}
    await site.admin.create(PRESETS, other)

    async def many() -> None:
        for number in range(50, 100):
            await site.admin.create(VMIS, machine(number))
            await asyncio.sleep(0.1)

    with pytest.raises(Invalid, match="'small' and 'smaller' are both for this machine"):
        await many()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("version", VERSIONS)
async def test_starting_through_the_cluster(site: Site, version: str) -> None:
    name = f"start-me-{version}"
    await site.admin.create(VMS, _vm(name))
    reply = await site.admin.request("PUT", _path("virtualmachines", name, "start", version))
    assert reply.status == 202
    started = await site.admin.get(VMS, ("default", name))
    assert started["spec"]["runStrategy"] == "Always"


def _granted(rules: Iterable[rbac.Rule], verb: str, group: str, resource: str) -> bool:
    return any(
        verb in rule.verbs and group == rule.group and resource in rule.resources for rule in rules
    )


async def _forbidden(request: Awaitable[object]) -> bool:
    """Whether that was it; what else is wrong with a request comes after the user's rights."""
    try:
        await request
    except ApiError as error:
        # The API server's own no, or virt-api's.
        return error.status in (401, 403)
    return False


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("user", [*ROLES, NOBODY])
async def test_who_may_what(site: Site, user: str) -> None:
    """Each subresource and each verb, here and in a namespace where nobody has a role."""
    client, rules = site.users[user], (*ROLES.get(user, ()), *EVERYBODYS)
    for route in ROUTES:
        path = route.path.replace("{port:[0-9]{1,5}}", "80").replace("{protocol:tcp|udp}", "tcp")
        tail = f"{route.resource}/absent/{path}" if path else route.resource
        verb = {"GET": "get", "PUT": "update"}[route.method]
        may = _granted(rules, verb, GROUP, route.full)
        for namespace, allowed in (("default", may), ("kubevirt", False)):
            url = f"/apis/{GROUP}/v1/namespaces/{namespace}/{tail}"
            refused = await _forbidden(client.request(route.method, url))
            assert refused != allowed, (route.method, url)
    for resource in (VMS, VMIS, MIGRATIONS):
        for namespace in ("default", "kubevirt"):
            tries: dict[str, Awaitable[object]] = {
                "list": client.list(resource, namespace=namespace),
                "create": client.create(
                    resource, {"metadata": {"namespace": namespace}}, dry_run=True
                ),
                "patch": client.patch(resource, (namespace, "absent"), {}),
                "delete": client.delete(resource, (namespace, "absent")),
            }
            for verb, request in tries.items():
                may = _granted(rules, verb, resource.group, resource.plural)
                refused = await _forbidden(request)
                assert refused == (not may or namespace != "default"), (verb, resource, namespace)


@pytest.mark.asyncio(loop_scope="module")
async def test_everybody_may_ask_for_the_version(site: Site) -> None:
    reply = await site.users[NOBODY].request("GET", f"/apis/{GROUP}/v1/version")
    assert reply.json()["gitVersion"]


@pytest.mark.asyncio(loop_scope="module")
async def test_virtctl_starts_and_opens_the_console(site: Site) -> None:
    await site.admin.create(
        VMIS, {"metadata": {"namespace": "default", "name": "talks"}, "spec": _spec()}
    )
    # Nobody but our components writes a status; the test takes the webhook away for a moment.
    hooks = await site.admin.get(MUTATING_WEBHOOKS, ("", "virt-api-mutator"))
    await site.admin.delete(MUTATING_WEBHOOKS, ("", "virt-api-mutator"))
    running = {"status": {"phase": "Running", "nodeName": "node-1"}}
    async with asyncio.timeout(READY):
        while True:
            patched = await site.admin.patch(VMIS, ("default", "talks"), running)
            if patched["status"]["phase"] == "Running":
                break
            await asyncio.sleep(0.2)
    for field in ("resourceVersion", "uid", "managedFields", "creationTimestamp", "generation"):
        hooks["metadata"].pop(field, None)
    await site.admin.create(MUTATING_WEBHOOKS, hooks)

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "virtpod.cli",
        "console",
        "talks",
        f"--kubeconfig={site.kubeconfig}",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(30):
        line = (await process.stderr.readline()).decode()
        assert line.startswith("Successfully connected to talks console."), line
        process.stdin.write(b"hello")
        assert await process.stdout.readexactly(10) == b"echo:hello"
        process.stdin.write(b"\x1d")
        assert await process.wait() == 0
