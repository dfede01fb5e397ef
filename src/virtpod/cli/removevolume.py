"""virtctl removevolume VM"""

from __future__ import annotations

import argparse

from virtpod.cli.addvolume import change
from virtpod.cli.session import Session, dry_run
from virtpod.cli.session import run as run_session


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="VM")
    parser.add_argument("--volume-name", required=True, help="name of the volume in the VM")
    parser.add_argument("--persist", action="store_true", help="deprecated: has no effect")
    parser.add_argument("--dry-run", action="store_true", help="check only, change nothing")


def run(args: argparse.Namespace) -> int:
    if args.persist:
        print("--persist is deprecated: the volume is always taken from the VM")
    options = dry_run(args)

    async def act(session: Session) -> int:
        await change(session, args.name, "removevolume", {"name": args.volume_name, **options})
        print(
            f"Successfully submitted remove volume request to VM {args.name} "
            f"for volume {args.volume_name}"
        )
        return 0

    return run_session(args, act)
