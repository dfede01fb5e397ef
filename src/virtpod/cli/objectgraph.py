"""virtctl objectgraph NAME: the objects that a machine stands on, as one tree."""

from __future__ import annotations

import argparse
import json
from typing import Any

from virtpod.cli.session import VMIS, VMS, Failure, Session
from virtpod.cli.session import run as run_session

EXAMPLES = """examples:
  virtctl objectgraph my-vm
  virtctl objectgraph my-vmi --vmi --exclude-optional
  virtctl objectgraph my-vm --selector kubevirt.io/dependency-type=storage"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="VM")
    parser.add_argument("--vmi", action="store_true", help="of an instance, not of a VM")
    parser.add_argument(
        "--exclude-optional", action="store_true", help="without what would be made again"
    )
    parser.add_argument("--selector", default="", help="labels: NAME=VALUE, several with commas")
    parser.add_argument("-o", "--output", default="json", choices=("json", "yaml"))


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        options: dict[str, Any] = {"includeOptionalNodes": not args.exclude_optional}
        if args.selector:
            options["labelSelector"] = {"matchLabels": _labels(args.selector)}
        reply = await session.client.request(
            "GET",
            session.path(VMIS if args.vmi else VMS, args.name, "objectgraph"),
            body=json.dumps(options).encode(),
            headers={"Content-Type": "application/json"},
        )
        if args.output == "yaml":
            import yaml

            print(yaml.safe_dump(reply.json(), sort_keys=False), end="")
        else:
            print(json.dumps(reply.json(), indent=2))
        return 0

    return run_session(args, act)


def _labels(selector: str) -> dict[str, str]:
    """Raises Failure."""
    found = {}
    for part in selector.split(","):
        name, equals, value = part.partition("=")
        if not (name and equals):
            raise Failure(f"{part!r} in --selector is not NAME=VALUE")
        found[name] = value
    return found
