"""virtctl expand --vm NAME | --file FILE"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from virtpod.cli.session import BASE, VMS, Failure, Session
from virtpod.cli.session import run as run_session

EXAMPLES = """\
examples:
  virtctl expand --vm my-vm
  virtctl expand --file my-vm.yaml --output json
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--vm", default="", help="a virtual machine in the cluster")
    given.add_argument("-f", "--file", default="", help="the manifest of one; -: standard input")
    parser.add_argument("-o", "--output", default="yaml", choices=("yaml", "json"))


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        if args.vm:
            whole = await session.get(VMS, args.vm, "expand-spec")
        else:
            path = f"{BASE}/namespaces/{session.namespace}/expand-vm-spec"
            reply = await session.client.request(
                "PUT",
                path,
                body=json.dumps(_manifest(args.file)).encode(),
                headers={"Content-Type": "application/json"},
            )
            whole = reply.json()
        print(_shown(whole, args.output), end="")
        return 0

    return run_session(args, act)


def _manifest(file: str) -> Any:
    import yaml

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        return yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Failure(f"cannot read {file}: {error}") from error


def _shown(whole: Any, form: str) -> str:
    if form == "json":
        return json.dumps(whole, indent=2) + "\n"
    import yaml

    text: str = yaml.safe_dump(whole, sort_keys=False)
    return text
