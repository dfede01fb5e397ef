"""virtctl migrate-cancel VM: deletes the migration of the VM's instance that is under way."""

from __future__ import annotations

import argparse

from virtpod.cli.session import Failure, Session, dry_run
from virtpod.cli.session import run as run_session

FINAL = ("Succeeded", "Failed")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="VM")
    parser.add_argument("--dry-run", action="store_true", help="check only, change nothing")


def run(args: argparse.Namespace) -> int:
    dry = bool(dry_run(args))

    async def act(session: Session) -> int:
        await _cancel(session, args.name, dry=dry)
        print(f"VM {args.name} was scheduled to migrate-cancel")
        return 0

    return run_session(args, act)


async def _cancel(session: Session, name: str, *, dry: bool) -> None:
    """There is one that is under way at most. Raises Failure, ApiError."""
    from virtpod.kube.resources import MIGRATIONS

    found = await session.client.list(MIGRATIONS, namespace=session.namespace)
    for each in found.items:
        phase = (each.get("status") or {}).get("phase")
        if (each.get("spec") or {}).get("vmiName") == name and phase not in FINAL:
            key = (session.namespace, each["metadata"]["name"])
            await session.client.delete(MIGRATIONS, key, dry_run=dry)
            return
    raise Failure(f"Found no migration to cancel for {name}")
