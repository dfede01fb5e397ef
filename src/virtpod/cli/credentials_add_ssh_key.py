"""virtctl credentials add-ssh-key VM --user USER --file FILE"""

from __future__ import annotations

import argparse
import base64
from typing import Any

from virtpod.cli import _credentials as credentials
from virtpod.cli import _parameters as parameters
from virtpod.cli.session import Failure, Session
from virtpod.cli.session import run as run_session

EXAMPLES = """examples:
  virtctl credentials add-ssh-key my-vm --user ann --file ~/.ssh/id_ed25519.pub
  virtctl credentials add-ssh-key my-vm --user ann --value "$(ssh-add -L)" --create-secret --force
A user for whom the VM names no secret gets one of the VM's own, from the next start on. What comes
into a secret of a running VM is in the guest once the kubelet has seen it: a minute or two."""

CREDENTIALS = "/spec/template/spec/accessCredentials"


def arguments(parser: argparse.ArgumentParser) -> None:
    credentials.common(parser, "to add it to, where there are several for the user")
    credentials.key_flags(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--create-secret",
        action="store_true",
        help="make a new secret; with --force also while the VM runs",
    )
    how.add_argument("--update-secret", action="store_true", help="use a secret that is there")


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        keys = credentials.keys(args)
        vm = await credentials.machine(session, args.name)
        secrets = credentials.of_user(vm, args.user)
        if args.create_secret or not (secrets or args.update_secret):
            await _create(session, args, vm, keys)
        elif not secrets:
            raise Failure(f"no secrets specified for user: {args.user}")
        else:
            await _add(session, args, vm, keys, credentials.chosen(args.secret, secrets))
        return 0

    return run_session(args, act)


async def _add(
    session: Session, args: argparse.Namespace, vm: dict[str, Any], keys: list[str], secret: str
) -> None:
    def edit(texts: dict[str, str]) -> dict[str, str]:
        lines = [line for text in texts.values() for line in text.splitlines()]
        new = [key for key in keys if not any(credentials.holds(line, key) for line in lines)]
        return {f"ssh-key-{parameters.suffix()}": "\n".join(new)} if new else {}

    if await credentials.change(session, vm, secret, edit, force=args.force):
        print(f'Successfully added the key to secret "{secret}"')
    else:
        print(f'Secret "{secret}" already contains this SSH key.')


async def _create(
    session: Session, args: argparse.Namespace, vm: dict[str, Any], keys: list[str]
) -> None:
    """Raises Failure, ApiError."""
    from virtpod.kube.errors import ApiError, NotFound
    from virtpod.kube.resources import SECRETS, VMIS

    if not args.force:
        try:
            await session.client.get(VMIS, (session.namespace, args.name))
        except NotFound:
            pass
        else:
            raise Failure(
                f"virtual machine {args.name} is running. Use --force flag to update a running VM, "
                "it will take effect after restart"
            )
    made = await session.client.create(
        SECRETS,
        {
            "metadata": {
                "generateName": f"{args.name}-ssh-key-",
                "namespace": session.namespace,
                "ownerReferences": [credentials.reference(vm)],
            },
            "data": {
                f"ssh-key-{parameters.suffix()}": base64.b64encode(
                    "\n".join(keys).encode()
                ).decode()
            },
        },
    )
    name = made["metadata"]["name"]
    try:
        await _assign(session, args.name, name, args.user)
    except ApiError as error:
        await session.client.delete(SECRETS, (session.namespace, name))
        raise Failure(f"error patching virtual machine: {error.message or error}") from error
    print(f'Successfully created secret "{name}" with the key; a guest has it from its next start')


async def _assign(session: Session, vm: str, secret: str, user: str) -> None:
    from virtpod.kube.resources import VMS

    credential = {
        "sshPublicKey": {
            "source": {"secret": {"secretName": secret}},
            "propagationMethod": {"qemuGuestAgent": {"users": [user]}},
        }
    }

    async def once() -> bool:
        found = await session.client.get(VMS, (session.namespace, vm))
        there = (found["spec"]["template"].get("spec") or {}).get("accessCredentials") or []
        await session.client.patch(
            VMS,
            (session.namespace, vm),
            [
                {
                    "op": "test",
                    "path": "/metadata/resourceVersion",
                    "value": found["metadata"]["resourceVersion"],
                },
                {"op": "add", "path": CREDENTIALS, "value": [*there, credential]},
            ],
            "json",
        )
        return True

    await credentials.again(once)
