"""virtctl soft-reboot VMI"""

from __future__ import annotations

import argparse

from virtpod.cli.session import VMIS, action


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="VMI")


def run(args: argparse.Namespace) -> int:
    return action(
        args,
        VMIS,
        "softreboot",
        {},
        failed="cannot soft-reboot virtual machine instance",
        done=f"VMI {args.name} was scheduled to soft-reboot",
    )
