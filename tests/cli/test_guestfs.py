"""virtctl guestfs: the pod it makes, a shell's streams through it, and that it is gone after."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pty
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.cli.server import Server, spawn
from tests.kube.fake import FakeCluster
from virtpod.cli import __main__ as cli
from virtpod.cli import guestfs
from virtpod.cli.session import Failure, Session
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.errors import ApiError
from virtpod.kube.resources import NAMESPACES, PODS, PVCS, SERVICE_ACCOUNTS, VMS, Key

Json = dict[str, Any]
IMAGE = "r.example/libguestfs-tools:v1"
CLAIM: Json = {"metadata": {"namespace": "team", "name": "disk"}, "spec": {}}
POD = "libguestfs-tools-disk"


class Cluster(FakeCluster):
    """With a kubelet that runs a real `sh` for whoever attaches, and virt-api's answer."""

    def __init__(self) -> None:
        super().__init__()
        self.protocols: tuple[str, ...] = ("v5.channel.k8s.io",)
        self.state: Json = {"running": {}}
        self.condition: Json | None = None
        self.info: Json | None = {"gsImage": IMAGE}
        self.sizes: list[Json] = []
        self.query: Json = {}

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/guestfs"):
            if self.info is None:
                return web.json_response({"kind": "Status", "message": "none"}, status=404)
            return web.json_response(self.info)
        if request.path.endswith("/attach"):
            return await self._attach(request)
        if request.method == "GET" and request.path.endswith(POD) and self.seen(POD):
            made = self.get(PODS, "team", POD)
            made["status"] = {
                "containerStatuses": [{"state": self.state}],
                "conditions": [self.condition] if self.condition else [],
            }
            self.put(PODS, made)
        return await super()._serve(request)

    def seen(self, name: str) -> bool:
        return ("team", name) in self.objects(PODS)

    async def _attach(self, request: web.Request) -> web.WebSocketResponse:
        self.query = dict(request.query)
        socket = web.WebSocketResponse(protocols=self.protocols)
        await socket.prepare(request)
        pipe = asyncio.subprocess.PIPE
        shell = await asyncio.create_subprocess_exec("sh", stdin=pipe, stdout=pipe, stderr=pipe)
        assert shell.stdin is not None

        async def show(stream: asyncio.StreamReader | None, channel: bytes) -> None:
            assert stream is not None
            while data := await stream.read(65536):
                await socket.send_bytes(channel + data)

        async def end() -> None:
            await asyncio.gather(show(shell.stdout, b"\x01"), show(shell.stderr, b"\x02"))
            await socket.send_bytes(b"\x03" + json.dumps({"status": "Success"}).encode())
            await socket.close()

        ending = asyncio.create_task(end())
        async for message in socket:
            match message.data[0]:
                case 0:
                    shell.stdin.write(message.data[1:])
                case 4:
                    self.sizes.append(json.loads(message.data[1:]))
                case 255:
                    assert message.data == b"\xff\x00"
                    shell.stdin.close()
        shell.stdin.close()  # as stdinOnce has it
        await shell.wait()
        await ending
        return socket


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with Cluster() as running:
        running.put(PVCS, CLAIM)
        yield running


@pytest.fixture
def server(cluster: Cluster, tmp_path: Path) -> Server:
    config = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "c", "namespace": "team"}}],
        "clusters": [{"name": "c", "cluster": {"server": cluster.server}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    return Server(path)


def parsed(*words: str) -> argparse.Namespace:
    parser = cli.parser_for(["guestfs"])
    return parser.parse_args(cli._switches(parser, ["disk", *words]))


def made(*words: str, claim: Json = CLAIM, vm: Json | None = None) -> Json:
    found: Json = guestfs.pod(parsed(*words), IMAGE, claim, vm or {}, terminal=False)["spec"]
    return found


def test_the_pod_is_a_machines_user_without_rights() -> None:
    spec = made()
    security, container = spec["securityContext"], spec["containers"][0]
    assert (security["runAsUser"], security["runAsGroup"], security["runAsNonRoot"]) == (
        107,
        107,
        True,
    )
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"] == {"limits": {"devices.kubevirt.io/kvm": "1"}}
    assert {"name": "volume", "mountPath": "/disk"} in container["volumeMounts"]
    assert "fsGroup" not in security


def test_flags_change_the_pod() -> None:
    assert made("--kvm=false")["containers"][0]["resources"] == {}
    assert made("--kvm=true") == made("--kvm") == made()
    chosen = made("--uid", "1000", "--gid", "2000", "--fsGroup", "3000")["securityContext"]
    assert [chosen[field] for field in ("runAsUser", "runAsGroup", "fsGroup")] == [1000, 2000, 3000]
    root = made("--root", "--pull-policy", "Always")
    assert root["securityContext"]["runAsUser"] == 0
    assert root["containers"][0]["imagePullPolicy"] == "Always"
    assert "capabilities" not in root["containers"][0]["securityContext"]


def test_a_block_claim_is_a_device() -> None:
    container = made(claim={**CLAIM, "spec": {"volumeMode": "Block"}})["containers"][0]
    assert container["volumeDevices"] == [{"name": "volume", "devicePath": "/dev/vda"}]
    assert [each["name"] for each in container["volumeMounts"]] == ["tmp"]


def test_it_runs_where_the_vm_may() -> None:
    place = {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}]}
    spec = made(vm={"spec": {"template": {"spec": {**place, "domain": {}}}}})
    assert {field: spec[field] for field in place} == place
    assert "affinity" not in spec


@pytest.mark.apiserver
async def test_pod_security_lets_it_pass(apiserver: Config) -> None:
    name = f"guestfs-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    async with Client(apiserver, component="test") as client:
        await client.create(NAMESPACES, {"metadata": {"name": name, "labels": labels}})
        account = {"metadata": {"name": "default"}}
        await client.create(SERVICE_ACCOUNTS, account, namespace=name)

        async def create(*words: str) -> None:
            wanted = guestfs.pod(parsed(*words), IMAGE, CLAIM, {}, terminal=True)
            await client.create(PODS, wanted, namespace=name, dry_run=True)

        await create()
        await create("--uid", "7", "--fsGroup", "8")
        with pytest.raises(ApiError, match="runAsNonRoot"):
            await create("--root")


async def test_a_shell_by_pipes(cluster: Cluster, server: Server) -> None:
    out, err = await server.run("guestfs", "disk", stdin=b"echo out; echo err >&2\nprintf last")
    assert out == "out\nlast"
    assert "Waiting for pod libguestfs-tools-disk" in err
    assert err.endswith("err\n")
    assert cluster.query == {
        "container": "libguestfs",
        "stdin": "true",
        "stdout": "true",
        "stderr": "true",
    }
    created = next(each.body for each in cluster.requests if each.verb == "create")
    assert created["spec"]["containers"][0]["image"] == IMAGE
    assert not cluster.objects(PODS)


async def test_without_the_newer_protocol_the_shell_still_ends(
    cluster: Cluster, server: Server
) -> None:
    cluster.protocols = ("v4.channel.k8s.io",)
    await server.run("guestfs", "disk", stdin=b"")
    assert not cluster.objects(PODS)


async def test_a_shell_on_a_terminal(cluster: Cluster, server: Server) -> None:
    ours, theirs = pty.openpty()
    process = await spawn(server, "guestfs", "disk", stdin=theirs, stdout=theirs)
    os.close(theirs)
    os.write(ours, b"echo $((6*7))\nexit\n")
    async with asyncio.timeout(30):
        assert await process.wait() == 0
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert "42" in said
    assert cluster.query["tty"] == "true"
    assert "stderr" not in cluster.query
    assert [set(size) for size in cluster.sizes] == [{"Width", "Height"}]
    assert not cluster.objects(PODS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_pod_goes_when_the_user_does(
    cluster: Cluster, server: Server, number: signal.Signals
) -> None:
    cluster.state = {"waiting": {"reason": "ContainerCreating"}}
    process = await spawn(server, "guestfs", "disk")
    async with asyncio.timeout(30):
        assert process.stderr is not None
        assert await process.stderr.readline() == f"Waiting for pod {POD} to run\n".encode()
        assert cluster.seen(POD)
        process.send_signal(number)
        await process.communicate()
    assert process.returncode == 130
    assert not cluster.objects(PODS)


async def test_a_claim_in_use_is_left_alone(cluster: Cluster, server: Server) -> None:
    volumes = [{"name": "a", "persistentVolumeClaim": {"claimName": "disk"}}]
    other = {"metadata": {"namespace": "team", "name": "launcher"}, "spec": {"volumes": volumes}}
    cluster.put(PODS, {**other, "status": {"phase": "Running"}})
    _, err = await server.run("guestfs", "disk", code=1)
    assert err == ("error: PVC disk is used by pod launcher: stop its virtual machine first\n")
    cluster.put(PODS, {**other, "status": {"phase": "Succeeded"}})
    await server.run("guestfs", "disk")


async def test_an_image_that_does_not_come_is_told_at_once(
    cluster: Cluster, server: Server
) -> None:
    cluster.state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    _, err = await server.run("guestfs", "disk", "--image", "r.example/other", code=1)
    assert err.endswith("error: pod libguestfs-tools-disk cannot run: no such image\n")
    created = next(each.body for each in cluster.requests if each.verb == "create")
    assert created["spec"]["containers"][0]["image"] == "r.example/other"
    assert not cluster.objects(PODS)


async def test_a_pod_without_kvm_says_what_does_without(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.state = {}
    text = "0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm."
    cluster.condition = {"type": "PodScheduled", "status": "False", "message": text}
    monkeypatch.setattr(guestfs, "WAIT", 0.2)
    cluster.put(PODS, {"metadata": {"namespace": "team", "name": POD}})
    async with cluster.client() as client:
        with pytest.raises(Failure) as failure:
            await guestfs._running(Session(client, "team"), Key("team", POD))
    assert str(failure.value).endswith(f"{text}: --kvm=false does without KVM")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--root", "--uid", "7"), "--root is user and group 0: leave --uid and --gid out"),
        (("--vm", "nobody"), '"nobody" not found'),
    ],
)
async def test_what_is_wrong_is_told(
    cluster: Cluster, server: Server, words: tuple[str, ...], text: str
) -> None:
    _, err = await server.run("guestfs", "disk", *words, code=1)
    assert text in err
    assert not cluster.writes


async def test_no_image(cluster: Cluster, server: Server) -> None:
    cluster.info = None
    _, err = await server.run("guestfs", "disk", code=1)
    assert err == "error: no image: none\n"


async def test_kubevirts_answer_is_put_together(cluster: Cluster, server: Server) -> None:
    cluster.info = {"registry": "q.example", "imagePrefix": "my-", "tag": "v1", "gsImage": ""}
    cluster.put(VMS, {"metadata": {"namespace": "team", "name": "vm"}, "spec": {}})
    await server.run("guestfs", "disk", "--vm", "vm")
    created = next(each.body for each in cluster.requests if each.verb == "create")
    assert created["spec"]["containers"][0]["image"] == "q.example/my-libguestfs-tools:v1"
