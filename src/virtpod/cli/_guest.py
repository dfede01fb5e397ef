"""What guestosinfo, userlist and fslist share: one question, its answer as JSON."""

from __future__ import annotations

import argparse
import json

from virtpod.cli import session
from virtpod.cli.session import VMIS, Session


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="VMI")


def run(args: argparse.Namespace, subresource: str) -> int:
    async def act(opened: Session) -> int:
        print(json.dumps(await opened.get(VMIS, args.name, subresource), indent=2))
        return 0

    return session.run(args, act)
