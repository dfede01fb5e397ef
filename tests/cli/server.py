"""A server that virtctl can talk to: records what is asked, echoes streams."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

BASE = "/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/{kind}/{name}"
VMI = "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances"


@dataclass
class Server:
    """`refuse`: (code, message) for subresources; `phases`: what a VMI goes through."""

    kubeconfig: Path = Path()
    refuse: tuple[int, str] | None = None
    phases: list[str] = field(default_factory=lambda: ["Running"])
    greeting: bytes = b""
    hang_up: bool = False
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    received: bytes = b""
    closed: asyncio.Queue[int | None] = field(default_factory=asyncio.Queue)

    def _refusal(self) -> web.Response | None:
        if self.refuse is None:
            return None
        code, message = self.refuse
        return web.json_response({"kind": "Status", "message": message, "code": code}, status=code)

    async def put(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked.append((request.method, request.path, json.loads(body) if body else None))
        return self._refusal() or web.Response(status=202)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path_qs, None))
        if self.phases[0] != "Running":
            return web.json_response({"message": "phase is Scheduling"}, status=400)
        if refusal := self._refusal():
            return refusal
        socket = web.WebSocketResponse(protocols=("plain.kubevirt.io",))
        await socket.prepare(request)
        assert socket.ws_protocol == "plain.kubevirt.io"
        if self.greeting:
            await socket.send_bytes(self.greeting)
        if not self.hang_up:
            async for message in socket:
                self.received += message.data
                await socket.send_bytes(b"<" + message.data + b">")
        await socket.close()
        self.closed.put_nowait(socket.close_code)
        return socket

    async def picture(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path_qs, None))
        return self._refusal() or web.Response(body=b"a picture", content_type="image/png")

    async def graph(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path, await request.json()))
        return self._refusal() or web.json_response({"kind": "tree"})

    async def profiler(self, request: web.Request) -> web.Response:
        what = request.match_info["what"]
        body = await request.read()
        self.asked.append((request.method, request.path_qs, json.loads(body) if body else None))
        if what != "dump" or self.refuse:
            return self._refusal() or web.Response()
        pods = ["virt-api-1", "virt-handler-1"]
        if json.loads(body).get("continue"):
            pods.pop(0)
        told = {pods[0]: {"pprofData": {"cpu.folded": "YSAx"}}}
        more = {"continue": pods[0]} if len(pods) > 1 else {}
        return web.json_response({"componentResults": told, **more})

    def _vmi(self, name: str, version: str) -> dict[str, Any]:
        return {
            "metadata": {"name": name, "resourceVersion": version},
            "status": {"phase": self.phases[0]},
        }

    async def get(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name == "nobody":
            return web.json_response(
                {"kind": "Status", "message": f'vm "{name}" not found', "code": 404}, status=404
            )
        return web.json_response(self._vmi(name, "1"))

    async def watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        version = 1
        while len(self.phases) > 1:
            self.phases.pop(0)
            version += 1
            event = {"type": "MODIFIED", "object": self._vmi("demo", str(version))}
            await response.write(json.dumps(event).encode() + b"\n")
        return response

    async def version(self, _request: web.Request) -> web.Response:
        return web.json_response({"gitVersion": "v9.9.9", "platform": "linux/amd64"})

    async def run(self, *words: str, stdin: bytes | None = b"", code: int = 0) -> tuple[str, str]:
        """Standard output and error of `virtctl words`."""
        process = await spawn(self, *words)
        async with asyncio.timeout(30):
            out, err = await process.communicate(stdin)
        assert process.returncode == code, err.decode()
        return out.decode(), err.decode()


async def spawn(
    server: Server, *words: str, path: str = "", **options: Any
) -> asyncio.subprocess.Process:
    """virtctl as a process, with pipes; `path`: where it finds programs."""
    pipes = {
        "stdin": asyncio.subprocess.PIPE,
        "stdout": asyncio.subprocess.PIPE,
        "stderr": asyncio.subprocess.PIPE,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "virtpod.cli",
        *words,
        env={
            **os.environ,
            "PATH": path or os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "KUBECONFIG": str(server.kubeconfig),
        },
        **{**pipes, **options},
    )


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Server]:
    server = Server(folder / "kubeconfig")
    app = web.Application()
    app.router.add_put(BASE + "/{sub:.*}", server.put)
    app.router.add_get(BASE + "/vnc/screenshot", server.picture)
    app.router.add_get(BASE + "/objectgraph", server.graph)
    app.router.add_get(BASE + "/{sub:.*}", server.stream)
    app.router.add_get("/apis/subresources.kubevirt.io/v1/version", server.version)
    profiler = "/apis/subresources.kubevirt.io/v1/{what:start|stop|dump}-cluster-profiler"
    app.router.add_get(profiler, server.profiler)
    app.router.add_get("/apis/kubevirt.io/v1/namespaces/{namespace}/{kind}/{name}", server.get)
    app.router.add_get(VMI, server.watch)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = {
        "current-context": "test",
        "contexts": [
            {"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "team"}}
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}
        ],
        "users": [{"name": "u", "user": {}}],
    }
    server.kubeconfig.write_text(json.dumps(config))
    try:
        yield server
    finally:
        await runner.cleanup()
