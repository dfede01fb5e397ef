"""A pod's network for a launcher's container: a CNI's link to a node, which is a namespace too.

What virt-handler makes in the pod is made by its own code, so that a guest shows what that does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.guest.pod import Container
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Host
from virtpod.node import network
from virtpod.node.peer import Peer
from virtpod.wire.messages import Link

NODE4, NODE6, POD4, POD6 = "10.1.0.1", "fd00:1::1", "10.1.0.7", "fd00:1::7"
AWAY4, AWAY6 = "10.9.0.1", "fd00:9::1"
"""Behind the node."""
MTU = 1400
SERVES = """
import socketserver, sys
class Hello(socketserver.StreamRequestHandler):
    def handle(self):
        here, there = self.request.getsockname()[0], self.client_address[0]
        self.wfile.write(f"from {there} to {here}".encode())
class Server(socketserver.ThreadingTCPServer):
    address_family, allow_reuse_address = 10, True
with Server(("::", 7777), Hello) as server:
    print(flush=True)
    server.serve_forever()
"""
ASKS = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 15) as spoken:
        spoken.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(spoken.makefile("rb").read().decode(errors="replace"))
except OSError as error:
    print(error)
"""


class Site:
    """`node`: the far end of the pod's link, with a server on port 7777 that says who asked."""

    def __init__(self, box: Container) -> None:
        self._box = box
        enter = ("unshare", "--net", "--kill-child", sys.executable, "-c")
        begin = f"import os; os.system('ip link set lo up')\n{SERVES}"
        self._node = subprocess.Popen([*enter, begin], stdout=subprocess.PIPE)
        assert self._node.stdout
        self._node.stdout.readline()
        for away in (f"{AWAY4}/32", f"{AWAY6}/128"):
            self.in_node("ip", "addr", "add", away, "dev", "lo")

    def plug(
        self, name: str = "eth0", *, number: int = 0, four: bool = True, six: bool = True
    ) -> None:
        """A link of the pod, as a CNI makes it; the second one is of another network."""
        far = f"far{number}"
        own, far4 = (POD4, NODE4) if not number else (f"10.{number + 1}.0.{n}" for n in (7, 1))
        self.in_pod("ip", "link", "add", name, "mtu", str(MTU), "type", "veth", "peer", far)
        self.in_pod("ip", "link", "set", far, "netns", str(self._node.pid))
        self.in_node("ip", "link", "set", far, "mtu", str(MTU), "up")
        self.in_pod("ip", "link", "set", name, "up")
        if four:
            self.in_pod("ip", "addr", "add", f"{own}/24", "dev", name)
            self.in_node("ip", "addr", "add", f"{far4}/24", "dev", far)
        if number == 0 and four:
            self.in_pod("ip", "route", "add", "default", "via", NODE4)
        if number == 0 and six:
            self.in_pod("ip", "addr", "add", f"{POD6}/64", "dev", name, "nodad")
            self.in_node("ip", "addr", "add", f"{NODE6}/64", "dev", far, "nodad")
            self.in_pod("ip", "route", "add", "default", "via", NODE6)

    @contextmanager
    def serving(self, folder: Path, port: int) -> Iterator[None]:
        """HTTP, from the node."""
        enter = ("nsenter", "--target", str(self._node.pid), "--net", sys.executable)
        serve = ("-m", "http.server", str(port), "--directory", str(folder))
        server = subprocess.Popen([*enter, *serve], stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            server.kill()
            server.wait()

    def in_pod(self, *command: str) -> str:
        return _inside(self._box.first, *command)

    def in_node(self, *command: str) -> str:
        return _inside(self._node.pid, *command)

    def asked(self, address: str, port: int) -> str:
        """What a server in the guest answers the node; or why it does not."""
        return self.in_node(sys.executable, "-c", ASKS, address, str(port))

    def links(self) -> dict[str, Any]:
        return {each["ifname"]: each for each in json.loads(self.in_pod("ip", "-j", "addr"))}

    async def prepare(self, vmi: dict[str, Any]) -> list[Link]:
        """What virt-handler does."""
        found = msgspec.convert(vmi, VirtualMachineInstance)
        process = Peer(self._box.first, os.pidfd_open(self._box.first))
        try:
            return await network.prepare(Host("node"), process, found)
        finally:
            process.close()

    async def discard(self, vmi: dict[str, Any]) -> None:
        """What virt-handler does when cards have gone."""
        process = Peer(self._box.first, os.pidfd_open(self._box.first))
        try:
            await network.discard(process, msgspec.convert(vmi, VirtualMachineInstance))
        finally:
            process.close()

    def close(self) -> None:
        self._node.kill()
        self._node.wait()


def _inside(pid: int, *command: str) -> str:
    enter = ["nsenter", "--target", str(pid), "--net", *command]
    done = subprocess.run(enter, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@contextmanager
def site(box: Container) -> Iterator[Site]:
    """For a container that is started with `bare` in its run folder."""
    made = Site(box)
    try:
        yield made
    finally:
        made.close()
