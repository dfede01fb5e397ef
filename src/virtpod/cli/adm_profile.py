"""virtctl adm profile: what the components spend their time and memory on."""

from __future__ import annotations

import argparse
import asyncio
from base64 import b64decode
from pathlib import Path
from typing import Any

from virtpod.cli import session as sessions
from virtpod.cli.session import Failure, Session

EXAMPLES = """examples:
  virtctl adm profile --for 30 --output profiles/
  virtctl adm profile --memory --component virt-api --output profiles/
A folder for each pod: cpu.folded, for flamegraph.pl or speedscope, and memory.txt.
developerConfiguration.clusterProfiler of the KubeVirt object must be true."""
PROFILER = "/apis/subresources.kubevirt.io/v1/{}-cluster-profiler"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--for", dest="seconds", type=float, default=10, metavar="SECONDS")
    parser.add_argument("--memory", action="store_true", help="memory as well")
    parser.add_argument("--component", default="", metavar="NAME", help="virt-api, ...; all")
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER")


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        if not 0 < args.seconds <= 600:
            raise Failure("--for must be from 0 to 600 seconds")
        memory = {"memory": "true"} if args.memory else None
        await session.client.request("GET", PROFILER.format("start"), memory)
        try:
            await asyncio.sleep(args.seconds)
        finally:
            await session.client.request("GET", PROFILER.format("stop"))
        count = 0
        asked = {"labelSelector": f"kubevirt.io={args.component}" if args.component else ""}
        while True:
            told = await _dump(session, asked)
            for pod, result in told["componentResults"].items():
                count += _write(Path(args.output) / Path(pod).name, result["pprofData"])
            if not told.get("continue"):
                break
            asked["continue"] = told["continue"]
        print(f"{args.output}: {count} files")
        return 0

    return sessions.run(args, act)


async def _dump(session: Session, asked: dict[str, Any]) -> dict[str, Any]:
    import msgspec

    reply = await session.client.request(
        "GET",
        PROFILER.format("dump"),
        body=msgspec.json.encode(asked),
        headers={"Content-Type": "application/json"},
    )
    told: dict[str, Any] = reply.json()
    return told


def _write(folder: Path, files: dict[str, str]) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / Path(name).name).write_bytes(b64decode(content))
    except OSError as error:
        raise Failure(f"cannot write {folder}: {error.strerror}") from error
    return len(files)
