"""virtctl credentials set-password VM --user USER --password PASSWORD"""

from __future__ import annotations

import argparse
import re

from virtpod.cli import _credentials as credentials
from virtpod.cli import _parameters as parameters
from virtpod.cli.session import Failure, Session
from virtpod.cli.session import run as run_session

EXAMPLES = """examples:
  virtctl credentials set-password my-vm --user ann --password "$NEW"
The VM names a secret for passwords (accessCredentials.userPassword, by qemuGuestAgent) with a key
for each user. A running guest has it once the kubelet has seen it: a minute or two."""

KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
"""Of a secret: https://kubernetes.io/docs/concepts/configuration/secret/#restriction-names-data"""


def arguments(parser: argparse.ArgumentParser) -> None:
    credentials.common(parser, "to write it to, where the VM names several for passwords")
    parser.add_argument("-p", "--password", required=True, metavar="PASSWORD")


def run(args: argparse.Namespace) -> int:
    if not KEY.fullmatch(args.user):
        return parameters.told(
            Failure(f"--user {args.user!r} cannot be a secret's key: letters, digits, - . and _")
        )

    async def act(session: Session) -> int:
        vm = await credentials.machine(session, args.name)
        secrets = [secret for secret, _ in credentials.by_agent(vm, "userPassword")]
        if not secrets:
            raise Failure(
                "no secrets assigned to UserPassword AccessCredentials: name one in "
                "spec.template.spec.accessCredentials, with propagationMethod qemuGuestAgent"
            )
        secret = credentials.chosen(args.secret, secrets)
        new = {args.user: args.password}
        await credentials.change(session, vm, secret, lambda _: new, force=args.force)
        print(f'Successfully set password in secret "{secret}"')
        return 0

    return run_session(args, act)
