"""What the API costs: admission, streams, and how large the CRDs are."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench import memory
from bench.scenarios import NAMESPACE, Bench, guestless, percentile
from bench.sightings import Failed
from localcluster import layout
from virtpod.api.crd import crds
from virtpod.apiserver import admission
from virtpod.domain.facts import Cluster
from virtpod.kube.client import Client
from virtpod.kube.resources import VMIS, Obj
from virtpod.render import admit

AT_ONCE = (1, 10, 100)
CREATIONS = 200
"""Of each, but for the first, which takes a share of it."""
REVIEWS = 500
SECONDS = 5.0
"""For which a stream is read."""
MEGA = 1e6
PORT = 9999
SOURCE = f"""
import socket, threading
def give(peer):
    piece = bytes(65536)
    try:
        while True:
            peer.sendall(piece)
    except OSError:
        peer.close()
server = socket.create_server(("0.0.0.0", {PORT}))
print("listens", flush=True)
while True:
    threading.Thread(target=give, args=(server.accept()[0],), daemon=True).start()
"""
"""In the guest's pod: gives whoever connects as much as it takes."""
FORWARD = (
    "/apis/subresources.kubevirt.io/v1/namespaces/{}/virtualmachineinstances/{}/portforward/{}"
)
RELAYS = ("kubelet", "containerd", "containerd-shim")
LISTENS_WITHIN = 30.0


def review(spec: Obj) -> float:
    """Milliseconds, P99, that virt-api's own work on an ordinary VMI takes, defaults and rules."""
    vmi = {
        "apiVersion": VMIS.api_version,
        "kind": VMIS.kind,
        "metadata": {"name": "bench", "namespace": NAMESPACE},
        "spec": spec,
    }
    request = {
        "uid": "1",
        "operation": "CREATE",
        "kind": {"group": VMIS.group, "version": VMIS.version, "kind": VMIS.kind},
        "userInfo": {"username": "bench"},
        "object": vmi,
    }
    asked = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    body = json.dumps(asked).encode()
    facts = admission.Facts(
        Cluster(launcher_image="bench"), "2026-01-01T00:00:00Z", str(uuid.uuid4())
    )
    paths = [f"/{VMIS.plural}-{which}" for which in ("mutate", "validate-create")]
    taken = []
    for _ in range(REVIEWS):
        began = time.perf_counter()
        for path in paths:
            answer = admission.review(path, body, facts, admit)
            if not answer["response"]["allowed"]:
                raise Failed(f"{path}: {answer}")
        taken.append((time.perf_counter() - began) * 1000)
    return percentile(taken, 0.99)


async def creations(client: Client, spec: Obj, at_once: int) -> tuple[float, float]:
    """Milliseconds, P50 and P99, of a VMI's creation as a dry run: the API server and both
    webhooks."""
    body = {"metadata": {"generateName": "dry-", "namespace": NAMESPACE}, "spec": spec}
    seats = asyncio.Semaphore(at_once)
    taken = []

    async def create() -> None:
        async with seats:
            began = time.perf_counter()
            await client.create(VMIS, body, dry_run=True)
            taken.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(create() for _ in range(CREATIONS if at_once > 1 else CREATIONS // 4)))
    return percentile(taken, 0.5), percentile(taken, 0.99)


async def streams(bench: Bench, kubeconfig: str) -> dict[str, float]:
    """Rows: MB/s, and MB/s per core of what is on the way, through virt-api and by kubectl."""
    name = "stream"
    spec = guestless()
    # The guest has port 80 alone; what listens at another one in its pod is reached there.
    spec["domain"]["devices"]["interfaces"][0]["ports"] = [{"port": 80}]
    await bench.client.create(
        VMIS, {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
    )
    await bench.seen.until(name, "Running", 120)
    pod = bench.seen.pods[name]["metadata"]["name"]
    kubectl = Kubectl(kubeconfig)
    inside = ("exec", pod, "-c", "compute", "--", "python3", "-I", "-c", SOURCE)
    async with kubectl.running(*inside) as said:
        if b"listens" not in await said():
            raise Failed("nothing listens in the launcher's pod")
        found = await _measured("stream", bench, lambda: _by_websocket(bench.client, name))
        return found | await _measured("kubectl", bench, lambda: _by_kubectl(kubectl, pod))


async def _measured(row: str, bench: Bench, read: Callable[[], Awaitable[int]]) -> dict[str, float]:
    before, began = await _cpu(bench), time.monotonic()
    size = await read() / MEGA
    took, cpu = time.monotonic() - began, await _cpu(bench) - before
    return {f"{row}.rate": size / took} | ({f"{row}.per_core": size / cpu} if cpu else {})


async def _cpu(bench: Bench) -> float:
    """Seconds so far: virt-api's, and those of Kubernetes' own programs on this host."""
    if not bench.local:
        return 0.0
    ours = (await bench.components(memory_too=False))["virt-api"]
    theirs = await asyncio.to_thread(memory.named, ("kube-apiserver", *RELAYS))
    return sum(process.cpu for process in (*ours, *theirs))


async def _by_websocket(client: Client, name: str) -> int:
    path = FORWARD.format(NAMESPACE, name, PORT)
    async with client.websocket(path, protocols=("plain.kubevirt.io",)) as socket:
        end = time.monotonic() + SECONDS
        size = 0
        while time.monotonic() < end:
            size += len(await socket.receive_bytes(timeout=SECONDS))
        return size


async def _by_kubectl(kubectl: Kubectl, pod: str) -> int:
    async with kubectl.running("port-forward", f"pod/{pod}", f":{PORT}") as said:
        port = re.search(rb"127\.0\.0\.1:(\d+)", await said())
        if port is None:
            raise Failed("kubectl port-forward names no port")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port[1]))
        end = time.monotonic() + SECONDS
        size = 0
        while time.monotonic() < end:
            size += len(await asyncio.wait_for(reader.read(1 << 20), SECONDS))
        writer.close()
        return size


@dataclass(frozen=True)
class Kubectl:
    """On that cluster, in the benchmark's namespace."""

    kubeconfig: str

    @asynccontextmanager
    async def running(self, *words: str) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
        """Yields what reads a line that it says; it is ended afterwards."""
        own = layout.BIN / "kubectl"
        process = await asyncio.create_subprocess_exec(
            str(own) if own.exists() else "kubectl",
            f"--kubeconfig={self.kubeconfig}",
            f"--namespace={NAMESPACE}",
            *words,
            stdout=asyncio.subprocess.PIPE,
        )
        stdout = process.stdout
        assert stdout is not None
        try:
            yield lambda: asyncio.wait_for(stdout.readline(), LISTENS_WITHIN)
        finally:
            process.terminate()
            await process.wait()


def crd_sizes() -> dict[str, float]:
    """KiB of JSON, by kind."""
    return {crd["spec"]["names"]["kind"]: len(json.dumps(crd)) / 1024 for crd in crds()}
