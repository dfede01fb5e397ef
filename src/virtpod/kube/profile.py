"""A sampling profiler for a process of ours, asked for by virt-api alone.

A thread of its own looks at what all the others are doing, a hundred times a second, and counts.
The result is in Brendan Gregg's folded form, which flamegraph.pl, speedscope and inferno read.
Where asked, tracemalloc says beside it where memory was taken. Both end by themselves.

https://github.com/brendangregg/FlameGraph
"""

from __future__ import annotations

import sys
import threading
import time
import tracemalloc
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

from aiohttp import web

CLIENT = "kubevirt.io:system:client:virt-handler"
"""Common name of the certificate by which virt-api is known to the other components."""
INTERVAL = 0.01
LONGEST = 600.0
"""Seconds after which a profile ends by itself."""
STACKS, DEPTH = 20_000, 100
"""Different stacks, and frames of each, that are told apart."""
OTHERS = "(others)"
PLACES = 200
"""Lines of source that a profile of memory names."""


class Profiler:
    """One profile at a time; it stays until the next one begins."""

    def __init__(self, longest: float = LONGEST) -> None:
        self._longest = longest
        self._counts: Counter[str] = Counter()
        self._memory = ""
        self._ended = threading.Event()
        self._ended.set()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    def start(self, *, memory: bool = False) -> None:
        """Forgets the last one; one that goes on begins anew."""
        self.stop()
        self._counts, self._memory = Counter(), ""
        self._ended = threading.Event()
        if memory:
            tracemalloc.start()
        self._thread = threading.Thread(
            target=self._sample, args=(self._ended, memory), name="profiler", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(INTERVAL + 5)
            self._thread = None

    def told(self) -> dict[str, bytes]:
        """What there is, by file name."""
        counts = self._counts.copy()
        lines = "".join(f"{stack} {count}\n" for stack, count in counts.most_common())
        files = {"cpu.folded": lines.encode()}
        if self._memory:
            files["memory.txt"] = self._memory.encode()
        return files

    def _sample(self, ended: threading.Event, memory: bool) -> None:
        until = time.monotonic() + self._longest
        own = threading.get_ident()
        while not ended.wait(INTERVAL) and time.monotonic() < until:
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                if ident != own:
                    stack = f"{names.get(ident, ident)};{_folded(frame)}"
                    known = stack in self._counts or len(self._counts) < STACKS
                    self._counts[stack if known else OTHERS] += 1
        if memory:
            self._memory = _memory()
            tracemalloc.stop()
        ended.set()


def routes(
    profiler: Profiler, peer: Callable[[web.Request], list[str]] | None = None
) -> list[web.RouteDef]:
    """For virt-api alone. `peer` gives the common names of the caller's certificate."""
    names = peer or peer_names

    def only_virt_api(act: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            if CLIENT not in names(request):
                raise web.HTTPForbidden(text="only virt-api takes profiles")
            return web.json_response(act(request))

        return handle

    def start(request: web.Request) -> dict[str, Any]:
        profiler.start(memory=request.query.get("memory") == "true")
        return {}

    def stop(_: web.Request) -> dict[str, Any]:
        profiler.stop()
        return {}

    def dump(_: web.Request) -> dict[str, Any]:
        files = profiler.told().items()
        return {"pprofData": {name: b64encode(content).decode() for name, content in files}}

    return [
        web.get("/start-profiler", only_virt_api(start)),
        web.get("/stop-profiler", only_virt_api(stop)),
        web.get("/dump-profiler", only_virt_api(dump)),
    ]


def peer_names(request: web.Request) -> list[str]:
    """Of a certificate that TLS has verified; none where there is none."""
    transport = request.transport
    connection = transport.get_extra_info("ssl_object") if transport else None
    certificate = (connection.getpeercert() if connection else None) or {}
    subject = certificate.get("subject", ())
    return [value for part in subject for name, value in part if name == "commonName"]


def _folded(frame: FrameType | None) -> str:
    """From the outermost call to the innermost."""
    parts: list[str] = []
    while frame is not None and len(parts) < DEPTH:
        code = frame.f_code
        module = frame.f_globals.get("__name__", "?")
        parts.append(f"{module}.{code.co_qualname}".replace(";", ":").replace(" ", "_"))
        frame = frame.f_back
    return ";".join(reversed(parts))


def _memory() -> str:
    snapshot = tracemalloc.take_snapshot()
    places = snapshot.statistics("lineno")
    total = sum(each.size for each in places)
    lines = [f"{total} bytes in {len(places)} places of the source since the profile began"]
    lines += [
        f"{each.size} bytes in {each.count} blocks: {each.traceback[0].filename}:"
        f"{each.traceback[0].lineno}"
        for each in places[:PLACES]
    ]
    return "\n".join(lines) + "\n"
