"""virtctl version [--client]"""

from __future__ import annotations

import argparse
import sys

from virtpod.build import info


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--client", action="store_true", help="do not ask the server")


def run(args: argparse.Namespace) -> int:
    print(f"Client Version: {_written(info())}")
    if args.client:
        return 0
    from virtpod.cli import session

    async def act(opened: session.Session) -> int:
        reply = await opened.client.request("GET", f"{session.BASE}/version")
        told = reply.json()
        if not isinstance(told, dict):
            print("error: the server's answer is no version", file=sys.stderr)
            return 1
        print(f"Server Version: {_written(told)}")
        return 0

    return session.run(args, act)


def _written(version: dict[str, str]) -> str:
    """The way kubectl and virtctl have always written it."""
    fields = (
        "gitVersion",
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
    )
    inner = ", ".join(f'{name[0].upper()}{name[1:]}:"{version.get(name, "")}"' for name in fields)
    return f"version.Info{{{inner}}}"
