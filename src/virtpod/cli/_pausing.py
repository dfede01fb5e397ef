"""pause and unpause: the same command line, another word."""

from __future__ import annotations

import argparse

from virtpod.cli.session import VMIS, VMS, Failure, Session, dry_run, target
from virtpod.cli.session import run as run_session


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="vm|vmi")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--dry-run", action="store_true", help="check only, change nothing")


def run(args: argparse.Namespace, verb: str) -> int:
    from virtpod.kube import resources
    from virtpod.kube.errors import ApiError

    async def act(session: Session) -> int:
        resource = target(args.kind)
        options = dry_run(args)
        try:
            if resource == VMS:
                # The VM's instance has its name; a VM that does not exist is the clearer error.
                await session.client.get(resources.VMS, (session.namespace, args.name))
            await session.put(VMIS, args.name, verb, options)
        except ApiError as error:
            raise Failure(f"cannot {verb} {args.name}: {error.message or error}") from error
        print(f"VMI {args.name} was scheduled to {verb}")
        return 0

    return run_session(args, act)
