"""virtctl credentials remove-ssh-key VM --user USER --file FILE"""

from __future__ import annotations

import argparse
from typing import Any

from virtpod.cli import _credentials as credentials
from virtpod.cli.session import Failure, Session
from virtpod.cli.session import run as run_session

EXAMPLES = """examples:
  virtctl credentials remove-ssh-key my-vm --user ann --file ~/.ssh/id_ed25519.pub"""


def arguments(parser: argparse.ArgumentParser) -> None:
    credentials.common(parser, "to take it from; by default all that are the user's")
    credentials.key_flags(parser)


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        keys = credentials.keys(args)
        vm = await credentials.machine(session, args.name)
        secrets = credentials.of_user(vm, args.user)
        if not secrets:
            print(f"No secrets associated with user {args.user}")
            return 0
        if args.secret and args.secret not in secrets:
            raise Failure(f"secret {args.secret} is not associated with user {args.user}")
        for secret in [args.secret] if args.secret else dict.fromkeys(secrets):
            await _remove(session, args, vm, keys, secret)
        return 0

    return run_session(args, act)


async def _remove(
    session: Session, args: argparse.Namespace, vm: dict[str, Any], keys: list[str], secret: str
) -> None:
    from virtpod.kube.errors import NotFound

    def edit(texts: dict[str, str]) -> dict[str, str | None]:
        changed = {}
        for name, text in texts.items():
            lines = [line for line in text.splitlines() if line.strip()]
            left = [line for line in lines if not any(credentials.holds(line, key) for key in keys)]
            if left != lines:
                changed[name] = "\n".join(left) or None
        return changed

    try:
        done = await credentials.change(session, vm, secret, edit, force=args.force)
    except NotFound:
        print(f'There is no secret "{secret}"')
        return
    if done:
        print(f'Successfully removed the key from secret "{secret}"')
    else:
        print(f'Secret "{secret}" does not contain this SSH key.')
