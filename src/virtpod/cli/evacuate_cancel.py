"""virtctl evacuate-cancel vm|vmi NAME: a guest that was asked to leave its node may stay."""

from __future__ import annotations

import argparse

from virtpod.cli.session import VMS, Failure, Session, dry_run, target
from virtpod.cli.session import run as run_session


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="vm|vmi")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--dry-run", action="store_true", help="check only, change nothing")


def run(args: argparse.Namespace) -> int:
    from virtpod.kube.errors import ApiError

    async def act(session: Session) -> int:
        resource = target(args.kind)
        said = f"{'VM' if resource == VMS else 'VMI'} {session.namespace}/{args.name}"
        try:
            await session.put(resource, args.name, "evacuate/cancel", dry_run(args))
        except ApiError as error:
            raise Failure(
                f"error canceling evacuation for {said}: {error.message or error}"
            ) from error
        print(f"{said} was canceled evacuation")
        return 0

    return run_session(args, act)
