"""`make demo`: from nothing to the login prompt of a virtual machine on Kubernetes."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from localcluster.progress import Failed, say, step
from scripts import install
from scripts.target import Target, build_all, module, references, target
from virtpod.cli.session import Failure
from virtpod.kube import apply
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.resources import VMIS

EXAMPLE = Path(__file__).parent.parent / "examples" / "vm-demo.yaml"
NAMESPACE = "default"
NAME = "demo"
PROMPT = "login:"
SECONDS = 180


def prepare(chosen: Target) -> None:
    """The programs, the cluster and the images; what does not need the other goes on beside it."""
    if not chosen.local:
        return
    build_all()
    module("localcluster", "up", "--nodes", os.environ.get("NODES", "1"))


def manifest(chosen: Target) -> dict[str, Any]:
    """The example, with the guest's image taken from where this cluster finds it."""
    text = EXAMPLE.read_text(encoding="utf-8")
    if not chosen.local:
        image = references()["demo-guest"]
        text = text.replace(f"virtpod.local/virtpod-demo-guest:{install.EXAMPLE_TAG}", image)
    found: dict[str, Any] = yaml.safe_load(text)
    found["metadata"]["namespace"] = NAMESPACE
    return found


async def run(chosen: Target) -> None:
    await install.run(chosen)
    async with Client(Config.from_kubeconfig(chosen.kubeconfig), component="demo") as client:
        with step("creating the virtual machine and waiting for its login prompt"):
            await apply.all(client, [manifest(chosen)], manager="demo")
            screen = await console(chosen)
        print("\n" + screen + "\n", flush=True)
        print(summary(await client.get(VMIS, (NAMESPACE, NAME)), chosen), flush=True)


async def console(chosen: Target) -> str:
    """What the guest writes on its serial console up to its prompt, by virtctl."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "virtpod.cli", "console", NAME, "-n", NAMESPACE),
        env={**os.environ, "KUBECONFIG": chosen.kubeconfig},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    seen = b""
    try:
        async with asyncio.timeout(SECONDS):
            said = b""
            while b"Successfully connected" not in said:
                line = await process.stderr.readline()
                if not line:
                    raise Failed(f"the console could not be opened: {said.decode()}")
                said += line
            # A guest that has booted long ago writes its prompt again when asked.
            process.stdin.write(b"\n")
            while PROMPT.encode() not in seen:
                part = await process.stdout.read(4096)
                if not part:
                    raise Failed("the console closed before the guest wrote its prompt")
                seen += part
    except TimeoutError:
        text = seen.decode(errors="replace")
        raise Failed(f"no login prompt within {SECONDS} s; the guest wrote:\n{text}") from None
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
    return seen.decode(errors="replace").replace("\r", "").strip()


def summary(vmi: dict[str, Any], chosen: Target) -> str:
    status = vmi["status"]
    running = [
        moment["phaseTransitionTimestamp"]
        for moment in status["phaseTransitionTimestamps"]
        if moment["phase"] == "Running"
    ]
    created = datetime.fromisoformat(vmi["metadata"]["creationTimestamp"])
    seconds = (datetime.fromisoformat(running[0]) - created).total_seconds()
    virtctl = ".local/venv/bin/virtctl"
    kubeconfig = ".local/kubeconfig" if chosen.local else chosen.kubeconfig
    return "\n".join(
        [
            f"VM {NAME} runs on node {status['nodeName']}, address "
            f"{status['interfaces'][0].get('ipAddress', '?')}, "
            f"{seconds:.0f} s from create to Running.",
            f"  export KUBECONFIG={kubeconfig}",
            f"  {virtctl} console {NAME}        log in as root or demo, password demo",
            "  .local/bin/kubectl get vm,vmi" if chosen.local else "  kubectl get vm,vmi",
            "  make down" if chosen.local else f"  kubectl delete vm {NAME}",
        ]
    )


def main() -> int:
    try:
        chosen = target()
        prepare(chosen)
        asyncio.run(run(chosen))
    except (Failed, Failure) as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next run goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
