"""virtctl stop VM"""

from __future__ import annotations

import argparse
import sys

from virtpod.cli.session import VMS, action, dry_run


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="VM")
    parser.add_argument("--force", action="store_true", help="with --grace-period: use it")
    parser.add_argument(
        "--grace-period", type=int, default=-1, metavar="SECONDS", help="for the guest to power off"
    )
    parser.add_argument("--dry-run", action="store_true", help="check only, change nothing")


def run(args: argparse.Namespace) -> int:
    if args.force != (args.grace_period >= 0):
        print("error: --force and --grace-period must be used together", file=sys.stderr)
        return 1
    body = {**({"gracePeriod": args.grace_period} if args.force else {}), **dry_run(args)}
    return action(
        args,
        VMS,
        "stop",
        body,
        failed="cannot stop virtual machine",
        done=f"VM {args.name} was scheduled to stop",
    )
