"""virtctl migrate VM: asks for a VirtualMachineInstanceMigration of the VM's instance."""

from __future__ import annotations

import argparse

from virtpod.cli import _parameters as parameters
from virtpod.cli.session import VMS, Failure, action, dry_run

EXAMPLES = """examples:
  virtctl migrate my-vm
  virtctl migrate my-vm --addedNodeSelector disk=fast,zone=b"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="VM")
    parser.add_argument(
        "--addedNodeSelector",
        action="append",
        default=[],
        metavar="KEY=VALUE[,KEY=VALUE]",
        help="labels that the node must have beside those that the VM wants, this time only",
    )
    parser.add_argument("--dry-run", action="store_true", help="check only, change nothing")


def run(args: argparse.Namespace) -> int:
    try:
        selector = parameters.pairs("addedNodeSelector", args.addedNodeSelector)
    except Failure as failure:
        return parameters.told(failure)
    body = {**({"addedNodeSelector": selector} if selector else {}), **dry_run(args)}
    return action(
        args,
        VMS,
        "migrate",
        body,
        failed="cannot migrate virtual machine",
        done=f"VM {args.name} was scheduled to migrate",
    )
