"""virtctl start VM"""

from __future__ import annotations

import argparse

from virtpod.cli.session import VMS, action, dry_run


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="VM")
    parser.add_argument("--paused", action="store_true", help="start with the CPUs stopped")
    parser.add_argument("--dry-run", action="store_true", help="check only, change nothing")


def run(args: argparse.Namespace) -> int:
    body = {**({"paused": True} if args.paused else {}), **dry_run(args)}
    return action(
        args,
        VMS,
        "start",
        body,
        failed="cannot start virtual machine",
        done=f"VM {args.name} was scheduled to start",
    )
