"""virtctl restart VM"""

from __future__ import annotations

import argparse
import sys

from virtpod.cli.session import VMS, action, dry_run


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="VM")
    parser.add_argument("--force", action="store_true", help="with --grace-period=0: do not wait")
    parser.add_argument("--grace-period", type=int, default=-1, metavar="SECONDS")
    parser.add_argument("--dry-run", action="store_true", help="check only, change nothing")


def run(args: argparse.Namespace) -> int:
    if args.force != (args.grace_period >= 0):
        print("error: --force and --grace-period must be used together", file=sys.stderr)
        return 1
    grace = {"gracePeriodSeconds": args.grace_period} if args.force else {}
    return action(
        args,
        VMS,
        "restart",
        {**grace, **dry_run(args)},
        failed="cannot restart virtual machine",
        done=f"VM {args.name} was scheduled to restart",
    )
