"""virtctl configuration permitted-devices: names for `gpus` and `hostDevices` of a machine."""

from __future__ import annotations

import argparse
from typing import Any

from virtpod.cli.session import Failure, Session
from virtpod.cli.session import run as run_session

KINDS = {
    "pciHostDevices": "PCI devices",
    "mediatedDevices": "mediated devices",
    "usb": "USB devices",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        from virtpod.kube.resources import KUBEVIRTS

        found = (await session.client.list(KUBEVIRTS)).items
        if not found:
            raise Failure("there is no KubeVirt object: Virtpod is not installed here")
        print(text(found[0]), end="")
        return 0

    return run_session(args, act)


def text(kubevirt: dict[str, Any]) -> str:
    """The resources' names, one a line, each once."""
    configuration = (kubevirt.get("spec") or {}).get("configuration") or {}
    permitted = configuration.get("permittedHostDevices") or {}
    lines = []
    for kind, title in KINDS.items():
        names = sorted({each["resourceName"] for each in permitted.get(kind) or ()})
        lines += [f"{title}:", *(f"  {name}" for name in names or ["none"])]
    return "\n".join(lines) + "\n"
